"""Gemini CLI: ``gemini -o stream-json``.

Every field is optional and every line kind may be new: what no rule knows becomes ``unknown``, and nothing raises.
Gemini prints texts in pieces and never whole: a text is whole once something else is printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final, Literal

from msgspec import Struct
from msgspec.json import Decoder

from workcast.events.frozen import builder_of, make
from workcast.events.models import BaseEvent, ErrorEvent, PromptSent, ResponseChunk, ResponseComplete, Started
from workcast.producer.adapters.base import (
    Command,
    Exit,
    close_calls,
    fits_argument,
)
from workcast.producer.adapters.fields import JsonObject, get_text
from workcast.producer.adapters.gemini_outcome import Outcome
from workcast.producer.adapters.gemini_tools import Calls, call_events, result_events
from workcast.producer.adapters.json_lines import Common, JsonLines, Rule, Told
from workcast.producer.adapters.own_options import OwnOption, model_option, without_own

APPROVAL_OPTIONS: Final = frozenset({"--approval-mode", "--yolo", "-y"})
"""Gemini refuses to be told twice."""
RESUMING: Final = frozenset({"--resume", "-r", "--session-file"})
"""The options that go on with a session."""


class _Message(Struct, gc=False):
    """A line of text, as far as it is read; most lines are."""

    type: Literal["message"]
    role: str | None = None
    content: str | None = None
    delta: Any = None
    """True: the text is a piece of one."""


@dataclass(slots=True)
class _Text:
    """A text that is on its way."""

    message_id: str
    pieces: list[str] = field(default_factory=list[str])


_chunk: Final = builder_of(ResponseChunk)

OWN: Final = (OwnOption(("-o", "--output-format"), "stream-json"), OwnOption(("--skip-trust",)))


class GeminiAdapter(JsonLines):
    """Reads one run of Gemini CLI."""

    name: ClassVar[str] = "gemini"
    install_hint: ClassVar[str] = "npm install -g @google/gemini-cli"
    takes_prompt: ClassVar[bool] = True

    def __init__(self, command: Command | None = None, /) -> None:
        super().__init__()
        self._resumed = command is not None and _has(command.argv, RESUMING)
        self._started = False
        self._echo_due = False
        self._text: _Text | None = None
        self._texts = 0
        self._calls = Calls()
        self._outcome = Outcome()

    @classmethod
    def command(cls, prompt: str, options: Sequence[str] = (), model: str | None = None) -> Command:
        """The prompt is one word with its option: it may begin with a dash.

        Gemini without a terminal has no tools that write or run commands unless all are approved. It waits half a
        second for a prompt on stdin, which a busy machine can miss, so only what fits no argument goes there.
        """
        approval = () if _has(options, APPROVAL_OPTIONS) else ("--approval-mode", "yolo")
        argv = ("gemini", "-o", "stream-json", *approval, "--skip-trust")
        argv += (*(("-m", model) if model else ()), *without_own(cls.name, (*OWN, *model_option(model)), options))
        return Command((*argv, f"--prompt={prompt}")) if fits_argument(prompt) else Command(argv, prompt_on_stdin=True)

    def begin(self, prompt: str, at: datetime) -> list[BaseEvent]:
        """The prompt; Gemini will echo it."""
        self._echo_due = True
        return [PromptSent(timestamp=at, prompt=prompt)]

    def ending(self, exit: Exit, at: datetime) -> list[BaseEvent]:  # noqa: A002
        """Close what is open and tell what the run came to."""
        return [*self._whole_text(at), *close_calls(self._calls.take_all(), at), self._outcome.completed(exit, at)]

    def _init(self, line: JsonObject, at: datetime) -> list[BaseEvent]:
        if self._started:
            return []
        self._started = True
        session, model = get_text(line, "session_id"), get_text(line, "model")
        resumed = self._resumed or None
        return [make(Started, timestamp=at, toolchain=self.name, session_id=session, model=model, resumed=resumed)]

    def _odd_message(self, line: JsonObject, at: datetime) -> Told:
        said = _Message("message", get_text(line, "role"), get_text(line, "content"), line.get("delta"))
        return self._message(said, at)

    def _message(self, line: _Message, at: datetime) -> Told:
        content = line.content
        if content is None:
            return None
        match line.role:
            case "assistant":
                self._outcome.goes_on()
                return self._piece(content, at) if line.delta is True else self._whole(content, at)
            case "user":
                return self._after_text(self._prompt(content, at), at)
            case _:
                return None

    def _whole(self, content: str, at: datetime) -> list[BaseEvent]:
        """A text that comes at once."""
        before = self._whole_text(at)
        return [*before, make(ResponseComplete, timestamp=at, content=content, message_id=self._next_text(), block=0)]

    def _piece(self, content: str, at: datetime) -> list[BaseEvent]:
        text = self._text
        if text is None:
            text = self._text = _Text(self._next_text())
        text.pieces.append(content)
        return [_chunk({"timestamp": at, "content": content, "message_id": text.message_id, "block": 0})]

    def _prompt(self, content: str, at: datetime) -> list[BaseEvent]:
        """The first one only repeats, perhaps with the context that hooks put before it, what was told already."""
        if self._echo_due:
            self._echo_due = False
            return []
        return [PromptSent(timestamp=at, prompt=content)]

    def _tool_use(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        tool_id, tool = get_text(line, "tool_id"), get_text(line, "tool_name")
        if tool_id is None or tool is None:
            return None
        self._outcome.goes_on()
        arguments = line.get("parameters")
        call = self._calls.open(tool_id, tool, arguments, at)
        told = [] if call is None else call_events(call, arguments)
        return self._after_text(told, at)

    def _tool_result(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        called = self._calls.close(get_text(line, "tool_id"))
        if called is None:
            return None
        self._outcome.goes_on()
        return self._after_text(result_events(called, line, at), at)

    def _error(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        """A warning, of a loop that was found for example, is no failure."""
        message = get_text(line, "message")
        if message is None:
            return None
        if get_text(line, "severity") == "warning":
            return [*self._whole_text(at), ErrorEvent(timestamp=at, error=message, kind="warning")]
        self._outcome.broke()
        return [*self._whole_text(at), ErrorEvent(timestamp=at, error=message, retryable=False)]

    def _result(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        told = self._outcome.take(line, at)
        return None if told is None else self._after_text(told, at)

    def _after_text(self, events: list[BaseEvent], at: datetime) -> list[BaseEvent]:
        """The events, and before them the text that is whole now that something else is printed."""
        return events if self._text is None else [*self._whole_text(at), *events]

    def _whole_text(self, at: datetime) -> list[BaseEvent]:
        text, self._text = self._text, None
        if text is None:
            return []
        whole = "".join(text.pieces)
        return [make(ResponseComplete, timestamp=at, content=whole, message_id=text.message_id, block=0)]

    def _next_text(self) -> str:
        """Gemini has no ids for texts."""
        self._texts += 1
        return f"{self.key}-text-{self._texts}"

    common = Common(b'{"type":"message",', Decoder(_Message).decode, _message)
    rules: Mapping[str, Rule] = {
        "init": _init,
        "message": _odd_message,
        "tool_use": _tool_use,
        "tool_result": _tool_result,
        "error": _error,
        "result": _result,
    }


def _has(words: Sequence[str], options: frozenset[str]) -> bool:
    return any(word.partition("=")[0] in options for word in words)
