"""Sessions that began as a copy of another: their transcripts begin with lines that were told there."""

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
    """What a session has of another."""

    session: str | None = None
    uuids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _First:
    """How a transcript begins."""

    uuid: bytes
    began: bytes
    changed: int


NOTHING: Final = Copied()


class Forks:
    """Finds what Claude Code copied: a fork lies beside the session that it was made of, and begins with its lines.

    A fork of Codex says of what thread it is one, and copies nothing.
    """

    def __init__(self) -> None:
        self._known: dict[Path, _First] = {}

    def copied(self, transcript: Transcript) -> Copied:
        """The lines of a session that are another's."""
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
                # The line's own one stands outside of its message; one inside of a text is escaped.
                yield from (found.decode() for found in _UUID.findall(line))
    except OSError:
        return
