"""Sessions that began as a copy of another one: their transcripts begin with lines of that session."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from workcast.producer.transcripts.discovery import Transcript, identify

_FIRST_BYTES: Final = 1 << 20
_UUID: Final = re.compile(rb'"uuid":"([0-9a-f-]{36})"')
_TIME: Final = re.compile(rb'"timestamp":"([^"]{10,40})"')


@dataclass(frozen=True, slots=True)
class Copied:
    """What a session copied from another one: the other's id, and the names of the lines."""

    session: str | None = None
    uuids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _First:
    """The first line of a transcript, and when the file was changed."""

    uuid: bytes
    began: bytes
    changed: int


NOTHING: Final = Copied()


class Forks:
    """Finds what Claude Code copied: a fork is in the same directory as the original, and begins with its lines.

    A fork of Codex names its original, and copies nothing.
    """

    def __init__(self) -> None:
        self._known: dict[Path, _First] = {}

    def copied(self, transcript: Transcript) -> Copied:
        """Return the lines of a session that belong to another one."""
        mine = self._first(transcript.path) if transcript.agent == "claude" and not transcript.sub_agent else None
        if mine is None:
            return NOTHING
        older: list[tuple[bytes, int, Path]] = []
        for path in transcript.path.parent.glob("*.jsonl"):
            first = self._first(path) if path != transcript.path else None
            if first is not None and first.uuid == mine.uuid and (first.began, first.changed, path.name) < (
                mine.began, mine.changed, transcript.path.name,
            ):  # fmt: skip
                older.append((first.began, first.changed, path))
        if not older:
            return NOTHING
        origin = identify(min(older)[2])
        theirs = {uuid for path in (path for _, _, path in older) for uuid in _uuids(path)}
        return Copied(
            None if origin is None else origin.session,
            frozenset(uuid for uuid in _uuids(transcript.path) if uuid in theirs),
        )

    def _first(self, path: Path) -> _First | None:
        found = self._known.get(path)
        if found is None:
            try:
                with path.open("rb") as file:
                    head = file.read(_FIRST_BYTES)
                uuid, began = _UUID.search(head), _TIME.search(head)
                if uuid is None or began is None:
                    return None
                found = self._known[path] = _First(uuid.group(1), began.group(1), path.stat().st_mtime_ns)
            except OSError:
                return None
        return found


def _uuids(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            for line in file:
                # The uuid of a line is outside of its message; one inside a text is escaped.
                yield from (found.decode() for found in _UUID.findall(line))
    except OSError:
        return
