"""Claude Code: ``claude -p --output-format stream-json --verbose --include-partial-messages``.

Every field is optional and every line kind may be new: what no rule knows becomes ``unknown``, and nothing raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Final

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, ErrorEvent, PromptSent, ResponseComplete, Started, Thinking
from workcast.producer.adapters.base import Command, Exit, OpenCall, close_calls, fits_argument, optional
from workcast.producer.adapters.claude_message import Message
from workcast.producer.adapters.claude_outcome import Outcome
from workcast.producer.adapters.claude_stream import (
    STREAM_LINE,
    StreamLine,
    abandoned_events,
    as_stream_line,
    decode_stream_line,
    delta_events,
    within,
)
from workcast.producer.adapters.claude_tools import call_events, path_of, result_events
from workcast.producer.adapters.fields import (
    EMPTY,
    JsonObject,
    as_object,
    get_count,
    get_list,
    get_object,
    get_text,
)
from workcast.producer.adapters.json_lines import Common, JsonLines, Rule, Told
from workcast.producer.adapters.marks import Marks
from workcast.producer.adapters.own_options import OwnOption, model_option, without_own

STATES: Final = frozenset({
    "status", "thinking_tokens", "background_tasks_changed", "informational", "permission_denied",
})  # fmt: skip
STATE_PREFIXES: Final = ("task_", "hook_")
"""``system`` lines that tell a passing state: no event. A denied permission is told by the call's result as well."""

BLOCKS: Final = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})
PARENT: Final = "parent_tool_use_id"
"""Where a line says the call of the sub-agent that it is about."""
RESUMING: Final = frozenset({"-c", "--continue", "-r", "--resume", "--from-pr"})
"""The options that go on with a session."""


OWN: Final = (
    OwnOption(("-p", "--print")),
    OwnOption(("--output-format",), "stream-json"),
    OwnOption(("--verbose",)),
    OwnOption(("--include-partial-messages",)),
)


