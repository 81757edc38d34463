"""One message of Claude Code while it is being printed: the indexes of its blocks, and its tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, UsageEvent
from workcast.events.usage import Usage
from workcast.producer.claude.messages import usage_fields
from workcast.producer.fields import JsonObject, get_object, get_text

MAX_OPEN_BLOCKS: Final = 1000
"""A block beyond these gets its index in order of completion instead."""


@dataclass(slots=True)
class Message:
    """One message of one agent, the main one or a sub-agent."""

    id: str | None = None
    model: str | None = None
    open: dict[int, str] = field(default_factory=dict[int, str])
    """Index and type of the blocks that are being streamed and have not been printed whole."""
    whole: int = 0
    """How many blocks have been printed whole."""
    start_usage: JsonObject = field(default_factory=dict[str, object])
    usage: JsonObject | None = None
    """The final count, until it is emitted."""
    counted: bool = False
    """The message's last ``usage`` has been emitted."""

    @classmethod
    def begun(cls, message: JsonObject) -> Message:
        """Return a message from the API's own form, which contains the count at its start."""
        return cls(get_text(message, "id"), get_text(message, "model"), start_usage=get_object(message, "usage"))

    def block_started(self, index: int | None, kind: str | None) -> None:
        """Add a block that is being streamed."""
        if index is not None and len(self.open) < MAX_OPEN_BLOCKS:
            self.open[index] = kind or ""

    def block_stopped(self, index: int | None) -> None:
        """Remove a block whose stream has ended."""
        if index is not None:
            self.open.pop(index, None)

    def claim(self, kind: str) -> int:
        """Return the index of a block that an ``assistant`` line prints whole, as the line does not contain it.

        The line is printed just before its block ends, so it is the open block of that type. The blocks of a message
        that is not streamed are printed in order.
        """
        self.whole += 1
        for index, open_kind in self.open.items():
            if open_kind == kind:
                del self.open[index]
                return index
        return self.whole - 1

    def count(self, usage: JsonObject) -> None:
        """Set the final count, which omits, or gives as null, what has not changed since the start."""
        final = {key: value for key, value in usage.items() if value is not None}
        self.usage = {**self.start_usage, **final} if final else self.usage

    def take_usage(self, parent: str | None, at: datetime) -> list[BaseEvent]:
        """Return the final count, once."""
        if self.usage is None:
            return []
        usage, self.usage, self.counted = self.usage, None, True
        return [self._event(usage, parent, at)]

    def take_start_usage(self, parent: str | None, at: datetime) -> list[BaseEvent]:
        """Return the count at the start, once, for a message without a final count: only its input is right."""
        if self.counted or self.id is None or not self.start_usage:
            return []
        self.counted = True
        return [self._event(self.start_usage, parent, at, partial=True)]

    def _event(self, usage: JsonObject, parent: str | None, at: datetime, *, partial: bool | None = None) -> UsageEvent:
        return make(
            UsageEvent,
            timestamp=at,
            usage=make(Usage, **usage_fields(usage)),
            message_id=self.id,
            model=self.model,
            parent_call_id=parent,
            partial=partial,
        )
