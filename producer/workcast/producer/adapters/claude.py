"""Claude Code: ``claude -p --output-format stream-json --verbose --include-partial-messages``.

Every field is optional and every line kind may be new: what no rule knows becomes ``unknown``, and nothing raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Final, NamedTuple

from workcast.broker.event import (
    BaseEvent,
    ErrorEvent,
    PromptSent,
    ResponseChunk,
    ResponseComplete,
    Started,
    Thinking,
)
from workcast.producer.adapters.base import Command, Exit, OpenCall, close_calls, fits_argument, optional, unknown_line
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
    parse_object,
)

STATES: Final = frozenset({
    "status", "thinking_tokens", "background_tasks_changed", "informational", "permission_denied",
})  # fmt: skip
STATE_PREFIXES: Final = ("task_", "hook_")
"""``system`` lines that tell a passing state: no event. A denied permission is told by the call's result as well."""

QUIET_STREAM_EVENTS: Final = frozenset({"content_block_start", "content_block_stop", "message_stop", "ping"})
BLOCKS: Final = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})
QUIET_DELTAS: Final = frozenset({"input_json_delta", "signature_delta"})
RESUMING: Final = frozenset({"-c", "--continue", "-r", "--resume", "--from-pr"})
"""The options that go on with a session."""


class _Line(NamedTuple):
    """A line that was parsed, and what is said on every one."""

    raw: bytes
    json: JsonObject
    at: datetime
    parent: str | None


