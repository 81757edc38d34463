"""The fleet: the newest summary of every workcell, and what changed in it since a viewer last heard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple


class Changes(NamedTuple):
    """What a viewer lacks."""

    workcells: list[dict[str, Any]]
    """Of each, ``id`` and the top-level fields that changed."""
    removed: list[str]
    more: bool
    """True: there is more than was asked for."""


class Fleet:
    """Summaries by workcell id. A summary is never changed, only replaced, so viewers can share it."""

    def __init__(self) -> None:
        self._summaries: dict[str, Mapping[str, Any]] = {}
        self._listeners: set[Callable[[], None]] = set()

    @property
    def watched(self) -> bool:
        """Whether anyone listens."""
        return bool(self._listeners)

    def listen(self, wake: Callable[[], None]) -> None:
        self._listeners.add(wake)

    def unlisten(self, wake: Callable[[], None]) -> None:
        self._listeners.discard(wake)

    def update(self, summaries: Mapping[str, Mapping[str, Any]], removed: Iterable[str] = ()) -> None:
        """Take newer summaries in, and forget workcells that are gone."""
        before = len(self._summaries)
        changed = {name: new for name, new in summaries.items() if self._summaries.get(name) != new}
        self._summaries.update(changed)
        for name in removed:
            self._summaries.pop(name, None)
        if changed or len(self._summaries) != before:
            for wake in tuple(self._listeners):
                wake()

    def get(self, workcell: str) -> Mapping[str, Any] | None:
        return self._summaries.get(workcell)

    def summaries(self) -> list[Mapping[str, Any]]:
        """The newest summary of each."""
        return list(self._summaries.values())

    def ids(self) -> list[str]:
        return list(self._summaries)

    def changes_since(self, seen: dict[str, Mapping[str, Any]], limit: int | None = None) -> Changes:
        """What a viewer that has ``seen`` lacks, at most ``limit`` summaries of it.

        ``seen`` is brought up to date. Costs one comparison of references a workcell when nothing changed.
        """
        changes: list[dict[str, Any]] = []
        more = False
        for name, new in self._summaries.items():
            old = seen.get(name)
            if old is new:
                continue
            fields = {key: value for key, value in new.items() if old is None or old.get(key) != value}
            if fields and len(changes) == limit:
                more = True
                break
            seen[name] = new
            if fields:
                changes.append({"id": name, **fields})
        removed = [name for name in seen if name not in self._summaries]
        for name in removed:
            del seen[name]
        return Changes(changes, removed, more)
