"""Claude Code's transcripts: ``projects/<directory>/<session>.jsonl`` and its sub-agents' files.

Every field is optional and every kind of line may be new: a line without a rule becomes ``unknown``; nothing raises.
Nothing says that a session is over: the model's ``end_turn``, an interrupt or a failed request ends a turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Final

from workcast.events.models import BaseEvent, PromptSent, UsageEvent
from workcast.events.usage import Usage
from workcast.producer.adapters.base import milliseconds_between, optional, unknown_line
from workcast.producer.calls import OpenCall
from workcast.producer.claude.messages import SYNTHETIC_MODEL, failure_fields, retry_fields, text_fields, usage_fields
from workcast.producer.claude.tools import call_fields, path_of, result_fields
from workcast.producer.events import events_of
from workcast.producer.fields import EMPTY, JsonObject, as_object, get_count, get_list, get_number, get_object, get_text
from workcast.producer.recent import RecentMap
from workcast.producer.transcripts.base import Links, SourcedEvent, TranscriptLine, TranscriptReader
from workcast.producer.transcripts.disk_set import DiskSet

QUIET: Final = frozenset({
    "agent-color", "agent-name", "agent-setting", "ai-title", "atis-latch", "attachment", "attribution-snapshot",
    "content-replacement", "custom-title", "file-history-delta", "file-history-snapshot", "last-prompt", "mode",
    "permission-mode", "pr-link", "progress", "queue-operation", "speculation-accept", "summary", "tag", "task-summary",
    "tools-used", "worktree-state",
})  # fmt: skip
"""Kinds of lines with Claude Code's own data: state, titles, injected context."""
QUIET_PREFIX: Final = "api-request"
QUIET_SYSTEM: Final = frozenset({
    "agents_killed", "api_metrics", "away_summary", "bridge_status", "compact_boundary", "hook_response",
    "hook_started", "informational", "init", "local_command", "memory_saved", "microcompact_boundary",
    "permission_denied", "permission_retry", "scheduled_task_fire", "status", "stop_hook_summary", "turn_duration",
})  # fmt: skip
NOISE: Final = tuple(f'{{"type":"{kind}"'.encode() for kind in (*sorted(QUIET), QUIET_PREFIX + "-blob"))
TURN_ENDS: Final = frozenset({"end_turn", "stop_sequence", "refusal", "model_context_window_exceeded"})
INTERRUPTED: Final = "[Request interrupted by user"
NO_PROMPTS: Final = ("<local-command-stdout>", "<local-command-stderr>", "<local-command-caveat>", "<bash-stdout>")
"""What Claude Code itself writes in the place of a prompt."""
AGENT_TOOLS: Final = frozenset({"Agent", "Task"})
SHOWN_BLOCKS: Final = {"image": "[image]", "document": "[document]"}


