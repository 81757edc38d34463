"""Workcells that are removed: their records, whole, as relay, run and hooks leave them."""

from __future__ import annotations

import os
from pathlib import Path

from support.logs import event_line, write_log
from workcast.broker import names
from workcast.broker.root import Root

LINES = [event_line(number) for number in range(5)]
OUTPUT = "exec-20261127T235127.776886Z.stdout"


def write_records(root: Root, workcell: str = "wc", lines: list[bytes] = LINES) -> list[Path]:
    """Write every file that workcast may write for a workcell; return their paths."""
    cell, state = root.workcell(workcell), root.state
    (cell / names.OUTPUT_DIRECTORY).mkdir(parents=True, exist_ok=True)
    paths = [cell / name for name in names.WORKCELL_FILES]
    paths += [cell / names.OUTPUT_DIRECTORY / name for name in (OUTPUT, names.IGNORED_FILE)]
    local = root.local(workcell)
    paths += [state / names.state_file(local, s) for s in names.STATE_SUFFIXES if s != names.RETIRED_SUFFIX]
    for path in paths:
        path.write_bytes(b"{}\n")
    write_log(root, workcell, lines, "wb")
    return paths


def left_of(root: Root, workcell: str = "wc") -> list[str]:
    """Return what is left of a workcell below ``.workcells/``, without what is remembered of a removal."""
    local = root.local(workcell)
    state = [root.state / names.state_file(local, s) for s in names.STATE_SUFFIXES if s != names.RETIRED_SUFFIX]
    found = [*root.workcell(workcell).rglob("*"), *(path for path in state if os.path.lexists(path))]
    return sorted(str(path.relative_to(root.workcells)) for path in found)
