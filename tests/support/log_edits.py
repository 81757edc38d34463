"""What people and tools do to a log that is there already."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

from workcast.broker.log import Header, parse_header


def read_log(path: Path) -> tuple[Header | None, list[bytes]]:
    """The log's header, if it has one, and its whole lines; nothing of a log that is not there."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    header = parse_header(lines[0]) if lines else None
    return header, lines[1:] if header else lines


def prune(path: Path, epoch: int, drop: int) -> None:
    """Rewrite a log without its first ``drop`` lines: a header first, renamed into place under the lock."""
    with path.open("rb") as old:
        fcntl.flock(old, fcntl.LOCK_EX)
        header, lines = read_log(path)
        base = drop + (header.base if header else 0)
        dropped = lines[:drop] if header is None else [old.readline()[:-1], *lines[:drop]]
        old.seek(sum(len(line) + 1 for line in dropped))
        rest = old.read()  # an unterminated tail as well: its writer may be about to finish it
        new = path.with_suffix(".new")
        new.write_bytes(json.dumps({"type": "log", "epoch": epoch, "base": base}).encode() + b"\n" + rest)
        new.rename(path)


def edited(path: Path, index: int, line: bytes) -> bytes:
    """The log's bytes with another line at ``index`` (counted from the first line that is no header)."""
    data = path.read_bytes()
    header, _ = read_log(path)
    pieces = data.split(b"\n")
    pieces[index + (header is not None)] = line
    return b"\n".join(pieces)


def edit_in_place(path: Path, index: int, line: bytes) -> None:
    """Write another line over one that is there, and anew what follows it if the length is another."""
    data = edited(path, index, line)
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def edit_a_copy(path: Path, index: int, line: bytes) -> None:
    """As ``sed -i`` does: the edited copy is renamed into place."""
    copy = path.with_suffix(".copy")
    copy.write_bytes(edited(path, index, line))
    copy.rename(path)
