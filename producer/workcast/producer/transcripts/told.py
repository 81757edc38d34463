"""What a session's log tells already, so that each event is told once: whoever told it, and whatever was killed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from workcast.events.json_value import as_object
from workcast.events.models import BaseEvent
from workcast.producer.transcripts.base import Telling

HOOK: Final = "hook"
"""The ``source`` of events that a hook told."""
_SCAN_BYTES: Final = 4 << 20
_OF_CALL: Final = frozenset({"tool_call", "bash_command"})
_OF_RESULT: Final = frozenset({"tool_result", "bash_output", "file_read", "file_write"})


class Told:
    """The sources that a log holds, from some position on, as far as no line has come for them yet.

    What a hook told has no line: it is known by what it tells of, a call's id or a prompt.
    """

    def __init__(self) -> None:
        self._sources: set[str] = set()
        self._calls: dict[str, bool] = {}
        self._results: dict[str, bool] = {}
        self._prompts: Counter[tuple[object, object]] = Counter()
        self._endings: Counter[object] = Counter()
        self._started = False

    def __bool__(self) -> bool:
        """Whether the log tells of anything whose line has not come: then it must be looked at again next time."""
        waits = not all(self._calls.values()) or not all(self._results.values())
        return bool(self._sources) or waits or self._prompts.total() > 0 or self._endings.total() > 0 or self._started

    def scan(self, log: Path, position: int, end: int) -> None:
        """Take in the whole lines of a log between two positions."""
        with log.open("rb") as file:
            file.seek(position)
            while position < end and (lines := file.readlines(min(_SCAN_BYTES, end - position))):
                for line in lines:
                    position += len(line)
                    if b'"source"' in line:
                        self._take(line)

    def _take(self, line: bytes) -> None:
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
                self._prompts[_prompt(event)] += 1
            case "completed":
                self._endings[event.get("prompt_id")] += 1
            case "tool_call" if isinstance(call, str):
                self._calls[call] = False
            case "tool_result" if isinstance(call, str):
                self._results[call] = False
            case _:
                pass

    def knows(self, source: str) -> bool:
        """Whether the log tells of this source."""
        return source in self._sources

    def tells(self, telling: Telling) -> bool:
        """Whether the log tells this already; what it told of it is crossed off."""
        if telling.source in self._sources:
            self._sources.discard(telling.source)
            return True
        return self._hook_told(telling.event)

    def _hook_told(self, event: BaseEvent) -> bool:
        kind = event.type
        if kind == "started":
            told, self._started = self._started, False
            return told
        if kind in _OF_CALL or kind in _OF_RESULT:
            calls, call = self._calls if kind in _OF_CALL else self._results, getattr(event, "call_id", None)
            if call in calls:
                calls[call] = True
                return True
            return False
        if kind == "prompt_sent":
            return self._prompt_told(*_prompt({**event.__dict__, **(event.model_extra or {})}))
        if kind == "completed":
            return _cross_off(self._endings, (event.model_extra or {}).get("prompt_id"))
        return False

    def _prompt_told(self, prompt_id: object, prompt: object) -> bool:
        """By its words and its id; by the id alone where the words differ, as those of a command with arguments do."""
        if _cross_off(self._prompts, (prompt_id, prompt)):
            return True
        same = [key for key, count in self._prompts.items() if key[0] == prompt_id and count > 0]
        return prompt_id is not None and bool(same) and _cross_off(self._prompts, same[0])


def _prompt(event: dict[str, Any]) -> tuple[object, object]:
    prompt_id = event.get("prompt_id")
    return (prompt_id if isinstance(prompt_id, str) else None, event.get("prompt"))


def _cross_off(counter: Counter[Any], key: object) -> bool:
    if counter[key] <= 0:
        return False
    counter[key] -= 1
    return True
