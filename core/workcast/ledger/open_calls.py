"""The tool calls that have no result yet, and the time during which there were any."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MAX_KEPT: Final = 32


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A tool call that has no result yet."""

    call_id: str | None = None
    tool: str = "?"
    since: str | None = None
    """The timestamp of the call's event."""


@dataclass(slots=True)
class OpenCalls:
    """The oldest open calls, and a count of the others.

    At most 32 calls are kept. While they are, further ones are only counted, in ``more``, and a result that answers
    none of those kept is taken to answer one that was counted. So whether any call is open stays right however many
    there are, unless the agent reports a result twice or for a call that it never reported.
    """

    kept: dict[str, OpenCall] = field(default_factory=dict[str, OpenCall])
    """By key, the oldest first."""
    more: int = 0

    def start(self, key: str, call: OpenCall) -> None:
        """Add a call; ``key`` is its id, or any unique text if it has none."""
        if key in self.kept or len(self.kept) < MAX_KEPT:
            self.kept[key] = call
        else:
            self.more += 1

    def end(self, call_id: str | None, tool: str | None) -> str | None:
        """Remove the call that a result answers: the one with its id, or else the newest of its tool without an id.

        Returns:
            The key of the call; None if it is not kept.
        """
        key = call_id if call_id is not None else self._newest(tool)
        if key is not None and self.kept.pop(key, None) is not None:
            return key
        self.more = max(0, self.more - 1)
        return None

    def clear(self) -> None:
        """Remove all calls."""
        self.kept.clear()
        self.more = 0

    def __len__(self) -> int:
        return len(self.kept) + self.more

    def _newest(self, tool: str | None) -> str | None:
        same = (key for key, call in reversed(self.kept.items()) if call.call_id is None and call.tool == tool)
        return next(same, None)


@dataclass(slots=True)
class CallClock:
    """How long at least one call was open. Moments are in milliseconds since 1970."""

    spent_ms: int = 0
    since: int | None = None
    open: OpenCalls = field(default_factory=OpenCalls)

    def start(self, key: str, call: OpenCall, now: int) -> None:
        """Start a call."""
        self.open.start(key, call)
        self.since = now if self.since is None else self.since

    def end(self, call_id: str | None, tool: str | None, now: int) -> str | None:
        """End the call that a result answers, and return its key; see :meth:`OpenCalls.end`."""
        key = self.open.end(call_id, tool)
        if not self.open:
            self.stop(now)
        return key

    def stop(self, now: int) -> None:
        """End all calls."""
        self.spent_ms = self.spent(now)
        self.since = None
        self.open.clear()

    def spent(self, now: int) -> int:
        """Return the time until ``now``, in milliseconds."""
        return self.spent_ms + (max(0, now - self.since) if self.since is not None else 0)
