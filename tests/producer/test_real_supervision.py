"""Real agents whose runs are interrupted twice, or ended by a limit."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from support.agents import AGENTS
from support.real_runs import RealRun, is_sleep
from support.scripted_model import ScriptedModel

pytestmark = [pytest.mark.accept, pytest.mark.agent, pytest.mark.timeout(700)]  # the first run installs the agents


@pytest.mark.parametrize("agent", AGENTS)
def test_a_second_ctrl_c_in_the_middle_of_a_command(agent: str, tmp_path: Path, model: ScriptedModel) -> None:
    case = RealRun(agent, tmp_path, model)
    with case.start("hangtool") as run:
        tree = case.await_command(run)
        for _ in range(2):
            run.process.send_signal(signal.SIGINT)
        assert run.wait() == 130
    case.check_ended(run, "cancelled", tree=tree)


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_limits_of_tokens_are_kept(agent: str, tmp_path: Path, model: ScriptedModel) -> None:
    """Codex reports usage only at the end of a turn: a hanging command delays the report."""
    case = RealRun(agent, tmp_path, model)
    with case.start("hangtool", "--max-tokens", "1") as run:
        if agent == "codex":
            for process in filter(is_sleep, case.await_command(run).below):
                process.kill()
        assert run.wait(60) == 1
    case.check_ended(run, "failed")
    assert case.events[-1]["reason"].endswith(" of 1")
