"""What a session's log contains already, so that each event is written once, whichever process wrote it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from pydantic_core import from_json

from workcast.broker.below import open_below
from workcast.events.json_value import as_object
from workcast.events.models import BaseEvent
from workcast.producer.hooks.payload import SOURCE as HOOK
from workcast.producer.transcripts.base import SourcedEvent
from workcast.producer.transcripts.disk_set import DiskSet

MAX_COUNTED: Final = 10_000
"""Prompts, or ends of turns, whose lines have not come; some 3 MB."""
_SCAN_BYTES: Final = 4 << 20
_OF_CALL: Final = frozenset({"tool_call", "bash_command"})
_OF_RESULT: Final = frozenset({"tool_result", "bash_output", "file_read", "file_write"})

K = TypeVar("K", bound=Hashable)


class _Counts(Generic[K]):
    """How often each key waits for its line; of more than :data:`MAX_COUNTED` keys, the oldest is forgotten.

    A forgotten prompt or end is written again when its line comes.
    """

    def __init__(self) -> None:
        self.keys: dict[K, int] = {}

    def add(self, key: K) -> None:
        if key not in self.keys and len(self.keys) >= MAX_COUNTED:
            del self.keys[next(iter(self.keys))]
        self.keys[key] = self.keys.get(key, 0) + 1

    def take(self, key: K) -> bool:
        count = self.keys.pop(key, 0)
        if count > 1:
            self.keys[key] = count - 1
        return count > 0


class _Calls:
    """The calls, or the results, that hooks recorded and whose lines have not come."""

    def __init__(self) -> None:
        self.waiting = DiskSet()
        self._matched: set[str] = set()
        """Those whose line is in the current batch: a line has several events."""

    def take(self, call_id: object) -> bool:
        if not isinstance(call_id, str):
            return False
        if call_id not in self._matched and not self.waiting.discard(call_id):
            return False
        self._matched.add(call_id)
        return True

    def end_batch(self) -> None:
        self._matched.clear()


class LoggedEvents:
    """The events in a log from some position on, as far as their lines have not come yet.

    Events from transcripts are known by their sources. Those from hooks have no line: they are known by a call's id,
    or by a prompt.
    """

    def __init__(self) -> None:
        self._sources = DiskSet()
        self._calls = _Calls()
        self._results = _Calls()
        self._prompts: _Counts[tuple[str | None, str]] = _Counts()
        self._endings: _Counts[str | None] = _Counts()
        self._started = False

    def __bool__(self) -> bool:
        """Whether an event waits for its line: then the log has to be read from the same position next time."""
        waiting = len(self._sources) + len(self._calls.waiting) + len(self._results.waiting)
        return waiting > 0 or bool(self._prompts.keys) or bool(self._endings.keys) or self._started

    def scan(self, log: Path, position: int, end: int) -> None:
        """Add the whole lines of a log between two positions."""
        with os.fdopen(open_below(log, os.O_RDONLY), "rb") as file:
            file.seek(position)
            while position < end and (lines := file.readlines(min(_SCAN_BYTES, end - position))):
                for line in lines:
                    position += len(line)
                    if b'"source"' in line:
                        self._add(line)

    def _add(self, line: bytes) -> None:
        try:
            event = as_object(from_json(line))
        except ValueError:
            return
        source = event.get("source") if event is not None else None
        if event is None or not isinstance(source, str):
            return
        if source != HOOK:
            self._sources.add(source)
            return
        call = event.get("call_id")
        match event.get("type"):
            case "started":
                self._started = True
            case "prompt_sent":
                self._prompts.add(_prompt(event))
            case "completed":
                self._endings.add(_prompt_id(event))
            case "tool_call" if isinstance(call, str):
                self._calls.waiting.add(call)
            case "tool_result" if isinstance(call, str):
                self._results.waiting.add(call)
            case _:
                pass

    def has_source(self, source: str) -> bool:
        """Whether the log contains an event with this source."""
        return source in self._sources

    def take(self, sourced: SourcedEvent) -> bool:
        """Whether the log contains an event; if so, it no longer waits for its line."""
        return self._sources.discard(sourced.source) or self._take_hooks(sourced.event)

    def end_batch(self) -> None:
        """Note that the events taken so far were those of whole lines."""
        self._calls.end_batch()
        self._results.end_batch()

    def _take_hooks(self, event: BaseEvent) -> bool:
        kind = event.type
        if kind == "started":
            started, self._started = self._started, False
            return started
        if kind in _OF_CALL:
            return self._calls.take(getattr(event, "call_id", None))
        if kind in _OF_RESULT:
            return self._results.take(getattr(event, "call_id", None))
        if kind == "prompt_sent":
            return self._take_prompt(*_prompt({**event.__dict__, **(event.model_extra or {})}))
        if kind == "completed":
            return self._endings.take(_prompt_id(event.model_extra or {}))
        return False

    def _take_prompt(self, prompt_id: str | None, prompt: str) -> bool:
        """Find a prompt by its text and id; by its id alone where the texts differ, as those of commands do."""
        if self._prompts.take((prompt_id, prompt)):
            return True
        same = next((key for key in self._prompts.keys if key[0] == prompt_id), None)
        return prompt_id is not None and same is not None and self._prompts.take(same)


def _prompt(event: dict[str, Any]) -> tuple[str | None, str]:
    text = str(event.get("prompt")).encode("utf-8", "replace")
    return _prompt_id(event), hashlib.blake2b(text, digest_size=16).hexdigest()


def _prompt_id(event: dict[str, Any]) -> str | None:
    prompt_id = event.get("prompt_id")
    return prompt_id if isinstance(prompt_id, str) else None
