"""Gemini CLI: ``gemini -o stream-json``.

Every field is optional and every kind of line may be new: a line without a rule becomes ``unknown``; nothing raises.
Gemini prints texts in pieces and never whole: a text is complete once something else is printed.
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
from workcast.producer.adapters.base import Command, close_calls, fits_argument
from workcast.producer.adapters.gemini_outcome import GeminiOutcome
from workcast.producer.adapters.gemini_tools import Calls, call_events, result_events
from workcast.producer.adapters.json_lines import Common, JsonLines, Rule, RuleResult
from workcast.producer.adapters.own_options import OwnOption, model_option, without_own
from workcast.producer.fields import JsonObject, get_text

APPROVAL_OPTIONS: Final = frozenset({"--approval-mode", "--yolo", "-y"})
"""Gemini refuses more than one of them."""
RESUMING: Final = frozenset({"--resume", "-r", "--session-file"})
"""The options that continue a session."""
MAX_TEXT_CHARS: Final = 16 * 1024 * 1024
"""A longer text is emitted in parts, each as a text of its own, so that the held pieces stay bounded."""


class _Message(Struct, gc=False):
    """The fields of a line of text that are used; most lines are of this kind."""

    type: Literal["message"]
    role: str | None = None
    content: str | None = None
    delta: Any = None
    """True: the content is a piece of a text."""


@dataclass(slots=True)
class _Text:
    """A text that is being printed."""

    message_id: str
    chars: int = 0
    pieces: list[str] = field(default_factory=list[str])


_chunk: Final = builder_of(ResponseChunk)

OWN: Final = (OwnOption(("-o", "--output-format"), "stream-json"), OwnOption(("--skip-trust",)))


class GeminiAdapter(JsonLines):
    """Reads one run of Gemini CLI."""

    name: ClassVar[str] = "gemini"
    install_hint: ClassVar[str] = "npm install -g @google/gemini-cli"
    takes_prompt: ClassVar[bool] = True

    def __init__(self, command: Command | None = None, /) -> None:
        self._outcome = GeminiOutcome()
        super().__init__(self._outcome)
        self._resumed = command is not None and _has(command.argv, RESUMING)
        self._started = False
        self._echo_due = False
        self._text: _Text | None = None
        self._texts = 0
        self._open = Calls()

    @classmethod
    def command(cls, prompt: str, options: Sequence[str] = (), model: str | None = None) -> Command:
        """Build the command; the prompt is one word with its option, as it may begin with a dash.

        Without a terminal, Gemini has no tools that write or run commands unless all are approved. It waits half a
        second for a prompt on stdin, which a busy machine can miss, so only a prompt that fits no argument goes there.
        """
        approval = () if _has(options, APPROVAL_OPTIONS) else ("--approval-mode", "yolo")
        argv = ("gemini", "-o", "stream-json", *approval, "--skip-trust")
        argv += (*(("-m", model) if model else ()), *without_own(cls.name, (*OWN, *model_option(model)), options))
        return Command((*argv, f"--prompt={prompt}")) if fits_argument(prompt) else Command(argv, prompt_on_stdin=True)

    def begin(self, prompt: str, at: datetime) -> list[BaseEvent]:
        """Return the prompt, which Gemini will echo."""
        self._echo_due = True
        return [PromptSent(timestamp=at, prompt=prompt)]

    def pending(self, at: datetime) -> list[BaseEvent]:
        """Return the text that was being printed, and the results of open calls."""
        return [*self._whole_text(at), *close_calls(self._open.take_all(), at)]

    def _init(self, line: JsonObject, at: datetime) -> list[BaseEvent]:
        if self._started:
            return []
        self._started = True
        session, model = get_text(line, "session_id"), get_text(line, "model")
        resumed = self._resumed or None
        return [make(Started, timestamp=at, toolchain=self.name, session_id=session, model=model, resumed=resumed)]

    def _odd_message(self, line: JsonObject, at: datetime) -> RuleResult:
        message = _Message("message", get_text(line, "role"), get_text(line, "content"), line.get("delta"))
        return self._message(message, at)

    def _message(self, line: _Message, at: datetime) -> RuleResult:
        content = line.content
        if content is None:
            return None
        match line.role:
            case "assistant":
                self._outcome.continued()
                return self._piece(content, at) if line.delta is True else self._whole(content, at)
            case "user":
                return self._after_text(self._prompt(content, at), at)
            case _:
                return None

    def _whole(self, content: str, at: datetime) -> list[BaseEvent]:
        """Return a text that was printed at once."""
        before = self._whole_text(at)
        return [*before, make(ResponseComplete, timestamp=at, content=content, message_id=self._next_text(), block=0)]

    def _piece(self, content: str, at: datetime) -> list[BaseEvent]:
        text = self._text
        if text is None:
            text = self._text = _Text(self._next_text())
        text.pieces.append(content)
        text.chars += len(content)
        chunk = _chunk({"timestamp": at, "content": content, "message_id": text.message_id, "block": 0})
        return [chunk] if text.chars < MAX_TEXT_CHARS else [chunk, *self._whole_text(at)]

    def _prompt(self, content: str, at: datetime) -> list[BaseEvent]:
        """Return a prompt; the first one only echoes ours, perhaps with context that a hook put before it."""
        if self._echo_due:
            self._echo_due = False
            return []
        return [PromptSent(timestamp=at, prompt=content)]

    def _tool_use(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        tool_id, tool = get_text(line, "tool_id"), get_text(line, "tool_name")
        if tool_id is None or tool is None:
            return None
        self._outcome.continued()
        arguments = line.get("parameters")
        call, displaced = self._open.open(tool_id, tool, arguments, at)
        events = [] if call is None else call_events(call, arguments)
        return self._after_text([*close_calls(displaced, at), *events], at)

    def _tool_result(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        called = self._open.close(get_text(line, "tool_id"))
        if called is None:
            return None
        self._outcome.continued()
        return self._after_text(result_events(called, line, at), at)

    def _error(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        """Return an error; a warning, of a loop for example, is not a failure."""
        message = get_text(line, "message")
        if message is None:
            return None
        if get_text(line, "severity") == "warning":
            return [*self._whole_text(at), ErrorEvent(timestamp=at, error=message, kind="warning")]
        self._outcome.failed()
        return [*self._whole_text(at), ErrorEvent(timestamp=at, error=message, retryable=False)]

    def _result(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        events = self._outcome.result(line, at)
        return None if events is None else self._after_text(events, at)

    def _after_text(self, events: list[BaseEvent], at: datetime) -> list[BaseEvent]:
        """Return the events, after the text that they complete."""
        return events if self._text is None else [*self._whole_text(at), *events]

    def _whole_text(self, at: datetime) -> list[BaseEvent]:
        text, self._text = self._text, None
        if text is None:
            return []
        whole = "".join(text.pieces)
        return [make(ResponseComplete, timestamp=at, content=whole, message_id=text.message_id, block=0)]

    def _next_text(self) -> str:
        """Make an id for a text, as Gemini has none."""
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
