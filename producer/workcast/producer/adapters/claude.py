"""Claude Code: ``claude -p --output-format stream-json --verbose --include-partial-messages``.

Every field is optional and every line kind may be new: what no rule knows becomes ``unknown``, and nothing raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

from workcast.broker.event import (
    BaseEvent,
    ErrorEvent,
    PromptSent,
    ResponseChunk,
    ResponseComplete,
    Started,
    Thinking,
    make,
    validator,
)
from workcast.producer.adapters.base import Command, Exit, OpenCall, close_calls, fits_argument, optional
from workcast.producer.adapters.claude_message import Message
from workcast.producer.adapters.claude_outcome import Outcome
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
from workcast.producer.adapters.json_lines import JsonLines, Rule, Told
from workcast.producer.adapters.marks import Marks
from workcast.producer.adapters.own_options import OwnOption, model_option, without_own

STATES: Final = frozenset({
    "status", "thinking_tokens", "background_tasks_changed", "informational", "permission_denied",
})  # fmt: skip
STATE_PREFIXES: Final = ("task_", "hook_")
"""``system`` lines that tell a passing state: no event. A denied permission is told by the call's result as well."""

BLOCKS: Final = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})
QUIET_DELTAS: Final = ("input_json_delta", "signature_delta")
DELTAS: Final = ("text_delta", "thinking_delta")
PARENT: Final = "parent_tool_use_id"
"""Where a line says the call of the sub-agent that it is about."""
RESUMING: Final = frozenset({"-c", "--continue", "-r", "--resume", "--from-pr"})
"""The options that go on with a session."""


_chunk: Final = validator(ResponseChunk)

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

    def _stream_event(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        event, parent = get_object(line, "event"), line.get(PARENT)
        kind = event.get("type")
        if not isinstance(parent, str):
            parent = None
        message = self._streamed.get(parent)
        if message is None:
            message = self._streamed[parent] = Message()
        if kind == "content_block_delta":
            return _delta(line, event, message, parent, at)
        if kind == "message_start":
            self._streamed[parent] = Message.begun(get_object(event, "message"))
            return message.take_usage(parent, at)
        if kind == "message_stop":
            events = message.take_usage(parent, at) + _abandoned(line, message, parent, at)
            message.counted = True  # also one that was abandoned: its count is in no final figure that can be relied on
            return events
        if kind == "message_delta":
            message.count(event)
        elif kind == "content_block_start":
            message.block_started(event)
        elif kind == "content_block_stop":
            message.block_stopped(event)
        elif kind != "ping":
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
        return [make(Thinking, timestamp=at, content=content, message_id=message.id, block=index, **_within(parent))]

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

    rules: Mapping[str, Rule] = {
        "system": _system,
        "stream_event": _stream_event,
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


def _message_id(line: JsonObject, message: Message) -> str | None:
    return get_text(line, "api_message_id") or message.id


def _within(parent: str | None) -> dict[str, Any]:
    """What an event says that a sub-agent's line told."""
    return {} if parent is None else {"parent_call_id": parent}


def _delta(
    line: JsonObject, event: JsonObject, message: Message, parent: str | None, at: datetime
) -> list[BaseEvent] | None:
    """Half of all lines are pieces of a text: these go the shortest way."""
    delta = get_object(event, "delta")
    kind = delta.get("type")
    if kind in QUIET_DELTAS:
        return []
    content = get_text(delta, "text" if kind == "text_delta" else "thinking")
    if content is None or kind not in DELTAS:
        return None
    message_id, block = get_text(line, "api_message_id") or message.id, get_count(event, "index")
    if kind == "text_delta" and parent is None and message_id is not None and block is not None:
        return [_chunk({"timestamp": at, "content": content, "message_id": message_id, "block": block})]
    where = _within(parent)
    if kind == "text_delta":
        return [make(ResponseChunk, timestamp=at, content=content, message_id=message_id, block=block, **where)]
    return [make(Thinking, timestamp=at, content=content, partial=True, message_id=message_id, block=block, **where)]


def _abandoned(line: JsonObject, message: Message, parent: str | None, at: datetime) -> list[BaseEvent]:
    """The stream broke: what was shown of this message is void, and a message with another id takes its place."""
    said = get_object(line, "abandoned_blocks")
    if not said:
        return []
    where = optional(
        message_id=get_text(said, "api_message_id") or _message_id(line, message),
        from_block=get_count(said, "from_block_index"),
        parent_call_id=parent,
    )
    text = "the model's stream broke off: what came of this message is void"
    return [ErrorEvent(timestamp=at, error=text, kind="stream_abandoned", retryable=True, **where)]


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
