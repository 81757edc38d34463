"""The fleet: the newest summary of every workcell, kept as a log of versions that viewers read at their own pace."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic_core import to_json

from workcast.consumer.prepared import PreparedText
from workcast.ledger.summary import Summary

PAGE: Final = 500
"""Workcells of one message."""
_MAX_MESSAGES: Final = 64
"""Messages that are kept for other viewers at the same version."""
_COMPACT: Final = 100
"""Removed workcells that are kept before those that no viewer shows any more are forgotten."""
_FIELDS: Final = tuple(Summary.model_fields)


@dataclass(frozen=True, slots=True)
class _Entry:
    """The last change of one workcell."""

    workcell: str
    version: int
    first: int
    """The version in which the workcell appeared; viewers at an older one have not been sent it."""
    born: int
    """Like ``first``, but the last time it appeared: it may have been removed in between."""
    summary: Summary | None
    """None: it was removed."""
    changed: Mapping[str, int]
    """The version of each field's last change since ``born``."""

    def json(self, since: int) -> bytes:
        """Return ``id`` and the fields that changed after version ``since``, or all if the workcell is newer."""
        if self.born > since:
            return to_json(self.summary, inf_nan_mode="null")
        fields = {"id": self.workcell}
        fields |= {name: getattr(self.summary, name) for name in _FIELDS if self.changed.get(name, 0) > since}
        return to_json(fields, inf_nan_mode="null")


@dataclass(frozen=True, slots=True)
class FleetMessage:
    """A ``fleet`` message, shared by all viewers at the same version."""

    frame: PreparedText
    position: int
    """The version up to which this page comes."""
    more: bool
    empty: bool


class FleetCursor:
    """A viewer's place in the fleet.

    A workcell that changes moves to the end of the log, perhaps past the next page, so pages of one run all lead from
    ``base``: the version up to which the viewer has everything.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.base = 0
        self.position = 0
        """The version up to which the pages since ``base`` have come."""
        self.complete = False
        """Whether it has been sent every workcell once."""


class Fleet:
    """Summaries by workcell.

    Each change of a workcell gets the next version. Of each workcell only the last change is kept, with the versions
    of its fields: what a viewer at any version lacks follows from these. Memory is bounded by the workcells there
    are, and by those that were removed since and are still shown to a viewer that does not read.
    """

    def __init__(self) -> None:
        self.version = 0
        self._entries: dict[str, _Entry] = {}
        """By workcell, in the order of versions."""
        self._log: list[_Entry] | None = None
        """The same as a list; None: to be made again."""
        self._messages: dict[tuple[int, int], FleetMessage] = {}
        """The next messages for viewers at a base and a position, until the next change."""
        self._cursors: set[FleetCursor] = set()
        self._removed = 0
        self._compact_at = _COMPACT

    # ── what is in it ────────────────────────────────────────────────────────────────────────────────────────────────
    def get(self, workcell: str) -> Summary | None:
        entry = self._entries.get(workcell)
        return None if entry is None else entry.summary

    def summaries(self) -> list[Summary]:
        """Return the newest summary of each workcell."""
        return [entry.summary for entry in self._entries.values() if entry.summary is not None]

    def ids(self) -> list[str]:
        return [entry.workcell for entry in self._entries.values() if entry.summary is not None]

    def update(self, summaries: Mapping[str, Summary], removed: Iterable[str] = ()) -> None:
        """Take newer summaries, and remove workcells that are gone; wake the viewers if anything changed."""
        before = self.version
        for workcell, summary in summaries.items():
            self._put(workcell, summary)
        for workcell in removed:
            self._remove(workcell)
        if self.version == before:
            return
        self._compact()
        self._log = None
        self._messages.clear()
        for cursor in tuple(self._cursors):
            cursor.wake()

    def _put(self, workcell: str, summary: Summary) -> None:
        old = self._entries.get(workcell)
        if old is not None and old.summary is summary:
            return
        if old is None or old.summary is None:
            self.version += 1
            first = self.version if old is None else old.first
            entry = _Entry(workcell, self.version, first, self.version, summary, {})
            self._removed -= old is not None
        else:
            news = [name for name in _FIELDS if getattr(summary, name) != getattr(old.summary, name)]
            if not news:
                return
            self.version += 1
            changed = {**old.changed, **dict.fromkeys(news, self.version)}
            entry = _Entry(workcell, self.version, old.first, old.born, summary, changed)
        self._append(entry)

    def _remove(self, workcell: str) -> None:
        old = self._entries.get(workcell)
        if old is not None and old.summary is not None:
            self.version += 1
            self._removed += 1
            self._append(_Entry(workcell, self.version, old.first, old.born, None, {}))

    def _append(self, entry: _Entry) -> None:
        self._entries.pop(entry.workcell, None)
        self._entries[entry.workcell] = entry

    def _compact(self) -> None:
        """Forget the removed workcells that no viewer has any more."""
        if self._removed < self._compact_at:
            return
        positions = sorted(cursor.position for cursor in self._cursors)
        for entry in tuple(self._entries.values()):
            shown = bisect_left(positions, entry.first) < bisect_left(positions, entry.version)
            if entry.summary is None and not shown:
                del self._entries[entry.workcell]
                self._removed -= 1
        self._compact_at = 2 * self._removed + _COMPACT

    # ── what viewers read ────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def watched(self) -> bool:
        """Whether any viewer reads the fleet."""
        return bool(self._cursors)

    def open(self, wake: Callable[[], None]) -> FleetCursor:
        """Return a new viewer's cursor; ``wake`` is called after each change."""
        cursor = FleetCursor(wake)
        self._cursors.add(cursor)
        return cursor

    def close(self, cursor: FleetCursor) -> None:
        self._cursors.discard(cursor)

    def has_news(self, cursor: FleetCursor) -> bool:
        return not cursor.complete or cursor.position < self.version

    def read(self, cursor: FleetCursor) -> FleetMessage | None:
        """Return the next message for a viewer and advance its cursor; None if it has everything.

        First come pages of whole summaries, then fields that changed; viewers at the same version get the same object.
        """
        if not self.has_news(cursor):
            return None
        key = (cursor.base, cursor.position)
        message = self._messages.get(key)
        if message is None:
            message = self._build(*key)
            if len(self._messages) >= _MAX_MESSAGES:
                del self._messages[next(iter(self._messages))]
            self._messages[key] = message
        unneeded = message.empty and cursor.complete
        cursor.position = message.position
        if not message.more:
            cursor.base, cursor.complete = message.position, True
        return None if unneeded else message

    def _build(self, base: int, position: int) -> FleetMessage:
        if self._log is None:
            self._log = list(self._entries.values())
        workcells: list[bytes] = []
        removed: list[str] = []
        end, more = self.version, False
        for at in range(bisect_right(self._log, position, key=_version), len(self._log)):
            entry = self._log[at]
            if entry.summary is None and entry.first > position:
                continue  # came and went in between
            if len(workcells) + len(removed) == PAGE:
                end, more = self._log[at - 1].version, True
                break
            if entry.summary is None:
                removed.append(entry.workcell)
            else:
                workcells.append(entry.json(base))
        frame = PreparedText(
            b'{"op":"fleet","workcells":[%s],"removed":%s,"more":%s}'
            % (b",".join(workcells), json.dumps(removed).encode(), b"true" if more else b"false")
        )
        return FleetMessage(frame, end, more, empty=not workcells and not removed)


def _version(entry: _Entry) -> int:
    return entry.version
