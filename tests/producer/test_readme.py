"""The README's examples of the library run as they are printed there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize(("number", "last"), [(0, "completed"), (1, "completed")], ids=["writer", "run_agent"])
def test_an_example_of_the_readme_runs_and_writes_a_log(tmp_path: Path, number: int, last: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLES[number]], cwd=tmp_path, check=False, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    (log,) = tmp_path.glob(".workcells/*/telemetry.jsonl")
    events = [json.loads(line) for line in log.read_bytes().splitlines()]
    assert (events[-1]["type"], events[-1]["status"]) == (last, "success")
    if number == 1:
        assert done.stdout == b"success 0\n"


def test_there_are_no_other_examples() -> None:
    assert len(EXAMPLES) == 2


def test_a_writer_does_not_load_what_runs_agents() -> None:
    program = "import sys, workcast.producer as p; p.TelemetryWriter; print('workcast.producer.runner' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], timeout=60) == b"False\n"
    program = "from workcast.producer import run_agent, RunResult; print(run_agent.__name__)"
    assert subprocess.check_output([sys.executable, "-c", program], timeout=60) == b"run_agent\n"
