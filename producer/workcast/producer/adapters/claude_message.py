"""A message of Claude Code that is on its way: which of its blocks are told, and what it took."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, UsageEvent
from workcast.events.usage import Usage
from workcast.producer.adapters.fields import JsonObject, get_count, get_counts, get_object, get_text

MESSAGE_COUNTS: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")


@dataclass(slots=True)
class Message:
    """One message of one agent, the main one or a sub-agent."""

    id: str | None = None
    model: str | None = None
    open: dict[int, str] = field(default_factory=dict[int, str])
    """Index and type of the blocks that are being streamed and have not been told whole."""
    told: int = 0
    start_usage: JsonObject = field(default_factory=dict[str, object])
    usage: JsonObject | None = None
    """The final count, until it is told."""
    counted: bool = False
    """Nothing more is to be told of what it took."""

    @classmethod
    def begun(cls, said: JsonObject) -> Message:
        """The message that the API's own form describes, with the count of its beginning."""
        return cls(get_text(said, "id"), get_text(said, "model"), start_usage=get_object(said, "usage"))

    def block_started(self, index: int | None, kind: str | None) -> None:
        """A block is being streamed from now on."""
        if index is not None:
            self.open[index] = kind or ""

    def block_stopped(self, index: int | None) -> None:
        """A block is streamed to its end."""
        if index is not None:
            self.open.pop(index, None)

    def claim(self, kind: str) -> int:
        """The index of the block that an ``assistant`` line tells whole: the line itself does not say.

        The line comes just before its block is closed, so it is the open one of that type. A message that is not
        streamed is told block by block in order.
        """
        self.told += 1
        for index, open_kind in self.open.items():
            if open_kind == kind:
                del self.open[index]
                return index
        return self.told - 1

    def count(self, said: JsonObject) -> None:
        """Take the final count: it leaves out, or gives as null, what has not changed since the beginning."""
        final = {key: value for key, value in said.items() if value is not None}
        self.usage = {**self.start_usage, **final} if final else self.usage

    def take_usage(self, parent: str | None, at: datetime) -> list[BaseEvent]:
        """The final count, once, if it is there."""
        if self.usage is None:
            return []
        said, self.usage, self.counted = self.usage, None, True
        return [self._event(said, parent, at)]

    def take_start_usage(self, parent: str | None, at: datetime) -> list[BaseEvent]:
        """The count of the beginning, once, for a message whose end is not told: the input is right, the output not."""
        if self.counted or self.id is None or not self.start_usage:
            return []
        self.counted = True
        return [self._event(self.start_usage, parent, at, partial=True)]

    def _event(self, said: JsonObject, parent: str | None, at: datetime, *, partial: bool | None = None) -> UsageEvent:
        return make(
            UsageEvent,
            timestamp=at,
            usage=message_usage(said),
            message_id=self.id,
            model=self.model,
            parent_call_id=parent,
            partial=partial,
        )


def message_usage(said: JsonObject) -> Usage:
    """The tokens of one message, from the API's own form, which counts cached input apart."""
    fresh, read, written, output = get_counts(said, MESSAGE_COUNTS)
    long = get_count(get_object(said, "cache_creation"), "ephemeral_1h_input_tokens")
    return make(
        Usage,
        input_tokens=fresh + read + written,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=get_count(get_object(said, "output_tokens_details"), "thinking_tokens") or 0,
        **({"cache_write_1h_tokens": long} if long else {}),
    )
