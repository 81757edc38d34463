"""Codex's rollouts: ``sessions/YYYY/MM/DD/rollout-<time>-<thread>.jsonl``.

Every field is optional and every kind of line may be new: a line without a rule becomes ``unknown``; nothing raises.
A rollout contains everything twice, as ``event_msg`` and as ``response_item`` lines; the former are read.
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
from workcast.producer.adapters.codex_outcome import usage_of
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
"""What older versions wrote, and the item that newer versions write: some write both."""


class CodexRollout(TranscriptReader):
    """Reads the rollout of one thread of Codex."""

    agent: ClassVar[str] = "codex"

    def __init__(self, links: Links, began: datetime, sub_agent: str | None = None) -> None:
        super().__init__(links, began, sub_agent)
        self._thread: str | None = sub_agent
        self._forked = False
        self._total: Usage | None = None
        self._items: set[str] = set()
        """The kinds of items that were read and have an older form."""
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
            return []  # of a resumed thread, or of the one that this thread was forked from
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
        """Return what was added to the count, which is the thread's from its first turn on, and is repeated."""
        info = get_object(event, "info")
        counted = get_object(info, "total_token_usage")
        if not counted:
            return []
        total, before = usage_of(counted), self._total
        self._total = total
        last = usage_of(get_object(info, "last_token_usage"))
        if before is None:
            added = last if self._forked else total  # a fork continues the count of the other thread
        else:
            added = last if _is_less(total, before) else (total - before).at_least_zero()
        if added == Usage():
            return []
        return [UsageEvent(timestamp=line.at, usage=added, **optional(**self._where()))]

    # ── items ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _item(self, line: TranscriptLine, item: JsonObject, event: JsonObject) -> list[BaseEvent] | None:
        kind, item_id = get_text(item, "type") or "", get_text(item, "id")
        if kind in LEGACY_DOUBLES.values():
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
        """Return a tool's call and result: a rollout contains both once the tool has returned."""
        call_id = get_text(item, "id") or get_text(item, "call_id")
        if call_id is None:
            return None
        if not self._called.add(call_id):
            return []
        return tool_events(item, call_id, event, line.at, self._parent())

    def _sub_agent(self, line: TranscriptLine, item: JsonObject, call_id: str | None) -> list[BaseEvent]:
        """Return the call that started a sub-agent: it returns at once, and is the parent of the sub-agent's events."""
        thread = get_text(item, "agent_thread_id")
        if get_text(item, "kind") != "started" or call_id is None or thread is None:
            return []
        if not self._called.add(call_id):
            return []
        self.links.started(thread, call_id)
        known = {key: value for key in ("agent_path", "agent_thread_id", "model") if (value := get_text(item, key))}
        where = optional(call_id=call_id, **self._where())
        return [
            ToolCall(timestamp=line.at, tool="spawn_agent", args=known, **where),
            ToolResult(timestamp=line.at, tool="spawn_agent", result=known.get("agent_path"), duration_ms=0, **where),
        ]

    def _parent(self) -> str | None:
        return None if self.sub_agent is None else self.links.call_of(self.sub_agent)

    def _where(self) -> dict[str, object]:
        return {"parent_call_id": self._parent()}


def _text(item: JsonObject) -> str | None:
    """Return the text of a message from its parts, whose types are spelled differently by versions."""
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


def _is_less(total: Usage, before: Usage) -> bool:
    """Whether the count was restarted."""
    return total.input_tokens < before.input_tokens or total.output_tokens < before.output_tokens
