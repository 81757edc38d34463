"""opencode: ``opencode run --format json``.

Every field is optional and every line kind may be new: what no rule knows becomes ``unknown``, and nothing raises.
A line is a part of a message and comes when the part is finished, sometimes after the line that ends its step;
opencode prints neither the prompt nor the model, and nothing while a command runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from workcast.broker.event import BaseEvent, ErrorEvent, PromptSent, ResponseComplete, Started, Thinking
from workcast.producer.adapters.base import Command, Exit, OpenCall, close_calls, optional, unknown_line
from workcast.producer.adapters.fields import JsonObject, get_object, get_text, parse_object
from workcast.producer.adapters.opencode_outcome import Outcome
from workcast.producer.adapters.opencode_tools import FINISHED, call_events, result_events

RESUMING: Final = frozenset({"-c", "--continue", "-s", "--session"})
"""The options that go on with a session."""


@dataclass(frozen=True, slots=True)
class _Line:
    json: JsonObject
    at: datetime

    @property
    def part(self) -> JsonObject:
        return get_object(self.json, "part")


class OpencodeAdapter:
    """Reads one run of opencode."""

    name: ClassVar[str] = "opencode"
    install_hint: ClassVar[str] = "npm install -g opencode-ai"
    takes_prompt: ClassVar[bool] = True

    def __init__(self, command: Command | None = None, /) -> None:
        words = () if command is None else command.argv
        self._model = _model_in(words)
        self._resumed = any(word.partition("=")[0] in RESUMING for word in words)
        self._started = False
        self._ended = False
        self._texts: Counter[str | None] = Counter()
        self._told: set[int] = set()
        self._calls: dict[str, OpenCall] = {}
        self._call_ids: dict[str, str] = {}
        self._closed: set[str] = set()
        self._outcome = Outcome()
        self._readers: Mapping[str, Callable[[_Line], list[BaseEvent] | None]] = {
            "step_start": lambda line: self._outcome.step_started(line.part, line.at),
            "step_finish": lambda line: self._outcome.step_finished(line.part, line.at),
            "text": self._text,
            "reasoning": self._text,
            "tool_use": self._tool_use,
            "error": self._error,
        }

    @classmethod
    def command(cls, prompt: str, options: Sequence[str] = (), model: str | None = None) -> Command:
        """The prompt is given on stdin, which is taken as it is: opencode puts quotes around an argument's spaces."""
        _ = prompt
        argv = ("opencode", "run", "--format", "json", "--thinking")
        argv += (*(() if "--auto" in options else ("--auto",)), *(("-m", model) if model else ()), *options)
        return Command(argv, prompt_on_stdin=True)

    def begin(self, prompt: str, at: datetime) -> list[BaseEvent]:
        """The prompt."""
        return [PromptSent(timestamp=at, prompt=prompt)]

    def feed(self, line: bytes, at: datetime) -> list[BaseEvent]:
        """Read one line."""
        if not line or line.isspace():
            return []
        parsed = parse_object(line)
        read = None if parsed is None else self._readers.get(get_text(parsed, "type") or "")
        events = None if parsed is None or read is None else read(_Line(parsed, at))
        if parsed is None or events is None:
            return [unknown_line(self.name, line, at)]
        return [*self._start(parsed, at), *events]

    def end(self, exit: Exit, at: datetime) -> list[BaseEvent]:  # noqa: A002
        """Close what is open and tell what the run came to."""
        if self._ended:
            return []
        self._ended = True
        closed = close_calls(self._calls.values(), at)
        self._calls.clear()
        return [*closed, self._outcome.completed(exit, at)]

    def _start(self, line: JsonObject, at: datetime) -> list[BaseEvent]:
        """Mostly a step is the first to be told; of a run whose first request is refused it is an error."""
        if self._started:
            return []
        self._started = True
        said = optional(session_id=get_text(line, "sessionID"), model=self._model, resumed=self._resumed or None)
        return [Started(timestamp=at, toolchain=self.name, **said)]

    def _text(self, line: _Line) -> list[BaseEvent] | None:
        content = get_text(line.part, "text")
        if content is None:
            return None
        if line.part.get("synthetic") is True:
            return []  # a nudge of opencode's own: to go on after it made the conversation shorter
        part_id, message_id = get_text(line.part, "id"), get_text(line.part, "messageID")
        if part_id is not None:
            mark = hash((part_id, content))
            if mark in self._told:
                return []  # told again: something else about the part has changed
            self._told.add(mark)
        where = optional(message_id=message_id, block=None if message_id is None else self._texts[message_id])
        self._texts[message_id] += 1
        if get_text(line.json, "type") == "text":
            return [ResponseComplete(timestamp=line.at, content=content, **where)]
        return [Thinking(timestamp=line.at, content=content, **where)]

    def _tool_use(self, line: _Line) -> list[BaseEvent] | None:
        """A call and its result at once: opencode tells of a tool only when it is done."""
        tool, call_id, state = get_text(line.part, "tool"), self._call_id(line.part), get_object(line.part, "state")
        if tool is None or call_id is None:
            return None
        if call_id in self._closed:
            return []  # told again: something else about the part has changed
        events: list[BaseEvent] = []
        call = self._calls.get(call_id)
        if call is None:
            call = self._calls[call_id] = OpenCall(call_id, tool, line.at)
            events += call_events(call, state, get_text(line.part, "messageID"))
        if get_text(state, "status") in FINISHED:
            del self._calls[call_id]
            self._closed.add(call_id)
            events += result_events(call, state, line.at)
        return events

    def _call_id(self, part: JsonObject) -> str | None:
        """The call's id; that of its part if another call has had the same, as some models' APIs count anew."""
        part_id, call_id = get_text(part, "id"), get_text(part, "callID")
        if part_id is None or call_id is None:
            return call_id or part_id
        owner = self._call_ids.setdefault(call_id, part_id)
        return call_id if owner == part_id else part_id

    def _error(self, line: _Line) -> list[BaseEvent] | None:
        """opencode tries again on its own, in silence: what it tells has failed for good."""
        said = get_object(line.json, "error")
        name = get_text(said, "name")
        words = (get_text(get_object(said, "data"), "message"), get_text(said, "message"), name)
        message = next((text for text in words if text), get_text(line.json, "error"))
        if not message:
            return None
        self._outcome.failed()
        return [ErrorEvent(timestamp=line.at, error=message, retryable=False, **optional(kind=name))]


def _model_in(words: Sequence[str]) -> str | None:
    """The model that the command line names, if it does: the last one counts."""
    found: str | None = None
    for word, after in zip(words, (*words, "")[1:], strict=True):
        name, _, value = word.partition("=")
        if word in {"-m", "--model"}:
            found = after or found
        elif name in {"-m", "--model"}:
            found = value or found
    return found
