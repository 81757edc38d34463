"""A run that exceeds a limit is ended and says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.processes import refusal, workcast
from workcast.events.models import Completed, ErrorEvent
from workcast.ledger.limits import LimitError, Limits
from workcast.producer.runner import RunResult, run_agent

from .conftest import Sink

FakeClaude = Callable[[str], dict[str, str]]

SONNET = "claude-3-5-sonnet-20241022"
PREAMBLE = """
import json, os, time

def say(**fields):
    print(json.dumps(fields), flush=True)

def stream(**event):
    say(type="stream_event", event=event)

def message(n, input_tokens=1000, output_tokens=100):
    "One message of the model; by the table's prices of Sonnet 3.5 it costs $0.0045."
    stream(type="message_start", message={"id": f"m{n}", "model": MODEL, "usage": {"input_tokens": input_tokens}})
    stream(type="message_delta", delta={}, usage={"input_tokens": input_tokens, "output_tokens": output_tokens})
    stream(type="message_stop")

def result(**fields):
    say(type="result", subtype="success", is_error=False, **fields)

say(type="system", subtype="init", **({"model": MODEL} if MODEL else {}))
"""
ENDLESS = "for n in range(10 ** 6): message(n); time.sleep(0.02)"


def agent(source: str, model: str | None = SONNET) -> str:
    return f"MODEL = {model!r}\n{PREAMBLE}\n{source}"


class Run:
    """A run of a scripted agent under limits."""

    def __init__(self, path: Path, sink: Sink, fake_claude: FakeClaude) -> None:
        self.cell = path / "cell"
        self._path = path
        self.sink = sink
        self._fake_claude = fake_claude

    async def __call__(self, source: str, **limits: Any) -> RunResult:
        return await run_agent(
            "claude", "go", workcell_dir=self.cell, cwd=self._path, writer=self.sink, env=self._fake_claude(source),
            limits=Limits(**limits), timeout=60,
        )  # fmt: skip

    @property
    def completed(self) -> Completed:
        last = self.sink.events[-1]
        assert isinstance(last, Completed)
        return last

    @property
    def errors(self) -> list[tuple[str | None, str]]:
        return [(event.kind, event.error) for event in self.sink.events if isinstance(event, ErrorEvent)]


@pytest.fixture
def run(tmp_path: Path, sink: Sink, fake_claude: FakeClaude) -> Run:
    return Run(tmp_path, sink, fake_claude)


@pytest.mark.parametrize(("limits", "kind"), [({"budget_usd": 0.02}, "budget"), ({"max_tokens": 5000}, "max_tokens")])
async def test_a_run_that_exceeds_a_limit_is_ended_and_names_the_limit(
    run: Run, limits: dict[str, Any], kind: str
) -> None:
    ended = await run(agent(ENDLESS), **limits)
    assert (ended.status, ended.exit_code) == ("failed", 143)
    reason = run.completed.reason
    assert reason is not None
    taken, _, allowed = reason.removeprefix(f"{kind}: ").partition(" of ")
    assert float(taken.strip("$")) > float(allowed.strip("$"))
    assert float(allowed.strip("$")) in limits.values()
    assert run.errors == [(kind, f"the run is ended because it exceeded its limit: {reason}")]
    proof = json.loads((run.cell / "proof.json").read_bytes())
    assert (proof["status"], proof["reason"]) == ("failed", reason)


async def test_a_run_within_its_limits_is_not_ended(run: Run) -> None:
    ended = await run(agent("message(1)\nmessage(2)\nresult()"), budget_usd=0.0090001, max_tokens=2200)
    assert ended.status == "success"
    assert run.completed.reason is None
    assert run.errors == []


async def test_a_run_that_exceeds_a_limit_with_its_last_message_has_failed(run: Run) -> None:
    assert (await run(agent("message(1)\nmessage(2)\nresult()"), max_tokens=2199)).status == "failed"
    assert run.completed.reason == "max_tokens: 2200 of 2199"


async def test_the_cost_that_the_agent_reports_for_the_run_counts_too(run: Run) -> None:
    share = {"model_usage_since_last_result": {SONNET: {"inputTokens": 10, "outputTokens": 10, "costUSD": 1.5}}}
    assert (await run(agent(f"message(1)\nresult(**{share})"), budget_usd=1)).status == "failed"
    assert run.completed.reason == "budget: $1.5000 of $1.0000"


async def test_a_budget_ends_an_agent_whose_model_has_no_price(run: Run) -> None:
    ended = await run(agent(ENDLESS, "hal-9000"), budget_usd=100)
    assert ended.status == "failed"
    assert run.completed.reason == "budget: the model hal-9000 has no price, so the cost of the run is unknown"


async def test_a_budget_ends_an_agent_that_reports_no_model_before_it_costs_anything(run: Run) -> None:
    ended = await run(agent("time.sleep(600)", None), budget_usd=100)
    assert ended.status == "failed"
    assert run.completed.reason is not None
    assert run.completed.reason.startswith("budget: the agent does not report its model")


async def test_limits_that_could_not_be_checked_are_reported(run: Run) -> None:
    ended = await run(agent("result()"), max_tokens=100)
    assert ended.status == "success"
    ((kind, error),) = run.errors
    assert kind == "max_tokens"
    assert "its limits could not be checked" in error


async def test_limits_for_a_command_that_reports_no_tokens_are_refused(tmp_path: Path, sink: Sink) -> None:
    with pytest.raises(LimitError, match="expected an agent that reports its tokens, got exec with --max-tokens"):
        await run_agent(
            "exec", "true", workcell_dir=tmp_path / "c", cwd=tmp_path, writer=sink, limits=Limits(max_tokens=5)
        )
    assert not (tmp_path / "c").exists()


# ── the command line ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_command_line_reports_an_exceeded_limit_and_exits_1(tmp_path: Path, fake_claude: FakeClaude) -> None:
    (tmp_path / "root").mkdir()
    env = {**fake_claude(agent(ENDLESS)), "WORKCAST_MAX_TOKENS": "5000"}
    done = workcast("run", "claude", "--root", str(tmp_path / "root"), "--budget", "0.01", "--", "go", env=env)
    assert done.returncode == 1
    assert b"exceeded its limit: budget: $0.0" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("claude", "--budget", "-1"), "expected a budget above $0, got -1.0"),
        (("claude", "--max-tokens", "0"), "expected a maximum of at least 1 token"),
        (("exec", "--max-tokens", "5"), "expected an agent that reports its tokens"),
    ],
)
def test_limits_that_cannot_be_checked_are_wrong_usage(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    done = workcast("run", *arguments, "--root", str(tmp_path), "--", "true")
    assert sentence in refusal(done, 2)
    assert list(tmp_path.iterdir()) == []