class ClaudeAdapter:
    """Reads one run of Claude Code."""

    name: ClassVar[str] = "claude"
    install_hint: ClassVar[str] = "npm install -g @anthropic-ai/claude-code"
    takes_prompt: ClassVar[bool] = True

    def __init__(self, command: Command | None = None, /) -> None:
        self._resumed = _is_resumed(command)
        self._started = False
        self._ended = False
        self._calls: dict[str, OpenCall] = {}
        self._called: set[str] = set()
        self._streamed: dict[str | None, Message] = {}
        self._plain: dict[str | None, Message] = {}
        self._outcome = Outcome(resumed=self._resumed)
        self._readers: Mapping[str, Callable[[_Line], list[BaseEvent] | None]] = {
            "system": self._system,
            "stream_event": self._stream_event,
            "assistant": self._assistant,
            "user": self._user,
            "result": self._result,
            "rate_limit_event": _nothing,
        }

    @classmethod
    def command(cls, prompt: str, options: Sequence[str] = (), model: str | None = None) -> Command:
        """The prompt follows ``--``: it may begin with a dash, and options may take any number of words."""
        argv = ("claude", "-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages")
        argv += (*(("--model", model) if model else ()), *options)
        return Command((*argv, "--", prompt)) if fits_argument(prompt) else Command(argv, prompt_on_stdin=True)

    def begin(self, prompt: str, at: datetime) -> list[BaseEvent]:
        """The prompt."""
        return [PromptSent(timestamp=at, prompt=prompt)]

    def feed(self, line: bytes, at: datetime) -> list[BaseEvent]:
        """Read one line."""
        if not line or line.isspace():
            return []
        parsed = parse_object(line)
        read = None if parsed is None else self._readers.get(get_text(parsed, "type") or "")
        if parsed is None or read is None:
            return [unknown_line(self.name, line, at)]
        events = read(_Line(line, parsed, at, get_text(parsed, "parent_tool_use_id")))
        return [unknown_line(self.name, line, at)] if events is None else events

    def end(self, exit: Exit, at: datetime) -> list[BaseEvent]:  # noqa: A002
        """Close what is open and tell what the run came to."""
        if self._ended:
            return []
        self._ended = True
        usage = [event for parent in self._streamed for event in self._last_usage(parent, at)]
        closed = close_calls(self._calls.values(), at)
        self._calls.clear()
        return [*usage, *closed, self._outcome.completed(exit, at)]

    def _system(self, line: _Line) -> list[BaseEvent] | None:
        subtype = get_text(line.json, "subtype") or ""
        if subtype == "init":
            return self._init(line)
        if subtype == "api_retry":
            return [_retry(line)]
        return [] if subtype in STATES or subtype.startswith(STATE_PREFIXES) else None

    def _init(self, line: _Line) -> list[BaseEvent]:
        if self._started:
            return []  # printed again at each turn
        self._started = True
        said = {key: get_text(line.json, key) for key in ("cwd", "session_id", "model")}
        version = get_text(line.json, "claude_code_version")
        return [
            Started(
                timestamp=line.at,
                toolchain=self.name,
                **optional(**said, agent_version=version, resumed=self._resumed or None),
            )
        ]

    def _stream_event(self, line: _Line) -> list[BaseEvent] | None:
        event = get_object(line.json, "event")
        kind = get_text(event, "type")
        message = self._streamed.get(line.parent)
        if message is None:
            message = self._streamed[line.parent] = Message()
        if kind == "content_block_delta":
            return _delta(line, event, message)
        index = get_count(event, "index")
        events: list[BaseEvent] = []
        if kind == "message_start":
            events += message.take_usage(line.parent, line.at)
            self._streamed[line.parent] = Message.begun(get_object(event, "message"))
        elif kind == "message_delta":
            message.count(event)
        elif kind not in QUIET_STREAM_EVENTS:
            return None
        elif kind == "message_stop":
            events += [*message.take_usage(line.parent, line.at), *_abandoned(line, message)]
            message.counted = True  # also one that was abandoned: its count is in no final figure that can be relied on
        elif kind == "content_block_start" and index is not None:
            message.open[index] = get_text(get_object(event, "content_block"), "type") or ""
        elif kind == "content_block_stop" and index is not None:
            message.open.pop(index, None)
        return events

    def _last_usage(self, parent: str | None, at: datetime) -> list[BaseEvent]:
        """What the message took that the end of the agent cut short."""
        message = self._streamed[parent]
        return message.take_usage(parent, at) or message.take_start_usage(parent, at)

    def _assistant(self, line: _Line) -> list[BaseEvent] | None:
        message = get_object(line.json, "message")
        if not isinstance(message.get("content"), list):
            return None
        blocks = [as_object(block) for block in get_list(message, "content")]
        if get_text(message, "model") == "<synthetic>" or line.json.get("is_api_error_message") is True:
            self._outcome.error_said()
            return [_synthetic(line, blocks)]
        told = self._message(line.parent, message)
        events = _gather(line, [self._block(line, block, told) for block in blocks])
        return (
            events
            if told is self._streamed.get(line.parent)
            else [*events, *told.take_start_usage(line.parent, line.at)]
        )

    def _message(self, parent: str | None, said: JsonObject) -> Message:
        message_id = get_text(said, "id")
        streamed = self._streamed.get(parent)
        if streamed is not None and streamed.id == message_id:
            return streamed
        plain = self._plain.get(parent)
        if plain is None or plain.id != message_id:
            plain = self._plain[parent] = Message.begun(said)
        return plain

    def _block(self, line: _Line, block: JsonObject, message: Message) -> list[BaseEvent] | None:
        kind = get_text(block, "type")
        if kind not in BLOCKS:
            return None
        index = message.claim(kind)
        if kind == "tool_use":
            return self._tool_use(line, block, message.id)
        if kind == "redacted_thinking":
            return []
        content = get_text(block, kind)
        if content is None:
            return None
        where = optional(message_id=message.id, block=index, parent_call_id=line.parent)
        if kind == "text":
            return [ResponseComplete(timestamp=line.at, content=content, **where)]
        return [Thinking(timestamp=line.at, content=content, **where)]

    def _tool_use(self, line: _Line, block: JsonObject, message_id: str | None) -> list[BaseEvent] | None:
        call_id, tool = get_text(block, "id"), get_text(block, "name")
        if call_id is None or tool is None:
            return None
        if call_id in self._called:
            return []  # told again: still the same call
        self._called.add(call_id)
        arguments = block.get("input")
        call = OpenCall(call_id, tool, line.at, line.parent, path_of(arguments))
        self._calls[call_id] = call
        return call_events(call, arguments, message_id)

    def _user(self, line: _Line) -> list[BaseEvent] | None:
        message = get_object(line.json, "message")
        if get_text(message, "content") is not None:
            return []  # the prompt, echoed
        if not isinstance(message.get("content"), list):
            return None
        blocks = [as_object(block) for block in get_list(message, "content")]
        # One result a line is the rule; with more of them nobody says whose the structured form is.
        structured = get_object(line.json, "tool_use_result") if len(blocks) == 1 else EMPTY
        return _gather(line, (self._tool_result(line, block, structured) for block in blocks))

    def _tool_result(self, line: _Line, block: JsonObject, structured: JsonObject) -> list[BaseEvent] | None:
        kind, call_id = get_text(block, "type"), get_text(block, "tool_use_id")
        if kind == "text":
            return []  # nudges of the harness, a sub-agent's prompt, "[Request interrupted by user]"
        if kind != "tool_result" or call_id is None:
            return None
        call = self._calls.pop(call_id, None)
        return None if call is None else result_events(block, structured, call, line.at)

    def _result(self, line: _Line) -> list[BaseEvent]:
        return self._outcome.take(line.json, line.at)


