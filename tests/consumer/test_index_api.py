"""Figures and overviews over REST: real sockets, a real relay."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest

from support.gateway import Gateway, get, relayed_gateway
from support.indexed import index_all
from support.logs import write_log
from support.waiting import wait_until
from workcast.broker.root import Root
from workcast.consumer.protocol import Overview, StatsPage


def line(**event: Any) -> bytes:
    return json.dumps(event).encode()


def run(day: int, agent: str, model: str = "gpt-5.5", issue: str = "7") -> list[bytes]:
    """A run in nine lines, of which one is no event."""
    start, about = f"2026-11-{day:02d}T23:30", {"toolchain": agent, "model": model, "issue_id": issue}
    return [
        line(type="prompt_sent", prompt="x", timestamp=f"{start}:00Z", **about),
        line(type="started", timestamp=f"{start}:01Z", **about),
        line(type="tool_call", tool="Edit", call_id="c", timestamp=f"{start}:02Z", **about),
        line(type="file_write", path="a.py", lines_added=3, lines_removed=1, timestamp=f"{start}:02Z", **about),
        line(type="tool_result", call_id="c", result="x" * 40, error="no", timestamp=f"{start}:03.5Z", **about),
        line(type="usage", message_id="m", usage={"input_tokens": 90, "output_tokens": 9}, **about),
        b"no event",
        line(type="error", error="x", timestamp=f"{start}:04Z", **about),
        line(type="completed", status="failed", cost_usd=0.5, timestamp=f"{start}:05Z", **about),
    ]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    """A gateway of two workcells: three runs of claude, indexed as far as the first two, and one of codex."""
    root = Root(tmp_path_factory.mktemp("stats"))
    with relayed_gateway(root) as gateway:
        write_log(root, "one", [*run(20, "claude"), *run(21, "claude", "claude-opus-5-5")])
        index_all(root)
        write_log(root, "one", run(21, "claude", issue="8"))
        write_log(root, "two", run(22, "codex"))
        wait_until(lambda: get(gateway, "/api/workcells/one/events?limit=1").json().get("head") == 27)
        wait_until(lambda: get(gateway, "/api/workcells/two/events?limit=1").json().get("head") == 9)
        yield gateway


def stats(gateway: Gateway, query: str) -> StatsPage:
    answer = get(gateway, f"/api/stats?{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return StatsPage.model_validate_json(answer.content)


def runs(gateway: Gateway, query: str) -> dict[Any, int]:
    rows = stats(gateway, query).rows
    return {tuple(row.key) if isinstance(row.key, list) else row.key: row.runs for row in rows}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("by=agent", {"claude": 3, "codex": 1}),
        ("by=model", {"gpt-5.5": 3, "claude-opus-5-5": 1}),
        ("by=issue", {"7": 3, "8": 1}),
        ("by=status", {"failed": 4}),
        ("by=workcell", {"one": 3, "two": 1}),
        ("by=day", {"2026-11-20": 1, "2026-11-21": 2, "2026-11-22": 1}),
        ("by=day&tz=Europe/Berlin", {"2026-11-21": 1, "2026-11-22": 2, "2026-11-23": 1}),
        ("by=agent,day", {
            ("claude", "2026-11-20"): 1, ("claude", "2026-11-21"): 2, ("codex", "2026-11-22"): 1,
        }),
        ("by=tool", {"Edit": 4}),
        ("by=path,agent", {("a.py", "claude"): 3, ("a.py", "codex"): 1}),
        ("by=agent&from=2026-11-21&to=2026-11-22", {"claude": 2}),
        ("by=agent&from=2026-11-21T23:30:00Z", {"claude": 2, "codex": 1}),
        ("by=agent&from=2026-11-22&tz=Europe/Berlin", {"claude": 2, "codex": 1}),
        ("by=agent&q=agent:codex", {"codex": 1}),
        ("by=issue&q=-issue:8 in:one", {"7": 2}),
        ("by=agent&q=tokens:>100", {}),
        ("by=agent&q=until:2026-11-21", {"claude": 1}),
    ],
)  # fmt: skip
def test_runs_are_grouped_and_chosen(gateway: Gateway, query: str, expected: dict[Any, int]) -> None:
    assert runs(gateway, query) == expected


def test_a_row_has_the_figures_of_its_runs(gateway: Gateway) -> None:
    page = stats(gateway, "by=agent")
    assert (page.by, page.complete, page.missing, page.next) == (["agent"], True, 0, None)
    row = page.rows[0]
    assert row.usage is not None
    assert row.call_ms is not None
    assert (row.runs, row.failed_runs, row.events, row.calls, row.failed_calls, row.errors) == (3, 3, 27, 3, 3, 3)
    assert (row.usage.input_tokens, row.usage.output_tokens, row.cost_usd) == (270, 27, 1.5)
    assert (row.duration_ms, row.tools_ms, row.lines_added, row.lines_removed) == (15_000, 4500, 9, 3)
    assert (row.call_ms.sum, row.call_ms.max) == (4500, 1500)
    assert row.call_ms.p50 == row.call_ms.p95 == pytest.approx(1500, rel=0.02)
    assert (row.carried_tokens, row.changes) == (None, None)
    assert page.total.runs == 4


def test_a_tool_and_a_path_have_only_figures_of_their_own(gateway: Gateway) -> None:
    tool = stats(gateway, "by=tool").rows[0]
    assert (tool.calls, tool.failed_calls, tool.carried_tokens) == (4, 4, 40)
    assert (tool.usage, tool.cost_usd, tool.events, tool.lines_added) == (None, None, None, None)
    path = stats(gateway, "by=path").rows[0]
    assert (path.changes, path.lines_added, path.lines_removed) == (4, 12, 4)
    assert (path.usage, path.calls, path.call_ms) == (None, None, None)


def test_rows_come_in_pages(gateway: Gateway) -> None:
    first = stats(gateway, "by=day&limit=2")
    second = stats(gateway, f"by=day&limit=2&cursor={first.next}")
    assert [row.key for row in (*first.rows, *second.rows)] == ["2026-11-20", "2026-11-21", "2026-11-22"]
    assert second.next is None
    assert first.total == second.total


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("by=colour", "expected by= with one or two of tool, agent"),
        ("by=tool,path", "got both"),
        ("by=agent&from=yesterday", "expected from= with a day or a time"),
        ("by=agent&to=2026-13-01", "expected to= with a day or a time"),
        ("by=day&tz=Mars/Base", "expected tz= with a time zone"),
        ("by=day&tz=../../etc/passwd", "expected tz= with a time zone"),
        ("by=agent&cursor=x", "expected cursor= "),
        ("by=agent&q=status:", "expected a value after status:"),
        ("by=agent&q=word", "expected q= with fields of runs alone"),
        ("by=agent&q=path:x", "expected q= with fields of runs alone"),
        ("by=agent&q=is:failed", "expected q= with fields of runs alone"),
    ],
)
def test_a_malformed_request_for_stats_is_refused(gateway: Gateway, query: str, expected: str) -> None:
    answer = get(gateway, f"/api/stats?{query}")
    assert answer.status_code == 400
    assert expected in answer.json()["detail"]


def overview(gateway: Gateway, query: str) -> Overview:
    answer = get(gateway, f"/api/workcells/one/overview{query}")
    assert answer.status_code == 200, answer.text
    return Overview.model_validate_json(answer.content)


@pytest.mark.parametrize("by", ["offset", "time"])
@pytest.mark.parametrize("buckets", [1, 2, 7, 400])
def test_the_buckets_of_an_overview_sum_up_to_the_counts_of_the_summary(
    gateway: Gateway, by: str, buckets: int
) -> None:
    found = overview(gateway, f"?by={by}&buckets={buckets}")
    counts = get(gateway, "/api/workcells/one").json()["summary"]["counts"]
    assert len(found.buckets) <= buckets
    assert found.complete

    def total(name: str) -> int:
        return sum(getattr(bucket, name) for bucket in found.buckets)

    assert total("events") == sum(counts.values()) == found.head == 27
    assert total("prompts") == counts["prompt_sent"]
    assert total("calls") == counts["tool_call"]
    assert total("changes") == counts["file_write"]
    assert total("errors") == counts["error"]
    assert total("failed") == 3
    assert total("tokens") == 297


def test_an_overview_lies_along_offsets_or_times(gateway: Gateway) -> None:
    along = overview(gateway, "?buckets=9")
    assert (along.from_, along.to, along.width) == (0, 27, 3)
    assert [bucket.prompts for bucket in along.buckets] == [1, 0, 0] * 3
    in_time = overview(gateway, "?by=time&buckets=400")
    assert in_time.from_ is not None
    assert str(in_time.from_) <= "2026-11-20T23:30:00.000Z"
    assert str(in_time.to) > "2026-11-21T23:30:05.000Z"
    assert in_time.buckets[0].prompts == 1
    assert in_time.buckets[-1].events == 18


def test_there_is_no_overview_of_an_unknown_workcell(gateway: Gateway) -> None:
    assert get(gateway, "/api/workcells/nothing/overview").status_code == 404
