"""Codex's rollouts: ``sessions/YYYY/MM/DD/rollout-<time>-<thread>.jsonl``.

Every field is optional and every line kind may be new: what no rule knows becomes ``unknown``, and nothing raises.
What happened is told twice in a rollout, by ``event_msg`` lines and by ``response_item`` lines; the first are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import ClassVar, Final

from workcast.events.models import (
    BaseEvent,
    ErrorEvent,
    PromptSent,
    ResponseComplete,
    Thinking,
    ToolCall,
    ToolResult,
    UsageEvent,
)
from workcast.events.usage import Usage
from workcast.producer.adapters.base import optional
from workcast.producer.fields import JsonObject, as_object, get_count, get_list, get_object, get_text
from workcast.producer.transcripts.base import Links, TranscriptLine, TranscriptReader
from workcast.producer.transcripts.codex_tools import LEGACY_TOOLS, TOOLS, tool_events

NOISE: Final = re.compile(
    rb'\{"timestamp":"[^"]*",(?:"ordinal":\d+,)?"type":'
    rb'"(?:response_item|world_state|token_usage_record|inter_agent_communication_metadata|compacted|ghost_snapshot)"'
)
QUIET: Final = frozenset({
    "compacted", "ghost_snapshot", "inter_agent_communication", "inter_agent_communication_metadata", "response_item",
    "token_usage_record", "world_state",
})  # fmt: skip
QUIET_EVENTS: Final = frozenset({
    "agent_message_delta", "agent_reasoning_raw_content", "agent_reasoning_section_break", "background_event",
    "context_compacted", "entered_review_mode", "exec_command_begin", "exited_review_mode", "item_started",
    "mcp_tool_call_begin", "patch_apply_begin", "plan_update", "session_configured", "shutdown_complete",
    "sub_agent_activity", "thread_goal_updated", "thread_name_updated", "thread_rolled_back",
    "thread_settings_applied", "turn_diff", "undo_completed", "undo_started", "view_image_tool_call",
    "web_search_begin",
})  # fmt: skip
QUIET_ITEMS: Final = frozenset({
    "ContextCompaction", "EnteredReviewMode", "ExitedReviewMode", "HookPrompt", "ImageView", "Plan", "Sleep",
})  # fmt: skip
LEGACY_DOUBLES: Final = {"user_message": "UserMessage", "agent_message": "AgentMessage", "agent_reasoning": "Reasoning"}
"""What older versions wrote, and the item that newer ones write: some write both."""


class CodexRollout(TranscriptReader):
    """Reads the rollout of one thread of Codex."""

    agent: ClassVar[str] = "codex"

    def __init__(self, links: Links, began: datetime, sub_agent: str | None = None) -> None:
        super().__init__(links, began, sub_agent)
        self._thread: str | None = sub_agent
        self._forked = False
        self._total: Usage | None = None
        self._items: set[str] = set()
        self._events: Mapping[str, Callable[[TranscriptLine, JsonObject], list[BaseEvent] | None]] = {
            "task_started": self._turn_started,
            "turn_started": self._turn_started,
            "task_complete": self._turn_complete,
            "turn_complete": self._turn_complete,
            "turn_aborted": self._turn_aborted,
            "token_count": self._token_count,
            "item_completed": lambda line, event: self._item(line, get_object(event, "item"), event),
            "user_message": lambda line, event: self._prompt(line, get_text(event, "message")),
            "agent_message": lambda line, event: self._answer(line, get_text(event, "message"), None),
            "agent_reasoning": lambda line, event: self._thought(line, get_text(event, "text"), None),
            "error": _error,
            "stream_error": _error,
            "warning": _error,
        }

    def _is_noise(self, raw: bytes) -> bool:
        return NOISE.match(raw) is not None

    def _read(self, line: TranscriptLine) -> list[BaseEvent] | None:
        kind, payload = get_text(line.json, "type"), get_object(line.json, "payload")
        if kind == "session_meta":
            return self._session_meta(line, payload)
        if kind == "turn_context":
            self.model = get_text(payload, "model") or self.model
            return []
        if kind != "event_msg":
            return [] if kind in QUIET else None
        name = get_text(payload, "type") or ""
        if name in QUIET_EVENTS or LEGACY_DOUBLES.get(name) in self._items or self._is_copied(payload):
            return []
        if name in LEGACY_TOOLS:
            return self._tool(line, payload, payload)
        read = self._events.get(name)
        events = None if read is None else read(line, payload)
        return None if events is None else [*self._start(line.at, self.session), *events]

    def _is_copied(self, event: JsonObject) -> bool:
        """Whether a line was copied from the thread that this one was forked from."""
        thread = get_text(event, "thread_id")
        return thread is not None and self._thread is not None and thread != self._thread

    def _session_meta(self, line: TranscriptLine, meta: JsonObject) -> list[BaseEvent]:
        if self._thread is not None and self.sub_agent is None:
            return []  # a resumed thread's, or that of the thread it was forked from
        self._thread = self._thread or get_text(meta, "id")
        forked = get_text(meta, "forked_from_id")
        self._forked = forked is not None
        return self._start(
            line.at, self._thread, cwd=get_text(meta, "cwd"), agent_version=get_text(meta, "cli_version"),
            git_commit=get_text(get_object(meta, "git"), "commit_hash"), forked_from=forked,
        )  # fmt: skip

    # ── turns ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _turn_started(self, line: TranscriptLine, _: JsonObject) -> list[BaseEvent]:
        self._begin_turn(line.at)
        return []

    def _turn_complete(self, line: TranscriptLine, event: JsonObject) -> list[BaseEvent]:
        error = get_object(event, "error")
        self._end_turn(line, "failed" if error else "success", get_count(event, "duration_ms"))
        if not error:
            return []
        message = get_text(error, "message") or "the turn failed without a message"
        return [ErrorEvent(timestamp=line.at, error=message, retryable=False, **optional(**self._where()))]

    def _turn_aborted(self, line: TranscriptLine, event: JsonObject) -> list[BaseEvent]:
        self._end_turn(line, "cancelled", get_count(event, "duration_ms"))
        return []

    def _token_count(self, line: TranscriptLine, event: JsonObject) -> list[BaseEvent]:
        """The count is the thread's, from its first turn on, and is told again and again: what was added is usage."""
        info = get_object(event, "info")
        said = get_object(info, "total_token_usage")
        if not said:
            return []
        total, before = _usage(said), self._total
        self._total = total
        last = _usage(get_object(info, "last_token_usage"))
        if before is None:
            added = last if self._forked else total  # a fork counts on from where the other thread was
        else:
            added = last if _is_less(total, before) else (total - before).at_least_zero()
        if added == Usage():
            return []
        return [UsageEvent(timestamp=line.at, usage=added, **optional(**self._where()))]

    # ── items ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _item(self, line: TranscriptLine, item: JsonObject, event: JsonObject) -> list[BaseEvent] | None:
        kind, item_id = get_text(item, "type") or "", get_text(item, "id")
        self._items.add(kind)
        match kind:
            case "UserMessage":
                return self._prompt(line, _text(item))
            case "AgentMessage":
                return self._answer(line, _text(item), item_id)
            case "Reasoning":
                parts = [part for part in get_list(item, "summary_text") if isinstance(part, str)]
                return self._thought(line, "\n\n".join(parts), item_id)
            case "SubAgentActivity":
                return self._sub_agent(line, item, item_id)
            case _ if kind in TOOLS:
                return self._tool(line, item, event)
            case _:
                return [] if kind in QUIET_ITEMS else None

    def _prompt(self, line: TranscriptLine, text: str | None) -> list[BaseEvent] | None:
        if text is None:
            return None
        if self.sub_agent is not None:
            return []
        self._begin_turn(self._turn_at if self._turn == "open" else line.at)
        return [PromptSent(timestamp=line.at, prompt=text)]

    def _answer(self, line: TranscriptLine, text: str | None, item_id: str | None) -> list[BaseEvent] | None:
        if text is None:
            return None
        where = optional(message_id=item_id, **self._where())
        return [ResponseComplete(timestamp=line.at, content=text, **where)]

    def _thought(self, line: TranscriptLine, text: str | None, item_id: str | None) -> list[BaseEvent] | None:
        if text is None:
            return None
        where = optional(message_id=item_id, **self._where())
        return [Thinking(timestamp=line.at, content=text, **where)] if text else []

    def _tool(self, line: TranscriptLine, item: JsonObject, event: JsonObject) -> list[BaseEvent] | None:
        """A tool's call and result: a rollout tells of both when the result is there."""
        call_id = get_text(item, "id") or get_text(item, "call_id")
        if call_id is None:
            return None
        if call_id in self._called:
            return []
        self._called.add(call_id)
        return tool_events(item, call_id, event, line.at, self._parent())

    def _sub_agent(self, line: TranscriptLine, item: JsonObject, call_id: str | None) -> list[BaseEvent]:
        """A sub-agent was started: the call returns at once, and what the sub-agent does is told under it."""
        thread = get_text(item, "agent_thread_id")
        if get_text(item, "kind") != "started" or call_id is None or thread is None or call_id in self._called:
            return []
        self._called.add(call_id)
        self.links.started(thread, call_id)
        told = {key: value for key in ("agent_path", "agent_thread_id", "model") if (value := get_text(item, key))}
        where = optional(call_id=call_id, **self._where())
        return [
            ToolCall(timestamp=line.at, tool="spawn_agent", args=told, **where),
            ToolResult(timestamp=line.at, tool="spawn_agent", result=told.get("agent_path"), duration_ms=0, **where),
        ]

    def _parent(self) -> str | None:
        return None if self.sub_agent is None else self.links.call_of(self.sub_agent)

    def _where(self) -> dict[str, object]:
        return {"parent_call_id": self._parent()}