class ClaudeTranscript(TranscriptReader):
    """Reads one file of a session of Claude Code."""

    agent: ClassVar[str] = "claude"

    def __init__(self, links: Links, began: datetime, sub_agent: str | None = None, call: str | None = None) -> None:
        super().__init__(links, began, sub_agent)
        self._message = ""
        self._blocks = 0
        self._counted = DiskSet()
        """The ids of messages whose usage was emitted."""
        self._usage: tuple[str, JsonObject] | None = None
        self._chains: RecentMap[str, str] = RecentMap()
        """By uuid: the calls that sub-agents' lines belong to, which older versions kept in the same file.

        A line follows the one it refers to closely; with more than 10,000 between them, its call is unknown.
        """
        if sub_agent is not None and call is not None:
            links.started(sub_agent, call)

    def settle(self) -> list[SourcedEvent]:
        """Emit the usage of a message that nothing followed, then the end of the turn."""
        usage = self._take_usage(self.last_at, None) if self._turn == "over" else []
        return [*usage, *super().settle()]

    def abandon(self) -> list[SourcedEvent]:
        """Emit the usage of the last message, then end everything that is open."""
        return [*self._take_usage(self.last_at, None), *super().abandon()]

    def _is_noise(self, raw: bytes) -> bool:
        return raw.startswith(NOISE)

    def _name(self, parsed: JsonObject) -> str | None:
        return get_text(parsed, "uuid") or None

    def _read(self, line: TranscriptLine) -> list[BaseEvent] | None:
        kind = get_text(line.json, "type") or ""
        self.session = self.session or get_text(line.json, "sessionId")
        if kind in QUIET or kind.startswith(QUIET_PREFIX):
            return []
        match kind:
            case "user":
                events = self._user(line)
            case "assistant":
                events = self._assistant(line)
            case "system":
                events = self._system(line)
            case "cost-state":
                return self._cost_state(line)
            case _:
                return None
        return None if events is None else [*self._start_at(line), *events]

    def _start_at(self, line: TranscriptLine) -> list[BaseEvent]:
        cwd, branch, version = (get_text(line.json, key) for key in ("cwd", "gitBranch", "version"))
        forked = self.forked_from or get_text(get_object(line.json, "forkedFrom"), "sessionId")
        return self._start(line.at, self.session, cwd=cwd, agent_version=version, git_branch=branch, forked_from=forked)

    def _parent(self, line: TranscriptLine, prompt: str | None = None) -> str | None:
        """Return the call that a sub-agent's line belongs to; None for the main agent's."""
        if self.sub_agent is not None:
            return self.links.call_of(self.sub_agent, prompt)
        if line.json.get("isSidechain") is not True:
            return None
        call = self._chains.get(get_text(line.json, "parentUuid") or "")
        if call is None:
            call = self.links.call_of(get_text(line.json, "agentId") or line.key, prompt)
        if call is not None:
            self._chains[line.key] = call
        return call

    def _is_main(self, line: TranscriptLine) -> bool:
        return self.sub_agent is None and line.json.get("isSidechain") is not True

    # ── user ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _user(self, line: TranscriptLine) -> list[BaseEvent] | None:
        message = get_object(line.json, "message")
        content = get_text(message, "content")
        if content is not None:
            return self._prompt(line, content)
        if not isinstance(message.get("content"), list):
            return None
        blocks = [as_object(block) for block in get_list(message, "content")]
        if any(get_text(block, "type") == "tool_result" for block in blocks):
            structured = line.json.get("toolUseResult") if len(blocks) == 1 else None
            self._parent(line)
            return _gather(line, (self._result(line, block, as_object(structured)) for block in blocks))
        shown = [get_text(b, "text") or SHOWN_BLOCKS.get(get_text(b, "type") or "") for b in blocks]
        return None if None in shown else self._prompt(line, "\n".join(text for text in shown if text))

    def _prompt(self, line: TranscriptLine, text: str) -> list[BaseEvent]:
        if not self._is_main(line):
            self._parent(line, text)
            return []  # the call that started the sub-agent has its prompt
        if text.startswith(INTERRUPTED):
            self._end_turn(line, "cancelled")
            return []
        injected = any(line.json.get(key) is True for key in ("isMeta", "isCompactSummary"))
        if injected or not text or text.startswith(NO_PROMPTS):
            return []
        self._before += self._take_usage(line.at, None)
        self._begin_turn(line.at)
        origin = get_text(get_object(line.json, "origin"), "kind")
        self._prompt_id = get_text(line.json, "promptId")
        return [PromptSent(timestamp=line.at, prompt=text, **optional(prompt_id=self._prompt_id, origin=origin))]

    def _result(self, line: TranscriptLine, block: JsonObject, structured: JsonObject) -> list[BaseEvent] | None:
        kind, call_id = get_text(block, "type"), get_text(block, "tool_use_id")
        if kind == "text":
            return []  # a nudge of the harness
        if kind is None or not kind.endswith("tool_result") or call_id is None:
            return None
        call = self._calls.take(call_id)
        if call is None:
            return [] if call_id in self._called else None
        if (sub_agent := get_text(structured, "agentId")) is not None and call.tool in AGENT_TOOLS:
            self.links.started(sub_agent, call_id)
        failed, took = block.get("is_error") is True, milliseconds_between(call.at, line.at)
        mapped = result_fields(call, block.get("content"), structured, failed=failed, duration_ms=took)
        return events_of(mapped, line.at)

    # ── assistant ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _assistant(self, line: TranscriptLine) -> list[BaseEvent] | None:
        message = get_object(line.json, "message")
        if not isinstance(message.get("content"), list):
            return None
        blocks = [as_object(block) for block in get_list(message, "content")]
        parent, main = self._parent(line), self._is_main(line)
        if line.json.get("isApiErrorMessage") is True:
            if main:
                self._end_turn(line, "failed")
            return events_of([failure_fields(blocks, get_text(line.json, "error"), parent)], line.at)
        model = get_text(message, "model")
        if model == SYNTHETIC_MODEL:
            return []  # from Claude Code itself, such as "No response requested."
        if main or self.sub_agent is not None:
            self.model = model or self.model
        message_id = get_text(message, "id")
        if message_id != self._message:
            self._message, self._blocks = message_id or "", 0
        self._count(line, message, message_id, parent)
        if main and self._turn != "open":
            self._ending = None
            self._begin_turn(self._turn_at if self._turn == "over" else line.at)
        events = _gather(line, (self._block(line, block, message_id, parent) for block in blocks))
        if main and get_text(message, "stop_reason") in TURN_ENDS:
            self._end_turn(line, "success")
        return events

    def _block(
        self, line: TranscriptLine, block: JsonObject, message_id: str | None, parent: str | None
    ) -> list[BaseEvent] | None:
        kind = get_text(block, "type") or ""
        index = get_count(line.json, "apiBlockIndex")
        index = self._blocks if index is None else index
        self._blocks += 1
        if kind in {"tool_use", "server_tool_use", "mcp_tool_use"}:
            return self._tool_use(line, block, parent)
        if kind.endswith("tool_result"):
            return self._result(line, block, EMPTY)
        if kind in {"redacted_thinking", "fallback", "container_upload", "compaction"}:
            return []
        content = get_text(block, kind) if kind in {"text", "thinking"} else None
        if content is None:
            return None
        if kind == "thinking" and not content:
            return []  # only its signature is in the transcript
        return events_of([text_fields(kind, content, message_id, index, parent)], line.at)

    def _tool_use(self, line: TranscriptLine, block: JsonObject, parent: str | None) -> list[BaseEvent] | None:
        call_id, tool = get_text(block, "id"), get_text(block, "name")
        if call_id is None or tool is None:
            return None
        if not self._called.add(call_id):
            return []
        arguments = block.get("input")
        if tool in AGENT_TOOLS and (prompt := get_text(as_object(arguments), "prompt")) is not None:
            self.links.prompted(prompt, call_id)
        call = OpenCall(call_id, tool, line.at, parent, path_of(arguments))
        return [*self._open_call(call), *events_of(call_fields(call, arguments), line.at)]

    def _count(self, line: TranscriptLine, message: JsonObject, message_id: str | None, parent: str | None) -> None:
        """Emit a message's usage once: at its first line, as all lines repeat it, or later if that is not final."""
        if self._usage is not None and self._usage[0] != message_id:
            self._before += self._take_usage(line.at, parent)
        usage = get_object(message, "usage")
        if message_id is None or not usage or message_id in self._counted:
            return
        self._usage = (message_id, usage)
        if get_text(message, "stop_reason") is not None:
            self._before += self._take_usage(line.at, parent)

    def _take_usage(self, at: datetime, parent: str | None) -> list[SourcedEvent]:
        """Return the pending usage, with the message's id as its source."""
        if self._usage is None:
            return []
        message_id, usage = self._usage
        self._usage = None
        self._counted.add(message_id)
        if parent is None and self.sub_agent is not None:
            parent = self.links.call_of(self.sub_agent)
        where = optional(parent_call_id=parent)
        event = UsageEvent(timestamp=at, usage=Usage(**usage_fields(usage)), message_id=message_id, **where)
        return self._sourced([event], f"{message_id}:usage")

    # ── the rest ────────────────────────────────────────────────────────────────────────────────────────────────────
    def _system(self, line: TranscriptLine) -> list[BaseEvent] | None:
        subtype = get_text(line.json, "subtype") or ""
        if subtype == "api_error":
            return _retry(line)
        if subtype == "turn_duration" and self._turn == "open" and self._is_main(line):
            self._end_turn(line, "success", get_count(line.json, "durationMs"))
        return [] if subtype in QUIET_SYSTEM else None

    def _cost_state(self, line: TranscriptLine) -> list[BaseEvent]:
        """Read what the session has cost so far: written when Claude Code exits, mostly after the end of a turn."""
        cost = get_number(line.json, "totalCostUSD")
        if cost is None or not self._started or self.sub_agent is not None:
            return []
        changed, self._cost_usd = cost != self._cost_usd, cost
        if self._turn == "over":
            self._before += self._take_usage(line.at, None)
            return self._take_ending(line.at)
        return [self._last_ending(line.at)] if changed and self._turn == "none" and not self._abandoned else []


def _gather(line: TranscriptLine, parts: Iterable[list[BaseEvent] | None]) -> list[BaseEvent]:
    """Return the events of a line's blocks, and the line itself, once, if a block has no rule."""
    found = list(parts)
    events = [event for part in found if part is not None for event in part]
    return [*events, unknown_line(ClaudeTranscript.agent, line.raw, line.at)] if None in found else events


def _retry(line: TranscriptLine) -> list[BaseEvent]:
    error = get_object(line.json, "error")
    reason = get_text(error, "formatted") or get_text(error, "message") or get_text(line.json, "error") or "unknown"
    attempt, limit = get_count(line.json, "retryAttempt"), get_count(line.json, "maxRetries")
    return events_of([retry_fields(reason, attempt, limit, get_number(line.json, "retryInMs"))], line.at)
