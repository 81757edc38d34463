"""What the adapters for agents that print one JSON object a line share: rules, open calls and the end of a run."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from workcast.events.cut_line import CutLine
from workcast.events.models import BaseEvent, PromptSent
from workcast.producer.adapters.base import Exit, close_calls, run_key, unknown_line, unread
from workcast.producer.adapters.outcome import Outcome
from workcast.producer.calls import OpenCall
from workcast.producer.decode import NOT_JSON, decode_json, parse_object
from workcast.producer.fields import JsonObject
from workcast.producer.open_calls import OpenCalls

RuleResult = list[BaseEvent] | tuple[BaseEvent, ...] | None
"""The events of a line. A tuple: a part of the line has no rule; None: the line has no rule."""

Rule = Callable[[Any, JsonObject, datetime], RuleResult]
"""Reads one kind of line, given the adapter, the line and its time."""


class Common(NamedTuple):
    """The most frequent kind of line, decoded straight into the fields that its rule reads: twice as fast."""

    start: bytes
    """The first bytes of such a line."""
    decode: Callable[[bytes], Any]
    """Raises one of ``NOT_JSON`` for a line of another kind, or with a field of another type."""
    rule: Callable[[Any, Any, datetime], RuleResult]
    """Returns the same as the rule of the ``type``, which reads the line if ``decode`` raises.

    But ``decode`` does not check what it skips: invalid UTF-8 or a malformed number there goes unnoticed.
    """


class JsonLines(ABC):
    """Reads each line by the rule of its ``type``. A line without a rule becomes ``unknown``; nothing raises.

    Args:
        outcome: decides the run's last event.
    """

    name: ClassVar[str]
    rules: Mapping[str, Rule]
    """By the ``type`` of a line."""
    common: ClassVar[Common | None] = None

    def __init__(self, outcome: Outcome) -> None:
        self.calls = OpenCalls()
        self._outcome_of_run = outcome
        self._ended = False
        self._key = ""

    @property
    def key(self) -> str:
        """A key that is unique among the runs of the log."""
        return self._key

    def begin(self, prompt: str, at: datetime) -> list[BaseEvent]:
        """Return the prompt."""
        return [PromptSent(timestamp=at, prompt=prompt)]

    def feed(self, line: bytes, at: datetime) -> list[BaseEvent]:
        """Read one line.

        This runs for every line, so it repeats code that functions would express more clearly.
        """
        if line.__class__ is not bytes:  # a CutLine
            return self._feed_odd(line, at)
        common = self.common
        try:
            if common is not None and line.startswith(common.start):
                parsed, rule = common.decode(line), common.rule
            else:
                parsed = decode_json(line)
                rule = self.rules[parsed["type"]]
        except (*NOT_JSON, LookupError, TypeError):  # or it has no rule, no type, or is not an object
            return self._feed_odd(line, at)
        if not self._key:
            self._key = run_key(at)
        result = rule(self, parsed, at)
        return result if result.__class__ is list else self._with_unread(result, line, at)  # pyright: ignore[reportReturnType]

    def end(self, exit: Exit, at: datetime) -> list[BaseEvent]:  # noqa: A002
        """Emit what is pending, close the open calls, and complete the run; nothing the second time."""
        if self._ended:
            return []
        self._ended = True
        pending = self.pending(at)
        return [*pending, *close_calls(self.calls.take_all(), at), self._outcome_of_run.completed(exit, at)]

    def pending(self, at: datetime) -> list[BaseEvent]:
        """Return the events of what the end of the agent cut short."""
        _ = at
        return []

    def open_call(self, key: str, call: OpenCall) -> list[BaseEvent]:
        """Add an open call. With too many of them, the oldest is closed: if its result still comes, it is unknown."""
        displaced = self.calls.open(key, call)
        return [] if displaced is None else close_calls([displaced], call.at)

    def _feed_odd(self, line: bytes, at: datetime) -> list[BaseEvent]:
        """Read a line that the strict decoder refuses, or that has no rule."""
        if isinstance(line, CutLine):
            return [unknown_line(self.name, line, at)]
        parsed = parse_object(line)
        kind = None if parsed is None else parsed.get("type")
        if not self._key and line and not line.isspace():
            self._key = run_key(at)
        if parsed is None or not isinstance(kind, str) or kind not in self.rules:
            return unread(self.name, line, at)
        return self._with_unread(self.rules[kind](self, parsed, at), line, at)

    def _with_unread(self, result: RuleResult, line: bytes, at: datetime) -> list[BaseEvent]:
        return result if isinstance(result, list) else [*(result or ()), *unread(self.name, line, at)]
