"""What the adapters share whose agents print a JSON object a line: finding the rule that reads it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from workcast.events.models import BaseEvent
from workcast.producer.adapters.base import Exit, run_key, unknown_line, unread
from workcast.producer.adapters.fields import NO_JSON, JsonObject, decode_json, parse_object
from workcast.producer.lines import CutLine

Told = list[BaseEvent] | tuple[BaseEvent, ...] | None
"""What a rule makes of a line. A tuple: no rule knows a part of it; None: it is not known at all."""

Rule = Callable[[Any, JsonObject, datetime], Told]
"""Reads one kind of line: given the adapter, the line and its time."""


class Common(NamedTuple):
    """The kind of line that most are. It is decoded straight into the fields that its rule reads, in half the time."""

    start: bytes
    """How it begins."""
    decode: Callable[[bytes], Any]
    """Raises one of ``NO_JSON`` for a line that is of another kind, or has a field of another type."""
    rule: Callable[[Any, Any, datetime], Told]
    """Does what the rule of its ``type`` does: that one reads the line if ``decode`` raises.

    But ``decode`` does not look at what it skips: no UTF-8 there, or no number, leaves the line one that is known.
    """


class JsonLines(ABC):
    """Reads lines by the rule of their ``type``; what no rule knows becomes ``unknown``, and nothing raises."""

    name: ClassVar[str]
    rules: Mapping[str, Rule]
    """By the ``type`` of a line."""
    common: ClassVar[Common | None] = None

    def __init__(self) -> None:
        self._ended = False
        self._key = ""

    @property
    def key(self) -> str:
        """Tells the run from the others in its log."""
        return self._key

    def feed(self, line: bytes, at: datetime) -> list[BaseEvent]:
        """Read one line.

        This is called for every line that there is, so it does by itself what functions would do more clearly.
        """
        if line.__class__ is not bytes:  # but a CutLine
            return self._feed_odd(line, at)
        common = self.common
        try:
            if common is not None and line.startswith(common.start):
                read, rule = common.decode(line), common.rule
            else:
                read = decode_json(line)
                rule = self.rules[read["type"]]
        except (*NO_JSON, LookupError, TypeError):  # or no such rule, no type, no object
            return self._feed_odd(line, at)
        if not self._key:
            self._key = run_key(at)
        told = rule(self, read, at)
        return told if told.__class__ is list else self._unread(told, line, at)  # pyright: ignore[reportReturnType]

    def end(self, exit: Exit, at: datetime) -> list[BaseEvent]:  # noqa: A002
        """Close what is open and tell what the run came to."""
        if self._ended:
            return []
        self._ended = True
        return self.ending(exit, at)

    @abstractmethod
    def ending(self, exit: Exit, at: datetime) -> list[BaseEvent]:  # noqa: A002
        """What :meth:`end` answers the first time."""

    def _feed_odd(self, line: bytes, at: datetime) -> list[BaseEvent]:
        """A line that a strict decoder refuses, or that no rule knows."""
        if isinstance(line, CutLine):
            return [unknown_line(self.name, line, at)]
        read = parse_object(line)
        kind = None if read is None else read.get("type")
        if not self._key and line and not line.isspace():
            self._key = run_key(at)
        if read is None or not isinstance(kind, str) or kind not in self.rules:
            return unread(self.name, line, at)
        return self._unread(self.rules[kind](self, read, at), line, at)

    def _unread(self, told: Told, line: bytes, at: datetime) -> list[BaseEvent]:
        return told if isinstance(told, list) else [*(told or ()), *unread(self.name, line, at)]