class ClaudeAdapter(JsonLines):
    """Reads one run of Claude Code."""

    name: ClassVar[str] = "claude"
    install_hint: ClassVar[str] = "npm install -g @anthropic-ai/claude-code"
    takes_prompt: ClassVar[bool] = True

    def __init__(self, command: Command | None = None, /) -> None:
        super().__init__()
        self._resumed = _is_resumed(command)
        self._started = False
        self._calls: dict[str, OpenCall] = {}
        self._called = Marks()
        self._streamed: dict[str | None, Message] = {}
        self._plain: dict[str | None, Message] = {}
        self._outcome = Outcome(resumed=self._resumed)

    @classmethod
    def command(cls, prompt: str, options: Sequence[str] = (), model: str | None = None) -> Command:
        """The prompt follows ``--``: it may begin with a dash, and options may take any number of words."""
        argv = ("claude", "-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages")
        given = without_own(cls.name, (*OWN, *model_option(model)), options)
        argv += (*(("--model", model) if model else ()), *given)
        return Command((*argv, "--", prompt)) if fits_argument(prompt) else Command(argv, prompt_on_stdin=True)

    def begin(self, prompt: str, at: datetime) -> list[BaseEvent]:
        """The prompt."""
        return [PromptSent(timestamp=at, prompt=prompt)]

    def ending(self, exit: Exit, at: datetime) -> list[BaseEvent]:  # noqa: A002
        """Close what is open and tell what the run came to."""
        usage = [event for parent in self._streamed for event in self._last_usage(parent, at)]
        closed = close_calls(self._calls.values(), at)
        self._calls.clear()
        return [*usage, *closed, self._outcome.completed(exit, at)]

    def _system(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        subtype = get_text(line, "subtype") or ""
        if subtype == "init":
            return self._init(line, at)
        if subtype == "api_retry":
            return [_retry(line, at)]
        return [] if subtype in STATES or subtype.startswith(STATE_PREFIXES) else None

    def _init(self, line: JsonObject, at: datetime) -> list[BaseEvent]:
        if self._started:
            return []  # printed again at each turn
        self._started = True
        return [
            make(
                Started,
                timestamp=at,
                toolchain=self.name,
                cwd=get_text(line, "cwd"),
                session_id=get_text(line, "session_id"),
                model=get_text(line, "model"),
                agent_version=get_text(line, "claude_code_version"),
                resumed=self._resumed or None,
            )
        ]

    def _odd_stream_event(self, line: JsonObject, at: datetime) -> Told:
        return self._stream_event(as_stream_line(line), at)

    def _stream_event(self, line: StreamLine, at: datetime) -> Told:
        event, parent = line.event, line.parent_tool_use_id
        if event is None:
            return None
        message = self._streamed.get(parent)
        if message is None:
            message = self._streamed[parent] = Message()
        match event.type:
            case "content_block_delta":
                return delta_events(line, event, message, at)
            case "message_start":
                self._streamed[parent] = Message.begun(event.message or EMPTY)
                return message.take_usage(parent, at)
            case "message_stop":
                events = message.take_usage(parent, at) + abandoned_events(line, message, at)
                # Also one that was abandoned: its count is in no final figure that can be relied on.
                message.counted = True
                return events
            case "message_delta":
                message.count(event.usage or EMPTY)
            case "content_block_start":
                message.block_started(event.index, event.content_block.type if event.content_block else None)
            case "content_block_stop":
                message.block_stopped(event.index)
            case "ping":
                pass
            case _:
                return None
        return []

    def _last_usage(self, parent: str | None, at: datetime) -> list[BaseEvent]:
        """What the message took that the end of the agent cut short."""
        message = self._streamed[parent]
        return message.take_usage(parent, at) or message.take_start_usage(parent, at)

    def _assistant(self, line: JsonObject, at: datetime) -> Told:
        message = get_object(line, "message")
        if not isinstance(message.get("content"), list):
            return None
        blocks = [as_object(block) for block in get_list(message, "content")]
        if get_text(message, "model") == "<synthetic>" or line.get("is_api_error_message") is True:
            self._outcome.error_said()
            return [_synthetic(line, blocks, at)]
        parent = get_text(line, PARENT)
        told = self._message(parent, message)
        parts = [self._block(block, told, parent, at) for block in blocks]
        if told is not self._streamed.get(parent):
            parts.append(told.take_start_usage(parent, at))
        return _gather(parts)

    def _message(self, parent: str | None, said: JsonObject) -> Message:
        message_id = get_text(said, "id")
        streamed = self._streamed.get(parent)
        if streamed is not None and streamed.id == message_id:
            return streamed
        plain = self._plain.get(parent)
        if plain is None or plain.id != message_id:
            plain = self._plain[parent] = Message.begun(said)
        return plain

    def _block(self, block: JsonObject, message: Message, parent: str | None, at: datetime) -> list[BaseEvent] | None:
        kind = get_text(block, "type")
        if kind not in BLOCKS:
            return None
        index = message.claim(kind)
        if kind == "tool_use":
            return self._tool_use(block, message.id, parent, at)
        if kind == "redacted_thinking":
            return []
        content = get_text(block, kind)
        if content is None:
            return None
        if kind == "text":
            text = make(
                ResponseComplete,
                timestamp=at,
                content=content,
                message_id=message.id,
                block=index,
                parent_call_id=parent,
            )
            return [text]
        return [make(Thinking, timestamp=at, content=content, message_id=message.id, block=index, **within(parent))]

    def _tool_use(
        self, block: JsonObject, message_id: str | None, parent: str | None, at: datetime
    ) -> list[BaseEvent] | None:
        call_id, tool = get_text(block, "id"), get_text(block, "name")
        if call_id is None or tool is None:
            return None
        if call_id in self._called:
            return []  # told again: still the same call
        self._called.add(call_id)
        arguments = block.get("input")
        call = OpenCall(call_id, tool, at, parent, path_of(arguments))
        self._calls[call_id] = call
        return call_events(call, arguments, message_id)

    def _user(self, line: JsonObject, at: datetime) -> Told:
        message = get_object(line, "message")
        if get_text(message, "content") is not None:
            return []  # the prompt, echoed
        if not isinstance(message.get("content"), list):
            return None
        blocks = [as_object(block) for block in get_list(message, "content")]
        # One result a line is the rule; with more of them nobody says whose the structured form is.
        structured = get_object(line, "tool_use_result") if len(blocks) == 1 else EMPTY
        return _gather([self._tool_result(block, structured, at) for block in blocks])

    def _tool_result(self, block: JsonObject, structured: JsonObject, at: datetime) -> list[BaseEvent] | None:
        kind, call_id = get_text(block, "type"), get_text(block, "tool_use_id")
        if kind == "text":
            return []  # nudges of the harness, a sub-agent's prompt, "[Request interrupted by user]"
        if kind != "tool_result" or call_id is None:
            return None
        call = self._calls.pop(call_id, None)
        return None if call is None else result_events(block, structured, call, at)

    def _result(self, line: JsonObject, at: datetime) -> list[BaseEvent]:
        return self._outcome.take(line, at)

    def _nothing(self, _line: JsonObject, _at: datetime) -> list[BaseEvent]:
        return []

    common = Common(STREAM_LINE, decode_stream_line, _stream_event)
    rules: Mapping[str, Rule] = {
        "system": _system,
        "stream_event": _odd_stream_event,
        "assistant": _assistant,
        "user": _user,
        "result": _result,
        "rate_limit_event": _nothing,
    }


def _is_resumed(command: Command | None) -> bool:
    """Whether the command line goes on with a session that had runs before."""
    if command is None:
        return False
    argv = command.argv
    options = argv[: argv.index("--")] if "--" in argv else argv
    return any(word.partition("=")[0] in RESUMING for word in options)


def _gather(parts: Sequence[list[BaseEvent] | None]) -> Told:
    """The events of a line's blocks, some of which may be of a kind that no rule knows."""
    if len(parts) == 1:
        return parts[0]
    events = [event for part in parts if part is not None for event in part]
    return tuple(events) if None in parts else events


def _retry(line: JsonObject, at: datetime) -> ErrorEvent:
    """A request failed and is sent again: not the end."""
    kind = get_text(line, "error")
    status, attempt, limit, delay = (
        get_count(line, key) for key in ("error_status", "attempt", "max_retries", "retry_delay_ms")
    )
    text = f"the model's API failed: {kind or 'unknown'}" + ("" if status is None else f" (HTTP {status})")
    if attempt is not None:
        text += f"; retry {attempt}" + ("" if limit is None else f" of {limit}")
    if delay is not None:
        text += f" in {delay} ms"
    return ErrorEvent(timestamp=at, error=text, retryable=True, **optional(kind=kind))


def _synthetic(line: JsonObject, blocks: Sequence[JsonObject], at: datetime) -> ErrorEvent:
    """Words that Claude Code puts into the model's mouth to tell that the request failed for good."""
    text = "\n".join(text for block in blocks if (text := get_text(block, "text")))
    kind = get_text(line, "error")
    return ErrorEvent(
        timestamp=at,
        error=text or "the model's API failed without a message",
        retryable=False,
        **optional(kind=kind, parent_call_id=get_text(line, PARENT)),
    )
