"""opencode: ``opencode run --format json``.

Every field is optional and every kind of line may be new: a line without a rule becomes ``unknown``; nothing raises.
A line is a part of a message, printed when the part is finished, sometimes after the line that ends its step.
opencode prints neither the prompt nor the model, and nothing while a command runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Final

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, ErrorEvent, ResponseComplete, Started, Thinking
from workcast.producer.adapters.base import Command
from workcast.producer.adapters.json_lines import JsonLines, Rule, RuleResult
from workcast.producer.adapters.opencode_outcome import OpencodeOutcome
from workcast.producer.adapters.opencode_tools import FINISHED, call_events, result_events
from workcast.producer.adapters.own_options import OwnOption, model_option, without_own
from workcast.producer.calls import OpenCall
from workcast.producer.fields import JsonObject, get_object, get_text
from workcast.producer.recent import RecentMap, RecentSet

RESUMING: Final = frozenset({"-c", "--continue", "-s", "--session"})
"""The options that continue a session."""


OWN: Final = (OwnOption(("--format",), "json"), OwnOption(("--thinking",)))


class OpencodeAdapter(JsonLines):
    """Reads one run of opencode."""

    name: ClassVar[str] = "opencode"
    install_hint: ClassVar[str] = "npm install -g opencode-ai"
    takes_prompt: ClassVar[bool] = True

    def __init__(self, command: Command | None = None, /) -> None:
        self._outcome = OpencodeOutcome()
        super().__init__(self._outcome)
        self.rules = self._first_rules
        words = () if command is None else command.argv
        self._model = _model_in(words) if words else None
        self._resumed = not RESUMING.isdisjoint(word.partition("=")[0] for word in words)
        self._texts: RecentMap[str | None, int] = RecentMap()
        """How many texts each message has. The blocks of a message that is forgotten count from 0 again."""
        self._emitted: RecentSet[int] = RecentSet()
        self._call_ids: RecentMap[str, str] = RecentMap()
        """The part that has a call id. Once forgotten, another part may have the same call id."""

    @classmethod
    def command(cls, prompt: str, options: Sequence[str] = (), model: str | None = None) -> Command:
        """Build the command; the prompt goes through stdin, as opencode puts quotes around an argument with spaces."""
        _ = prompt
        argv = ("opencode", "run", "--format", "json", "--thinking")
        given = without_own(cls.name, (*OWN, *model_option(model)), options)
        argv += (*(() if "--auto" in options else ("--auto",)), *(("-m", model) if model else ()), *given)
        return Command(argv, prompt_on_stdin=True)

    def _first(self, line: JsonObject, at: datetime) -> RuleResult:
        """Read the first line with a rule: mostly a step, or an error if the first request was refused."""
        events = self._rules[get_text(line, "type") or ""](self, line, at)
        if not isinstance(events, list):
            return events
        self.rules = self._rules
        session, model, resumed = get_text(line, "sessionID"), self._model, self._resumed or None
        started = make(Started, timestamp=at, toolchain=self.name, session_id=session, model=model, resumed=resumed)
        return [started, *events]

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
            return []  # opencode's own words to the model, after it shortened the conversation
        part_id, message_id = get_text(part, "id"), get_text(part, "messageID")
        if part_id is not None:
            emitted = hash((part_id, content))
            if emitted in self._emitted:
                return []  # printed again, because something else about the part has changed
            self._emitted.add(emitted)
        number = self._texts.get(message_id) or 0
        self._texts[message_id] = number + 1
        block = None if message_id is None else number
        if line.get("type") == "text":
            return [make(ResponseComplete, timestamp=at, content=content, message_id=message_id, block=block)]
        return [make(Thinking, timestamp=at, content=content, message_id=message_id, block=block)]

    def _tool_use(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        """Return a call and its result together: opencode prints a tool only when it has returned."""
        part = get_object(line, "part")
        tool, call_id, state = get_text(part, "tool"), self._call_id(part), get_object(part, "state")
        if tool is None or call_id is None:
            return None
        if self.calls.was_closed(call_id):
            return []  # printed again, because something else about the part has changed
        finished = get_text(state, "status") in FINISHED
        if call_id in self.calls:
            opened = self.calls.take(call_id) if finished else None
            return [] if opened is None else result_events(opened, state, at)
        call = OpenCall(call_id, tool, at)
        events = call_events(call, state, get_text(part, "messageID"))
        if not finished:
            return self.open_call(call_id, call) + events
        self.calls.take(call_id)
        return events + result_events(call, state, at)

    def _call_id(self, part: JsonObject) -> str | None:
        """Return the call's id, or its part's id if another call has the same: some models' APIs restart their ids."""
        part_id, call_id = get_text(part, "id"), get_text(part, "callID")
        if part_id is None or call_id is None:
            return call_id or part_id
        owner = self._call_ids.get(call_id)
        if owner is None:
            owner = self._call_ids[call_id] = part_id
        return call_id if owner == part_id else part_id

    def _error(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        """Return an error, which is final: opencode retries without printing anything."""
        error = get_object(line, "error")
        name = get_text(error, "name")
        words = (get_text(get_object(error, "data"), "message"), get_text(error, "message"), name)
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
    """Return the model that the command line names last, or None."""
    found: str | None = None
    for word, after in zip(words, (*words, "")[1:], strict=True):
        name, _, value = word.partition("=")
        if word in {"-m", "--model"}:
            found = after or found
        elif name in {"-m", "--model"}:
            found = value or found
    return found
