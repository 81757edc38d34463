"""Edits of an existing log, as people and tools make them."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

from workcast.broker.log import Header, parse_header


def read_log(path: Path) -> tuple[Header | None, list[bytes]]:
    """Return the log's header, if it has one, and its complete lines; none if there is no log."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    header = parse_header(lines[0]) if lines else None
    return header, lines[1:] if header else lines


def prune(path: Path, epoch: int, drop: int) -> None:
    """Rewrite a log without its first ``drop`` lines: with a header, renamed into place under the lock."""
    with path.open("rb") as old:
        fcntl.flock(old, fcntl.LOCK_EX)
        header, lines = read_log(path)
        base = drop + (header.base if header else 0)
        dropped = lines[:drop] if header is None else [old.readline()[:-1], *lines[:drop]]
        old.seek(sum(len(line) + 1 for line in dropped))
        rest = old.read()  # including an unterminated tail, which its writer may be about to finish
        new = path.with_suffix(".new")
        new.write_bytes(json.dumps({"type": "log", "epoch": epoch, "base": base}).encode() + b"\n" + rest)
        new.rename(path)


def edited(path: Path, index: int, line: bytes) -> bytes:
    """Return the log's bytes with ``line`` at ``index``, not counting a header."""
    data = path.read_bytes()
    header, _ = read_log(path)
    pieces = data.split(b"\n")
    pieces[index + (header is not None)] = line
    return b"\n".join(pieces)


def edit_in_place(path: Path, index: int, line: bytes) -> None:
    """Overwrite the line at ``index`` in place; the lines after it move if the length differs."""
    data = edited(path, index, line)
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def edit_a_copy(path: Path, index: int, line: bytes) -> None:
    """Rename an edited copy into place, as ``sed -i`` does."""
    copy = path.with_suffix(".copy")
    copy.write_bytes(edited(path, index, line))
    copy.rename(path)
