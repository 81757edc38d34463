"""The tool calls of a run that have not returned yet."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from workcast.producer.calls import OpenCall
from workcast.producer.recent import RecentSet

MAX_OPEN_CALLS: Final = 10_000


class OpenCalls:
    """The open calls of a run by key, at most ``limit`` of them, and the keys of calls that were closed recently.

    A call beyond the limit displaces the oldest one, which the caller has to close as unanswered.
    """

    def __init__(self, limit: int = MAX_OPEN_CALLS) -> None:
        self._limit = limit
        self._calls: OrderedDict[str, OpenCall] = OrderedDict()
        self._closed: RecentSet[str] = RecentSet()

    def __contains__(self, key: str) -> bool:
        return key in self._calls

    def __len__(self) -> int:
        return len(self._calls)

    def open(self, key: str, call: OpenCall) -> OpenCall | None:
        """Add a call; return the call that it displaced, if any."""
        displaced = self._take_oldest() if len(self._calls) >= self._limit else None
        self._calls[key] = call
        return displaced

    def take(self, key: str) -> OpenCall | None:
        """Close a key; return its call if it was open."""
        self._closed.add(key)
        return self._calls.pop(key, None)

    def _take_oldest(self) -> OpenCall:
        key, call = self._calls.popitem(last=False)
        self._closed.add(key)
        return call

    def was_closed(self, key: str) -> bool:
        """Whether a key was closed, as far as that is remembered: at least for the last 10,000 keys."""
        return key in self._closed

    def take_all(self) -> list[OpenCall]:
        """Close and return all calls, the oldest first."""
        calls = list(self._calls.values())
        self._calls.clear()
        return calls
