"""Start-up: ``workcast --help`` and ``workcast hook``, against Python and an import, by turns in the same run."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.gateway import Row, fresh_root
from support.logs import event_line, write_log
from support.processes import PROGRAM, environment
from support.transcripts import FOLDER, lines_of
from workcast.broker.root import Root

_ROUNDS: Final = 15
_LONG_LOG: Final = 100_000
"""Lines."""


def startup(directory: Path) -> list[Row]:
    """Two floors, the help, and a hook on a new and on a long log; the best time of each."""
    short, long = fresh_root(directory, "hook-short"), fresh_root(directory, "hook-long")
    payloads = _payloads()
    cell = f"claude-{json.loads(next(payloads))['session_id']}"
    write_log(long, cell, [event_line(number, "x" * 100) for number in range(_LONG_LOG)])
    times = _by_turns(
        directory / "bytecode",
        {
            "pass": ([sys.executable, "-c", "pass"], {}),
            "typer": ([sys.executable, "-c", "import typer"], {}),
            "help": ([PROGRAM, "--help"], {}),
            "short": ([PROGRAM, "hook"], _at(short)),
            "long": ([PROGRAM, "hook"], _at(long)),
        },
        payloads,
    )
    written = short.log(cell).read_bytes().count(b"\n")
    if written < _ROUNDS:
        raise AssertionError(f"expected at least {_ROUNDS} events of the hook, got {written}")
    return [
        ("python -c pass", f"{times['pass'] * 1e3:.0f} ms", "1.00"),
        ("workcast hook, new log", f"{times['short'] * 1e3:.0f} ms", f"{times['short'] / times['pass']:.2f}"),
        (
            f"workcast hook, log of {_LONG_LOG:,} lines",
            f"{times['long'] * 1e3:.0f} ms",
            f"{times['long'] / times['pass']:.2f}",
        ),
        ('python -c "import typer"', f"{times['typer'] * 1e3:.0f} ms", "1.00"),
        ("workcast --help", f"{times['help'] * 1e3:.0f} ms", f"{times['help'] / times['typer']:.2f}"),
    ]


def _at(root: Root) -> dict[str, str]:
    return {"WORKCAST_ROOT": str(root.directory)}


def _payloads() -> Iterator[bytes]:
    """Yield a recorded ``PreToolUse`` payload again and again, each time as a new call."""
    recorded = [json.loads(line) for line in lines_of(FOLDER / "claude-2.1.330-basic-hooks.hooks.jsonl") if line]
    call = next(payload for payload in recorded if payload["hook_event_name"] == "PreToolUse")
    for number in itertools.count():
        yield json.dumps({**call, "tool_use_id": f"bench{number}"}).encode()


def _by_turns(
    bytecode: Path, commands: Mapping[str, tuple[Sequence[str | Path], Mapping[str, str]]], stdin: Iterator[bytes]
) -> dict[str, float]:
    """Return the best time of each command in seconds; they run by turns, so that the machine's load hits all.

    The first round is not counted: it compiles the modules, as an installation does, into the directory ``bytecode``.
    """
    best = dict.fromkeys(commands, float("inf"))
    compiled = {"PYTHONPYCACHEPREFIX": str(bytecode), "PYTHONDONTWRITEBYTECODE": ""}
    for number in range(1 + _ROUNDS):
        for name, (words, env) in commands.items():
            given = next(stdin)
            start = time.perf_counter()
            subprocess.run(
                words, check=True, input=given, stdout=subprocess.DEVNULL, env=environment(**env, **compiled)
            )
            if number:
                best[name] = min(best[name], time.perf_counter() - start)
    return best