def _text(item: JsonObject) -> str | None:
    """The text of a message: its parts, however the version spells their types."""
    parts = [as_object(part) for part in get_list(item, "content")]
    texts = [text for part in parts if (text := get_text(part, "text")) is not None]
    if texts or not parts:
        return "\n".join(texts) if texts else get_text(item, "text")
    return "[image]"


def _error(line: TranscriptLine, event: JsonObject) -> list[BaseEvent] | None:
    message = get_text(event, "message")
    if message is None:
        return None
    kind = get_text(event, "type")
    if kind == "warning":
        return [ErrorEvent(timestamp=line.at, error=message, kind="warning")]
    return [ErrorEvent(timestamp=line.at, error=message, retryable=kind == "stream_error")]


def _usage(said: JsonObject) -> Usage:
    """The input counts cached input already."""
    return Usage(
        input_tokens=get_count(said, "input_tokens") or 0,
        output_tokens=get_count(said, "output_tokens") or 0,
        cache_read_tokens=get_count(said, "cached_input_tokens") or 0,
        cache_write_tokens=get_count(said, "cache_write_input_tokens") or 0,
        reasoning_tokens=get_count(said, "reasoning_output_tokens") or 0,
    )


def _is_less(total: Usage, before: Usage) -> bool:
    """Whether the count began anew."""
    return total.input_tokens < before.input_tokens or total.output_tokens < before.output_tokens
