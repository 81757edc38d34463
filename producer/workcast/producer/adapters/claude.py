"""Claude Code: ``claude -p --output-format stream-json --verbose --include-partial-messages``.

Every field is optional and every kind of line may be new: a line without a rule becomes ``unknown``; nothing raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Final

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, Started
from workcast.producer.adapters.base import Command, fits_argument, milliseconds_between
from workcast.producer.adapters.claude_message import Message
from workcast.producer.adapters.claude_outcome import ClaudeOutcome
from workcast.producer.adapters.claude_stream import (
    STREAM_LINE,
    StreamLine,
    abandoned_events,
    as_stream_line,
    decode_stream_line,
    delta_events,
)
from workcast.producer.adapters.json_lines import Common, JsonLines, Rule, RuleResult
from workcast.producer.adapters.own_options import OwnOption, model_option, without_own
from workcast.producer.calls import OpenCall
from workcast.producer.claude.messages import SYNTHETIC_MODEL, failure_fields, retry_fields, text_fields
from workcast.producer.claude.tools import call_fields, path_of, result_fields
from workcast.producer.events import events_of
from workcast.producer.fields import EMPTY, JsonObject, as_object, get_count, get_list, get_object, get_text
from workcast.producer.recent import RecentSet

STATES: Final = frozenset({
    "status", "thinking_tokens", "background_tasks_changed", "informational", "permission_denied",
})  # fmt: skip
STATE_PREFIXES: Final = ("task_", "hook_")
"""``system`` lines about a passing state emit nothing. A denied permission is in the call's result as well."""

