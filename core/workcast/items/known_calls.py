"""The calls that later events of a log refer to: those without a result, and those that got theirs last."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

MAX_OPEN: Final = 10_000
"""Calls without a result; beyond, the oldest one counts as closed."""
MAX_CLOSED: Final = 1000
"""Calls with a result, whose outputs and changes may follow it; beyond, the oldest one is forgotten."""


class KnownCall(NamedTuple):
    """A call, as JSON can hold it."""

    offset: int
    call_id: str | None
    tool: str | None
    is_open: bool


class KnownCalls:
    """Calls by id; one without an id is found by its tool."""

    def __init__(self, calls: Iterable[KnownCall] = ()) -> None:
        self._open: dict[str | int, KnownCall] = {}
        """By id, or by offset if it has none."""
        self._closed: dict[str, KnownCall] = {}
        for call in calls:
            if call.is_open:
                self.start(call)
            else:
                self._close(call)

    def all(self) -> tuple[KnownCall, ...]:
        """Return all calls, so that another one can be made from them."""
        return (*self._closed.values(), *self._open.values())

    def open_offsets(self) -> frozenset[int]:
        """Return the offsets of the calls without a result."""
        return frozenset(call.offset for call in self._open.values())

    def start(self, call: KnownCall) -> None:
        """Add a call without a result."""
        key = call.offset if call.call_id is None else call.call_id
        self._open.pop(key, None)
        self._open[key] = call
        if len(self._open) > MAX_OPEN:
            self._close(self._open.pop(next(iter(self._open))))

    def end(self, call_id: str | None, tool: str | None) -> str | None:
        """Close the call that a result answers: the one with its id, or the newest of its tool without an id.

        Returns:
            The call's tool; None if the call is not known.
        """
        key = call_id if call_id is not None else self._newest(tool)
        call = self._open.pop(key, None) if key is not None else None
        if call is None:
            return self.tool(call_id)
        self._close(call)
        return call.tool

    def tool(self, call_id: str | None) -> str | None:
        """Return the tool of a call; None if the call is not known."""
        if call_id is None:
            return None
        call = self._open.get(call_id) or self._closed.get(call_id)
        return call.tool if call is not None else None

    def end_all(self) -> None:
        """Forget all calls: their run has ended."""
        self._open.clear()
        self._closed.clear()

    def _newest(self, tool: str | None) -> int | None:
        for key in reversed(self._open):
            if isinstance(key, int) and tool in (None, self._open[key].tool):
                return key
        return None

    def _close(self, call: KnownCall) -> None:
        if call.call_id is None:
            return
        self._closed.pop(call.call_id, None)
        self._closed[call.call_id] = call._replace(is_open=False)
        if len(self._closed) > MAX_CLOSED:
            del self._closed[next(iter(self._closed))]
