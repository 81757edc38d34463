"""A ``run`` whose disk is full, with the kernel's own ENOSPC."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from support.processes import Program, workcast
from support.small_disk import fill, is_full, small_disk
from support.waiting import wait_until

AGENT = """
echo before
while ! [ -e {here}/full ]; do sleep 0.05; done
for number in 1 2 3 4 5 6 7 8 9 10; do echo $number; head -c 9000 /dev/zero | tr '\\0' x; echo; sleep 0.3; done
touch {here}/ended
"""
"""Its lines are longer than what is left of the log's last page."""

FULL = " (No space left on device)"


@pytest.fixture
def disk(tmp_path: Path) -> Generator[Path]:
    with small_disk(tmp_path / "disk", 1 << 20) as path:
        yield path


def log_of(disk: Path) -> list[dict[str, Any]]:
    path = disk / ".workcells" / "w" / "telemetry.jsonl"
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def run(disk: Path) -> Program:
    script = AGENT.format(here=disk.parent)
    return Program("run", "exec", "--root", str(disk), "--workcell", "w", "--", "sh", "-c", script)


def run_into_a_full_disk(going: Program, disk: Path) -> None:
    """Fill the disk while the agent works, until the run waits for room for its end."""
    wait_until(lambda: any("before" in event.get("output", "") for event in log_of(disk)), what=going.err)
    fill(disk / "filler")
    (disk.parent / "full").touch()
    wait_until(lambda: "waiting for it" in going.err, 40, "the run to wait for room")
    assert (disk.parent / "ended").exists()  # the agent came to its own end
    assert going.process.poll() is None
    assert is_full(disk)
    assert "completed" not in [event["type"] for event in log_of(disk)]


def test_a_run_on_a_disk_that_fills_up_goes_on_and_completes_once_there_is_room(disk: Path) -> None:
    with run(disk) as going:
        run_into_a_full_disk(going, disk)
        (disk / "filler").unlink()
        assert going.wait() == 0, going.err
    *events, end = log_of(disk)
    assert (end["type"], end["status"]) == ("completed", "success")
    reports = [event["error"].rpartition(": ")[2] for event in events if event.get("kind") == "unwritten"]
    assert end["unwritten_events"] == sum(int(report.removesuffix(FULL)) for report in reports) >= 1
    assert json.loads((disk / ".workcells" / "w" / "proof.json").read_bytes())["status"] == "success"


def test_a_run_that_waits_for_room_gives_up_on_ctrl_c(disk: Path) -> None:
    with run(disk) as going:
        run_into_a_full_disk(going, disk)
        going.interrupt()
        assert going.wait() == 1
        assert "No space left on device" in going.err
        assert "Traceback" not in going.err
    (disk / "filler").unlink()
    assert "completed" not in [event["type"] for event in log_of(disk)]


@pytest.mark.parametrize("made", [False, True])
def test_a_run_on_a_disk_that_is_full_already_is_refused(disk: Path, *, made: bool) -> None:
    if made:  # so that only the log itself cannot be written
        (disk / ".workcells" / "w" / "logs").mkdir(parents=True)
        (disk / ".workcells" / ".workcast").mkdir()
        for name in (".gitignore", "w/telemetry.jsonl"):
            (disk / ".workcells" / name).touch()
        (disk / ".workcells" / "w" / "run.lock").write_text("1\n", encoding="ascii")  # which has a page then
    fill(disk / "filler")
    agent = ("touch", str(disk.parent / "x"))
    done = workcast("run", "exec", "--root", str(disk), "--workcell", "w", "--", *agent)
    last = done.stderr.decode().splitlines()[-1]
    assert (done.returncode, done.stdout) == (1, b"")
    assert last.startswith("workcast: cannot write to ")
    assert last.endswith(": No space left on device")
    assert b"Traceback" not in done.stderr
    assert not (disk.parent / "x").exists()
    assert log_of(disk) == []