BLOCKS: Final = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})
PARENT: Final = "parent_tool_use_id"
"""The field with the call of the sub-agent that printed a line."""
RESUMING: Final = frozenset({"-c", "--continue", "-r", "--resume", "--from-pr"})
"""The options that continue a session."""
MAX_SPEAKERS: Final = 1000
"""Sub-agents whose current message is kept; beyond them, the one that has been kept longest is forgotten."""

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
        self._resumed = _is_resumed(command)
        self._outcome = ClaudeOutcome(resumed=self._resumed)
        super().__init__(self._outcome)
        self._started = False
        self._called: RecentSet[str] = RecentSet()
        self._streamed: dict[str | None, Message] = {}
        self._plain: dict[str | None, Message] = {}
        """The current message of the main agent (None) and of each sub-agent, by its call."""

    @classmethod
    def command(cls, prompt: str, options: Sequence[str] = (), model: str | None = None) -> Command:
        """Build the command; the prompt follows ``--``, as it may begin with a dash and options may take many words."""
        argv = ("claude", "-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages")
        given = without_own(cls.name, (*OWN, *model_option(model)), options)
        argv += (*(("--model", model) if model else ()), *given)
        return Command((*argv, "--", prompt)) if fits_argument(prompt) else Command(argv, prompt_on_stdin=True)

    def pending(self, at: datetime) -> list[BaseEvent]:
        """Return the usage of messages that were cut short."""
        return [event for parent in self._streamed for event in self._last_usage(parent, at)]

    def _system(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        subtype = get_text(line, "subtype") or ""
        if subtype == "init":
            return self._init(line, at)
        if subtype == "api_retry":
            return _retry(line, at)
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

    def _odd_stream_event(self, line: JsonObject, at: datetime) -> RuleResult:
        return self._stream_event(as_stream_line(line), at)

    def _stream_event(self, line: StreamLine, at: datetime) -> RuleResult:
        event, parent = line.event, line.parent_tool_use_id
        if event is None:
            return None
        message = self._streamed.get(parent)
        if message is None:
            return self._first_stream_event(line, at)
        match event.type:
            case "content_block_delta":
                return delta_events(line, event, message, at)
            case "message_start":
                self._streamed[parent] = Message.begun(event.message or EMPTY)
                return message.take_usage(parent, at)
            case "message_stop":
                events = message.take_usage(parent, at) + abandoned_events(line, message, at)
                # An abandoned message too: no reliable figure contains its tokens.
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

    def _first_stream_event(self, line: StreamLine, at: datetime) -> RuleResult:
        """Read the first event of an agent; emits the usage of another one that is forgotten for it."""
        usage: list[BaseEvent] = []
        if len(self._streamed) >= MAX_SPEAKERS:
            oldest = next(iter(self._streamed))
            usage = self._last_usage(oldest, at)
            del self._streamed[oldest]
        self._streamed[line.parent_tool_use_id] = Message()
        events = self._stream_event(line, at)
        return tuple(usage) if events is None else [*usage, *events]

    def _last_usage(self, parent: str | None, at: datetime) -> list[BaseEvent]:
        """Return the usage of a message that gets no final count any more."""
        message = self._streamed[parent]
        return message.take_usage(parent, at) or message.take_start_usage(parent, at)

    def _assistant(self, line: JsonObject, at: datetime) -> RuleResult:
        message = get_object(line, "message")
        if not isinstance(message.get("content"), list):
            return None
        blocks = [as_object(block) for block in get_list(message, "content")]
        parent = get_text(line, PARENT)
        if get_text(message, "model") == SYNTHETIC_MODEL or line.get("is_api_error_message") is True:
            self._outcome.error_reported()
            return events_of([failure_fields(blocks, get_text(line, "error"), parent)], at)
        current = self._message(parent, message)
        parts = [self._block(block, current, parent, at) for block in blocks]
        if current is not self._streamed.get(parent):
            parts.append(current.take_start_usage(parent, at))
        return _gather(parts)

    def _message(self, parent: str | None, printed: JsonObject) -> Message:
        message_id = get_text(printed, "id")
        streamed = self._streamed.get(parent)
        if streamed is not None and streamed.id == message_id:
            return streamed
        plain = self._plain.get(parent)
        if plain is None or plain.id != message_id:
            if plain is None and len(self._plain) >= MAX_SPEAKERS:
                del self._plain[next(iter(self._plain))]
            plain = self._plain[parent] = Message.begun(printed)
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
        return None if content is None else events_of([text_fields(kind, content, message.id, index, parent)], at)

    def _tool_use(
        self, block: JsonObject, message_id: str | None, parent: str | None, at: datetime
    ) -> list[BaseEvent] | None:
        call_id, tool = get_text(block, "id"), get_text(block, "name")
        if call_id is None or tool is None:
            return None
        if call_id in self._called:
            return []  # the same call, printed again
        self._called.add(call_id)
        arguments = block.get("input")
        call = OpenCall(call_id, tool, at, parent, path_of(arguments))
        return [*self.open_call(call_id, call), *events_of(call_fields(call, arguments, message_id), at)]

    def _user(self, line: JsonObject, at: datetime) -> RuleResult:
        message = get_object(line, "message")
        if get_text(message, "content") is not None:
            return []  # the prompt, echoed
        if not isinstance(message.get("content"), list):
            return None
        blocks = [as_object(block) for block in get_list(message, "content")]
        # A line has one result as a rule; of several, it does not say which one the structured form belongs to.
        structured = get_object(line, "tool_use_result") if len(blocks) == 1 else EMPTY
        return _gather([self._tool_result(block, structured, at) for block in blocks])

    def _tool_result(self, block: JsonObject, structured: JsonObject, at: datetime) -> list[BaseEvent] | None:
        kind, call_id = get_text(block, "type"), get_text(block, "tool_use_id")
        if kind == "text":
            return []  # nudges of the harness, a sub-agent's prompt, "[Request interrupted by user]"
        if kind != "tool_result" or call_id is None:
            return None
        call = self.calls.take(call_id)
        if call is None:
            return None
        failed, took = block.get("is_error") is True, milliseconds_between(call.at, at)
        return events_of(result_fields(call, block.get("content"), structured, failed=failed, duration_ms=took), at)

    def _result(self, line: JsonObject, at: datetime) -> list[BaseEvent]:
        return self._outcome.result(line, at)

    def _ignored(self, _line: JsonObject, _at: datetime) -> list[BaseEvent]:
        return []

    common = Common(STREAM_LINE, decode_stream_line, _stream_event)
    rules: Mapping[str, Rule] = {
        "system": _system,
        "stream_event": _odd_stream_event,
        "assistant": _assistant,
        "user": _user,
        "result": _result,
        "rate_limit_event": _ignored,
    }


def _is_resumed(command: Command | None) -> bool:
    """Whether the command line continues a session that had runs before."""
    if command is None:
        return False
    argv = command.argv
    options = argv[: argv.index("--")] if "--" in argv else argv
    return any(word.partition("=")[0] in RESUMING for word in options)


def _gather(parts: Sequence[list[BaseEvent] | None]) -> RuleResult:
    """Return the events of a line's blocks; None among ``parts`` is a block without a rule."""
    if len(parts) == 1:
        return parts[0]
    events = [event for part in parts if part is not None for event in part]
    return tuple(events) if None in parts else events


def _retry(line: JsonObject, at: datetime) -> list[BaseEvent]:
    kind = get_text(line, "error")
    status, attempt, limit, delay = (
        get_count(line, key) for key in ("error_status", "attempt", "max_retries", "retry_delay_ms")
    )
    reason = (kind or "unknown") + ("" if status is None else f" (HTTP {status})")
    return events_of([retry_fields(reason, attempt, limit, delay, kind)], at)
