"""What ``ls`` and ``account`` print into a pipe, and into a terminal of some width."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from support.logs import write_log
from support.processes import PROGRAM, environment, workcast
from workcast.broker.root import Root

NAME = "claude-20261122-143000-ab12"
MODEL = "claude-opus-5-5-20261101"
ACTIVITY = "a long story about a long and winding road, which leads to a door that I have seen before; the end"
LINES = [
    json.dumps(event).encode()
    for event in (
        {"type": "started", "timestamp": "2026-11-22T08:00:00Z", "toolchain": "claude", "model": MODEL},
        {"type": "usage", "usage": {"input_tokens": 12_345_678, "cache_read_tokens": 10_000_000}, "message_id": "m"},
        {"type": "tool_call", "timestamp": "2026-11-22T08:00:01Z", "tool": "Bash", "args": {"command": ACTIVITY}},
        {"type": "completed", "timestamp": "2026-11-22T08:00:10Z", "status": "cancelled", "cost_usd": 4.25},
    )
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Root(tmp_path_factory.mktemp("listing"))
    write_log(root, NAME, LINES)
    write_log(root, "wc-2", LINES[:3])
    return root.directory


def in_terminal(columns: int, *arguments: str) -> tuple[list[str], str]:
    """The lines that a terminal of this width gets, and stderr."""
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        env = environment(COLUMNS="")
        with subprocess.Popen([PROGRAM, *arguments], stdout=theirs, stderr=subprocess.PIPE, env=env) as program:
            os.close(theirs)
            theirs = -1
            shown = bytearray()
            while piece := _read(ours):
                shown += piece
            assert program.stderr is not None
            stderr = program.stderr.read().decode()
        assert program.returncode == 0, stderr
        return shown.decode().splitlines(), stderr
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how Linux reports the end of a terminal
        return b""


@pytest.mark.parametrize("columns", ["20", "80", "200"])
def test_in_a_pipe_nothing_is_cut_whatever_the_environment_says(root: Path, columns: str) -> None:
    done = workcast("ls", "--root", str(root), env={"COLUMNS": columns})
    head, *lines = done.stdout.decode().splitlines()
    assert head.split() == ["WORKCELL", "STATUS", "AGENT", "EVENTS", "COST", "ACTIVITY"]
    assert lines[0].split()[:6] == [NAME, "cancelled", "claude", MODEL, "4", "$4.25"]
    assert "…" not in "".join(lines)
    assert done.stderr == b""
    account = workcast("account", NAME, "--root", str(root), env={"COLUMNS": columns}).stdout.decode()
    assert account.splitlines()[-1].split()[:3] == ["1", "cancelled", MODEL]
    assert "CACHE WRITTEN" in account


@pytest.mark.parametrize("verb", [("ls",), ("account", NAME)], ids=["ls", "account"])
@pytest.mark.parametrize("columns", [60, 80, 100])
def test_a_narrow_terminal_leaves_columns_out_and_cuts_no_word_of_the_others(
    root: Path, columns: int, verb: tuple[str, ...]
) -> None:
    lines, stderr = in_terminal(columns, *verb, "--root", str(root))
    table = lines[-3:] if verb == ("ls",) else lines[-2:]
    assert max(map(len, table)) <= columns
    assert "STATUS" in table[0]
    assert "cancelled" in table[1]
    if columns < 100:
        assert stderr.startswith("not shown, the terminal is too narrow: ")
    for name in stderr.partition(": ")[2].partition(";")[0].split(", "):
        assert not name or name not in table[0]


def test_a_wide_terminal_shows_all_columns(root: Path) -> None:
    lines, stderr = in_terminal(240, "account", NAME, "--root", str(root))
    assert "COMPUTED" in lines[-2]
    assert "CACHE WRITTEN" in lines[-2]
    assert stderr == ""
