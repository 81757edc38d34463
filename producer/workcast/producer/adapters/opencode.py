"""opencode: ``opencode run --format json``.

Every field is optional and every line kind may be new: what no rule knows becomes ``unknown``, and nothing raises.
A line is a part of a message and comes when the part is finished, sometimes after the line that ends its step;
opencode prints neither the prompt nor the model, and nothing while a command runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Final

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, ErrorEvent, PromptSent, ResponseComplete, Started, Thinking
from workcast.producer.adapters.base import Command, Exit, OpenCall, close_calls
from workcast.producer.adapters.fields import JsonObject, get_object, get_text
from workcast.producer.adapters.json_lines import JsonLines, Rule, Told
from workcast.producer.adapters.marks import Marks
from workcast.producer.adapters.opencode_outcome import Outcome
from workcast.producer.adapters.opencode_tools import FINISHED, call_events, result_events
from workcast.producer.adapters.own_options import OwnOption, model_option, without_own

RESUMING: Final = frozenset({"-c", "--continue", "-s", "--session"})
"""The options that go on with a session."""


OWN: Final = (OwnOption(("--format",), "json"), OwnOption(("--thinking",)))


class OpencodeAdapter(JsonLines):
    """Reads one run of opencode."""

    name: ClassVar[str] = "opencode"
    install_hint: ClassVar[str] = "npm install -g opencode-ai"
    takes_prompt: ClassVar[bool] = True

    def __init__(self, command: Command | None = None, /) -> None:
        super().__init__()
        self.rules = self._first_rules
        words = () if command is None else command.argv
        self._model = _model_in(words) if words else None
        self._resumed = not RESUMING.isdisjoint(word.partition("=")[0] for word in words)
        self._texts: dict[str | None, int] = {}
        self._told = Marks()
        self._calls: dict[str, OpenCall] = {}
        self._call_ids: dict[str, str] = {}
        self._closed = Marks()
        self._outcome = Outcome()

    @classmethod
    def command(cls, prompt: str, options: Sequence[str] = (), model: str | None = None) -> Command:
        """The prompt is given on stdin, which is taken as it is: opencode puts quotes around an argument's spaces."""
        _ = prompt
        argv = ("opencode", "run", "--format", "json", "--thinking")
        given = without_own(cls.name, (*OWN, *model_option(model)), options)
        argv += (*(() if "--auto" in options else ("--auto",)), *(("-m", model) if model else ()), *given)
        return Command(argv, prompt_on_stdin=True)

    def begin(self, prompt: str, at: datetime) -> list[BaseEvent]:
        """The prompt."""
        return [PromptSent(timestamp=at, prompt=prompt)]

    def ending(self, exit: Exit, at: datetime) -> list[BaseEvent]:  # noqa: A002
        """Close what is open and tell what the run came to."""
        closed = close_calls(self._calls.values(), at)
        self._calls.clear()
        return [*closed, self._outcome.completed(exit, at)]

    def _first(self, line: JsonObject, at: datetime) -> Told:
        """The first line that a rule knows: mostly a step; of a run whose first request is refused it is an error."""
        told = self._rules[get_text(line, "type") or ""](self, line, at)
        if not isinstance(told, list):
            return told
        self.rules = self._rules
        session, model, resumed = get_text(line, "sessionID"), self._model, self._resumed or None
        started = make(Started, timestamp=at, toolchain=self.name, session_id=session, model=model, resumed=resumed)
        return [started, *told]

    def _step_start(self, line: JsonObject, at: datetime) -> list[BaseEvent]:
        return self._outcome.step_started(get_object(line, "part"), at)

    def _step_finish(self, line: JsonObject, at: datetime) -> list[BaseEvent]:
        return self._outcome.step_finished(get_object(line, "part"), at)

    def _text(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        part = get_object(line, "part")
        content = get_text(part, "text")
        if content is None:
            return None
        if part.get("synthetic") is True:
            return []  # a nudge of opencode's own: to go on after it made the conversation shorter
        part_id, message_id = get_text(part, "id"), get_text(part, "messageID")
        if part_id is not None:
            mark = hash((part_id, content))
            if mark in self._told:
                return []  # told again: something else about the part has changed
            self._told.add(mark)
        number = self._texts.get(message_id, 0)
        self._texts[message_id] = number + 1
        block = None if message_id is None else number
        if line.get("type") == "text":
            return [make(ResponseComplete, timestamp=at, content=content, message_id=message_id, block=block)]
        return [make(Thinking, timestamp=at, content=content, message_id=message_id, block=block)]

    def _tool_use(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        """A call and its result at once: opencode tells of a tool only when it is done."""
        part = get_object(line, "part")
        tool, call_id, state = get_text(part, "tool"), self._call_id(part), get_object(part, "state")
        if tool is None or call_id is None:
            return None
        if call_id in self._closed:
            return []  # told again: something else about the part has changed
        call = self._calls.pop(call_id, None)
        events: list[BaseEvent] = []
        if call is None:
            call = OpenCall(call_id, tool, at)
            events = call_events(call, state, get_text(part, "messageID"))
        if get_text(state, "status") in FINISHED:
            self._closed.add(call_id)
            return events + result_events(call, state, at)
        self._calls[call_id] = call
        return events

    def _call_id(self, part: JsonObject) -> str | None:
        """The call's id; that of its part if another call has had the same, as some models' APIs count anew."""
        part_id, call_id = get_text(part, "id"), get_text(part, "callID")
        if part_id is None or call_id is None:
            return call_id or part_id
        owner = self._call_ids.setdefault(call_id, part_id)
        return call_id if owner == part_id else part_id

    def _error(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        """opencode tries again on its own, in silence: what it tells has failed for good."""
        said = get_object(line, "error")
        name = get_text(said, "name")
        words = (get_text(get_object(said, "data"), "message"), get_text(said, "message"), name)
        message = next((text for text in words if text), get_text(line, "error"))
        if not message:
            return None
        self._outcome.failed()
        return [make(ErrorEvent, timestamp=at, error=message, retryable=False, kind=name)]

    _rules: ClassVar[Mapping[str, Rule]] = {
        "step_start": _step_start,
        "step_finish": _step_finish,
        "text": _text,
        "reasoning": _text,
        "tool_use": _tool_use,
        "error": _error,
    }
    _first_rules: ClassVar[Mapping[str, Rule]] = dict.fromkeys(_rules, _first)


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
