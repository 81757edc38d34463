"""The readers on lines that were not recorded: kinds of older versions, and rare cases."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.transcripts import as_logged, reader_of, transcript_events
from workcast.producer.transcripts.base import SourcedEvent, TranscriptReader, parse_time

AT = "2026-11-22T08:00:00.000Z"
USAGE = {"input_tokens": 5, "output_tokens": 2}


def user(content: Any, uuid: str, **more: Any) -> dict[str, Any]:
    return {"type": "user", "uuid": uuid, "timestamp": AT, "sessionId": "s", "message": {"content": content}, **more}


def assistant(blocks: list[dict[str, Any]], uuid: str, stop: str | None = None, **more: Any) -> dict[str, Any]:
    message = {"id": f"m-{uuid[0]}", "model": "opus", "content": blocks, "stop_reason": stop, "usage": USAGE}
    return {"type": "assistant", "uuid": uuid, "timestamp": AT, "sessionId": "s", "message": message, **more}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def use(tool: str, call_id: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": tool, "input": given}


def result(call_id: str, content: Any = "ok") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content}


def meta(thread: str = "t1", **more: Any) -> dict[str, Any]:
    return {"type": "session_meta", "timestamp": AT, "payload": {"id": thread, "cwd": "/w", "cli_version": "1", **more}}


def event(kind: str, number: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "type": "event_msg", "timestamp": f"2026-11-22T08:00:{number:02}.000Z", "payload": {"type": kind, **fields}
    }  # fmt: skip


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


# ── Claude Code ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "line",
    [
        {"type": "summary", "summary": "A tour", "leafUuid": "x"},
        {"type": "file-history-snapshot", "messageId": "x", "snapshot": {}},
        {"type": "api-request-shape", "sessionId": "s"},
        {"type": "system", "subtype": "compact_boundary", "uuid": "b", "timestamp": AT, "compactMetadata": {}},
        user("This session is being continued …", "c", isCompactSummary=True),
        user("<system-reminder>x</system-reminder>", "d", isMeta=True),
        user("<local-command-stdout>done</local-command-stdout>", "e"),
    ],
)
def test_claude_codes_own_data_has_no_events(line: dict[str, Any]) -> None:
    assert [event for event in transcript_events("claude", [line]) if event["type"] != "started"] == []


def test_a_line_of_a_new_kind_is_unknown_as_it_was_written() -> None:
    events = transcript_events("claude", [b'{"type":"telepathy", "n":1}', b"no json"])
    assert [event["raw"] for event in events] == ['{"type":"telepathy", "n":1}', "no json"]


def test_only_the_last_count_of_a_message_is_reported_when_it_is_over() -> None:
    growing = [assistant([text("a")], "a1"), assistant([text("b")], "a2")]
    growing[1]["message"]["usage"] = {"input_tokens": 5, "output_tokens": 90}
    events = transcript_events("claude", [user("hi", "u"), *growing, assistant([text("c")], "b1", "end_turn")])
    assert [(event["message_id"], event["usage"]["output_tokens"]) for event in events if event["type"] == "usage"] == [
        ("m-a", 90), ("m-b", 2),
    ]  # fmt: skip


def test_a_prompt_of_several_blocks_is_one_prompt() -> None:
    events = transcript_events("claude", [user([text("look at"), {"type": "image", "source": {}}], "u")])
    assert [event.get("prompt") for event in events] == [None, "look at\n[image]"]


def test_an_interrupt_ends_the_turn() -> None:
    lines = [user("hi", "u"), user([text("[Request interrupted by user]")], "v")]
    assert transcript_events("claude", lines)[-1]["status"] == "cancelled"


def test_sub_agents_of_older_versions_are_read_from_the_same_file() -> None:
    lines = [
        user("hi", "u"),
        assistant([use("Task", "c1", prompt="look around")], "a1", "tool_use"),
        user("look around", "s1", isSidechain=True, parentUuid=None),
        assistant([use("Bash", "c2", command="ls")], "t1", "tool_use", isSidechain=True, parentUuid="s1"),
        user([result("c2")], "s2", isSidechain=True, parentUuid="t1"),
        assistant([text("seen")], "v1", "end_turn", isSidechain=True, parentUuid="s2"),
        user([result("c1")], "w"),
        assistant([text("done")], "x1", "end_turn"),
    ]
    events = transcript_events("claude", lines)
    parents = [(event["type"], event["parent_call_id"]) for event in events if "parent_call_id" in event]
    assert parents == [
        ("usage", "c1"), ("tool_call", "c1"), ("tool_result", "c1"), ("usage", "c1"), ("response_complete", "c1"),
    ]  # fmt: skip
    assert kinds(events).count("prompt_sent") == kinds(events).count("completed") == 1


def test_a_turns_cost_is_its_share_of_what_the_session_has_cost() -> None:
    cost = [{"type": "cost-state", "sessionId": "s", "totalCostUSD": usd} for usd in (0.25, 1.0, 1.5)]
    lines = [
        user("one", "u1"), assistant([text("1")], "a", "end_turn"), cost[0],
        user("two", "u2"), assistant([text("2")], "b", "end_turn"),
        user("three", "u3"), assistant([text("3")], "c", "end_turn"), cost[1], cost[2],
    ]  # fmt: skip
    ends = [event for event in transcript_events("claude", lines) if event["type"] == "completed"]
    assert [(end.get("cost_usd"), end.get("session_cost_usd")) for end in ends] == [
        (0.25, 0.25), (None, None), (0.75, 1.0), (1.25, 1.5),
    ]  # fmt: skip


def test_a_result_after_its_call_was_given_up_is_not_reported_twice() -> None:
    reader = reader_of("claude")
    found: list[SourcedEvent] = []
    for line in (user("hi", "u"), assistant([use("Bash", "c", command="x")], "a", "tool_use")):
        found += feed(reader, line)
    found += reader.abandon()
    found += feed(reader, user([result("c")], "v"))
    events = as_logged(found)
    assert [event.get("error") for event in events if event["type"] == "tool_result"] == ["no result: the agent ended"]


def feed(reader: TranscriptReader, line: dict[str, Any]) -> list[SourcedEvent]:
    raw = json.dumps(line).encode()
    return reader.feed(raw)


# ── Codex ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_transcripts_of_older_versions_of_codex_are_read() -> None:
    lines = [
        meta(),
        event("task_started", 1),
        event("user_message", 2, message="fix it"),
        event("agent_reasoning", 3, text="hm"),
        event("exec_command_end", 4, call_id="c1", command=["ls", "-l"], stdout="a\n", stderr="", exit_code=0,
              duration={"secs": 1, "nanos": 500_000_000}, parsed_cmd=[]),
        event("patch_apply_end", 5, call_id="c2", success=True, stdout="", stderr="",
              changes={"/w/a": {"update": {"unified_diff": "@@ -1 +1 @@\n-a\n+b\n", "move_path": None}}}),
        event("mcp_tool_call_end", 6, call_id="c3", invocation={"server": "x", "tool": "y", "arguments": {"z": 1}},
              result={"Ok": {"content": [{"type": "text", "text": "fine"}]}}),
        event("agent_message", 7, message="done"),
        event("token_count", 8, info={"total_token_usage": {"input_tokens": 9, "output_tokens": 3}}),
        event("task_complete", 9, last_agent_message="done"),
    ]  # fmt: skip
    events = transcript_events("codex", lines)
    assert kinds(events) == [
        "started", "prompt_sent", "thinking", "tool_call", "bash_command", "tool_result", "bash_output",
        "tool_call", "tool_result", "file_write", "tool_call", "tool_result", "response_complete", "usage", "completed",
    ]  # fmt: skip
    results = [(e["tool"], e["duration_ms"]) for e in events if e["type"] == "tool_result"]
    assert results[0] == ("command_execution", 1500)
    assert [(e["lines_added"], e["lines_removed"], e["kind"]) for e in events if e["type"] == "file_write"] == [
        (1, 1, "update")
    ]
    assert [e["result"] for e in events if e["type"] == "tool_result"][-1] == "fine"
    assert [e["tool"] for e in events if e["type"] == "tool_call"][-1] == "mcp__x__y"


def test_a_message_that_a_version_writes_twice_is_reported_once() -> None:
    item = {"type": "AgentMessage", "id": "m", "content": [{"type": "Text", "text": "done"}]}
    lines = [meta(), event("item_completed", 1, item=item), event("agent_message", 2, message="done")]
    assert kinds(transcript_events("codex", lines)) == ["started", "response_complete"]


def test_usage_is_what_was_added_since_the_last_count() -> None:
    counts = [(10, 1), (10, 1), (25, 4), (6, 2)]  # the last count was restarted
    lines = [
        event("token_count", n, info={
            "total_token_usage": {"input_tokens": i, "output_tokens": o},
            "last_token_usage": {"input_tokens": 6, "output_tokens": 2},
        })
        for n, (i, o) in enumerate(counts)
    ]  # fmt: skip
    usage = [
        e["usage"]
        for e in transcript_events("codex", [meta(), *lines, event("token_count", 9, info=None)])
        if "usage" in e
    ]
    assert [(one["input_tokens"], one["output_tokens"]) for one in usage] == [(10, 1), (15, 3), (6, 2)]


def test_lines_copied_from_the_forked_thread_are_not_reported() -> None:
    item = {"type": "AgentMessage", "id": "m", "content": [{"type": "Text", "text": "old"}]}
    lines = [meta("t2", forked_from_id="t1"), meta("t1"), event("item_completed", 1, thread_id="t1", item=item)]
    events = transcript_events("codex", lines)
    assert kinds(events) == ["started"]
    assert (events[0]["session_id"], events[0]["forked_from"]) == ("t2", "t1")


def test_an_aborted_turn_is_cancelled_and_a_failed_one_has_its_error() -> None:
    assert (
        transcript_events("codex", [meta(), event("task_started"), event("turn_aborted", 1)])[-1]["status"]
        == "cancelled"
    )
    failed = transcript_events(
        "codex", [meta(), event("task_started"), event("task_complete", 1, error={"message": "no key"})]
    )
    assert [(e["type"], e.get("error"), e.get("status")) for e in failed[1:]] == [
        ("error", "no key", None), ("completed", None, "failed"),
    ]  # fmt: skip


def test_new_kinds_of_codex_are_unknown_and_its_raw_items_have_no_events() -> None:
    lines: list[dict[str, Any]] = [
        {"type": "response_item", "timestamp": AT, "payload": {"type": "message"}},
        {"payload": {}, "type": "response_item"},
        {"type": "world_state", "timestamp": AT, "payload": {}},
        event("telepathy", 1),
        event("item_completed", 2, item={"type": "Telepathy", "id": "i"}),
        {"type": "telepathy", "timestamp": AT},
    ]
    assert kinds(transcript_events("codex", lines)) == ["unknown"] * 3


@pytest.mark.parametrize("time", [None, "", "yesterday", "9999-12-31T23:59:59-23:00", "2026-13-01T00:00:00Z"])
def test_an_invalid_time_is_not_parsed(time: str | None) -> None:
    assert parse_time(time) is None
