"""``workcast index``, the indexer of an ``up``, and ``workcast stats``, by real processes."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from support.indexed import heads, index_all, index_files, stats
from support.logs import event_line, write_log
from support.processes import PROGRAM, Program, Up, gone, refusal, served, workcast
from support.waiting import DEADLINE, wait_until
from workcast.broker.root import Root


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def run(agent: str, calls: int) -> list[bytes]:
    """A run of an agent, in ``calls`` + 3 lines."""
    return [
        line(type="started", toolchain=agent, timestamp="2026-11-22T08:00:00Z"),
        *(line(type="tool_call", tool="Bash", call_id=f"c{number}") for number in range(calls)),
        line(type="usage", message_id="m", usage={"input_tokens": 10, "output_tokens": 1}),
        line(type="completed", status="success", timestamp="2026-11-22T08:00:05Z"),
    ]


def indexers(up: Program) -> list[psutil.Process]:
    found = psutil.Process(up.pid).children()
    return [process for process in found if "index_beside" in " ".join(process.cmdline())]


def test_an_index_grows_with_its_logs_until_ctrl_c(root: Root) -> None:
    write_log(root, "wc", [event_line(1)])
    with Program("index", "--root", str(root.directory)) as index:
        wait_until(lambda: heads(root) == {"wc": 1}, what=index.err)
        write_log(root, "wc", [event_line(2)])
        write_log(root, "new", [event_line(1)])
        wait_until(lambda: heads(root) == {"wc": 2, "new": 1}, what=index.err)
        index.interrupt()
        assert index.wait() == 0
        assert index.err == ""


def test_a_second_indexer_says_so_and_takes_over_when_the_first_has_ended(root: Root) -> None:
    write_log(root, "wc", [event_line(1)])
    with Program("index", "--root", str(root.directory)) as first:
        wait_until(lambda: heads(root) == {"wc": 1}, what=first.err)
        with Program("index", "--root", str(root.directory)) as second:
            wait_until(lambda: "another process indexes" in second.err)
            first.process.kill()
            write_log(root, "wc", [event_line(2)])
            wait_until(lambda: heads(root) == {"wc": 2}, what=second.err)


def test_an_index_that_cannot_grow_is_reported_once_and_costs_no_answer(root: Root) -> None:
    cells = {f"wc{number}": 40 for number in range(60)}
    for cell, calls in cells.items():
        write_log(root, cell, run("claude", calls))
    limited = ("sh", "-c", 'ulimit -f 100; exec "$@"', "sh", PROGRAM)  # KiB or half, as on a full disk
    with Program("index", "--root", str(root.directory), program=limited) as index:
        wait_until(lambda: "cannot be written" in index.err)
        write_log(root, "new", run("claude", 2))
        page = stats(root, "agent")
        assert page.complete
        assert page.total.calls == sum(cells.values()) + 2
        wait_until(lambda: 0 < len(heads(root)) < len(cells))  # it has what there was room for
        index.interrupt()
        assert index.wait() == 0
        assert index.err.count("cannot be written") == 1
    index_all(root)
    assert heads(root) == {cell: calls + 3 for cell, calls in cells.items()} | {"new": 5}


def test_an_up_indexes_at_a_low_priority_and_starts_its_indexer_again(root: Root) -> None:
    with Up(root.directory) as up:
        write_log(root, "wc", [event_line(1)])
        wait_until(lambda: heads(root) == {"wc": 1}, what=up.err)
        (indexer,) = indexers(up)
        assert indexer.nice() == psutil.Process(up.pid).nice() + 10
        indexer.kill()
        wait_until(lambda: gone(indexer.pid))
        write_log(root, "wc", [event_line(2)])
        wait_until(lambda: heads(root) == {"wc": 2}, what=up.err)
        assert up.err.count("the indexer ended with exit code -9; it is started again") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_indexer_ends_with_its_up(root: Root, number: signal.Signals) -> None:
    with Up(root.directory) as up:
        (indexer,) = wait_until(lambda: indexers(up))
        up.process.send_signal(number)
        wait_until(lambda: gone(indexer.pid))


def test_an_up_without_an_index_answers_all_the_same(root: Root) -> None:
    write_log(root, "wc", run("claude", 3))
    with Up(root.directory, "--no-index") as up:
        answer = httpx.get(f"{up.url}/api/stats?by=tool", timeout=DEADLINE).json()
        assert [(row["key"], row["calls"]) for row in answer["rows"]] == [("Bash", 3)]
        assert indexers(up) == []
    assert index_files(root) == []


def test_the_metrics_say_how_far_the_index_is(root: Root) -> None:
    write_log(root, "wc", [event_line(number) for number in range(20)])
    with Up(root.directory) as up:
        up.show("wc", 20)

        def behind() -> list[str]:
            text = httpx.get(f"{up.url}/metrics", timeout=DEADLINE).text
            return [each for each in text.splitlines() if each.startswith("workcast_index_behind_events")]

        wait_until(lambda: behind() == ["workcast_index_behind_events 0.0"], what=str(behind()))


@pytest.mark.parametrize("by", ["files", "gateway"])
def test_stats_sum_up_by_what_runs_have_in_common(root: Root, by: str) -> None:
    lengths = {"a": 2, "b": 5, "c": 4}
    for cell, calls in lengths.items():
        write_log(root, cell, run("codex" if cell == "c" else "claude", calls))
    with served(root.directory, by, {cell: calls + 3 for cell, calls in lengths.items()}) as place:
        done = workcast("stats", "--by", "agent", "--root", str(place))
        rows = workcast("stats", "--by", "tool,workcell", "--root", str(place), "--json").stdout.splitlines()
    text = done.stdout.decode().splitlines()
    assert text[0].split()[:3] == ["AGENT", "RUNS", "FAILED"]
    assert [row.split()[:4] for row in text[1:3]] == [["claude", "2", "0", "7"], ["codex", "1", "0", "4"]]
    assert text[3].startswith("total: 3 runs, 0 failed, 11 calls, 33 tokens, ")
    head, *groups = map(json.loads, rows)
    assert (head["by"], head["total"]["calls"], head["complete"]) == (["tool", "workcell"], 11, True)
    assert {tuple(group["key"]): group["calls"] for group in groups} == {
        ("Bash", "a"): 2, ("Bash", "b"): 5, ("Bash", "c"): 4,
    }  # fmt: skip


def test_stats_count_runs_since_a_time(root: Root) -> None:
    write_log(root, "wc", run("claude", 1))
    assert b"total: 0 runs" in workcast("stats", "--since", "1s", "--root", str(root.directory)).stdout
    assert b"total: 1 runs" in workcast("stats", "--since", "99999d", "--root", str(root.directory)).stdout


@pytest.mark.parametrize("by", ["", "tol", "tool,path", "agent,model,day", "agent,agent"])
def test_a_key_that_there_is_not_is_refused(tmp_path: Path, by: str) -> None:
    message = refusal(workcast("stats", "--by", by, "--root", str(tmp_path)), 2)
    assert "expected by= " in message