def _is_resumed(command: Command | None) -> bool:
    """Whether the command line goes on with a session that had runs before."""
    if command is None:
        return False
    argv = command.argv
    options = argv[: argv.index("--")] if "--" in argv else argv
    return any(word.partition("=")[0] in RESUMING for word in options)


def _nothing(_: _Line) -> list[BaseEvent]:
    return []


def _gather(line: _Line, parts: Iterable[list[BaseEvent] | None]) -> list[BaseEvent]:
    """The events of a line's blocks; the line itself, once, if one of them is of a kind that no rule knows."""
    told = list(parts)
    events = [event for part in told if part is not None for event in part]
    return [*events, unknown_line(ClaudeAdapter.name, line.raw, line.at)] if None in told else events


def _message_id(line: _Line, message: Message) -> str | None:
    return get_text(line.json, "api_message_id") or message.id


def _delta(line: _Line, event: JsonObject, message: Message) -> list[BaseEvent] | None:
    delta = get_object(event, "delta")
    kind = get_text(delta, "type")
    if kind in QUIET_DELTAS:
        return []
    message_id, index = get_text(line.json, "api_message_id") or message.id, get_count(event, "index")
    where = optional(message_id=message_id, block=index)
    if line.parent is not None:
        where["parent_call_id"] = line.parent
    if kind == "text_delta" and (piece := get_text(delta, "text")) is not None:
        return [ResponseChunk(timestamp=line.at, content=piece, **where)]
    if kind == "thinking_delta" and (piece := get_text(delta, "thinking")) is not None:
        return [Thinking(timestamp=line.at, content=piece, partial=True, **where)]
    return None


def _abandoned(line: _Line, message: Message) -> list[BaseEvent]:
    """The stream broke: what was shown of this message is void, and a message with another id takes its place."""
    said = get_object(line.json, "abandoned_blocks")
    if not said:
        return []
    where = optional(
        message_id=get_text(said, "api_message_id") or _message_id(line, message),
        from_block=get_count(said, "from_block_index"),
        parent_call_id=line.parent,
    )
    text = "the model's stream broke off: what came of this message is void"
    return [ErrorEvent(timestamp=line.at, error=text, kind="stream_abandoned", retryable=True, **where)]


def _retry(line: _Line) -> ErrorEvent:
    """A request failed and is sent again: not the end."""
    kind = get_text(line.json, "error")
    status, attempt, limit, delay = (
        get_count(line.json, key) for key in ("error_status", "attempt", "max_retries", "retry_delay_ms")
    )
    text = f"the model's API failed: {kind or 'unknown'}" + ("" if status is None else f" (HTTP {status})")
    if attempt is not None:
        text += f"; retry {attempt}" + ("" if limit is None else f" of {limit}")
    if delay is not None:
        text += f" in {delay} ms"
    return ErrorEvent(timestamp=line.at, error=text, retryable=True, **optional(kind=kind))


def _synthetic(line: _Line, blocks: Sequence[JsonObject]) -> ErrorEvent:
    """Words that Claude Code puts into the model's mouth to tell that the request failed for good."""
    text = "\n".join(text for block in blocks if (text := get_text(block, "text")))
    kind = get_text(line.json, "error")
    return ErrorEvent(
        timestamp=line.at,
        error=text or "the model's API failed without a message",
        retryable=False,
        **optional(kind=kind, parent_call_id=line.parent),
    )
