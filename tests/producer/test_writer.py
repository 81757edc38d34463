from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from support.broker_checker import completeness_problems
from support.waiting import wait_until
from workcast.broker.below import OddFileError
from workcast.broker.connection import connect
from workcast.broker.errors import BrokerError, LogLockedError, SettingError
from workcast.broker.files import lock_file
from workcast.broker.log import natural_epoch
from workcast.broker.root import Root
from workcast.events.errors import EventError
from workcast.events.models import ResponseChunk
from workcast.producer import TelemetryWriter, read_telemetry_events


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def test_the_earlier_systems_usage_works_with_one_changed_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with TelemetryWriter(Path("telemetry.jsonl")) as writer:
        writer.started(toolchain="claude", model="sonnet", issue_id="1", workcell_id="wc-1")
        writer.prompt_sent(prompt="Write a test", tokens=10)
        writer.response_chunk("Creating test...")
        writer.completed(status="success", exit_code=0, duration_ms=1000)
    events = read_telemetry_events(Path("telemetry.jsonl"))
    assert [event["type"] for event in events] == ["started", "prompt_sent", "response_chunk", "completed"]
    context = {"toolchain": "claude", "model": "sonnet", "issue_id": "1", "workcell_id": "wc-1"}
    for event in events:
        assert context.items() <= event.items()
        assert event["timestamp"].endswith("Z")
    assert events[1] | {"prompt": "Write a test", "tokens": 10} == events[1]
    assert events[2] | {"content": "Creating test...", "role": "assistant"} == events[2]
    assert events[3] | {"status": "success", "exit_code": 0, "duration_ms": 1000} == events[3]


def test_each_method_takes_the_earlier_systems_parameters_in_its_order_and_extra_fields(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with TelemetryWriter(path) as writer:
        writer.started("codex", "gpt", "7", cwd="/w", colour="red")
        writer.prompt_sent("p", 3, colour="red")
        writer.response_chunk("c", "user", colour="red")
        writer.response_complete("c", "assistant", 5, colour="red")
        writer.tool_call("Bash", {"command": "ls"}, call_id="c1", colour="red")
        writer.tool_result("Bash", {"x": [None]}, "bad", call_id="c1", colour="red")
        writer.file_read("a.py", colour="red")
        writer.file_write("b.py", lines_added=3, colour="red")
        writer.bash_command("ls", colour="red")
        writer.bash_output("a", 1, colour="red")
        writer.thinking("t", partial=True, colour="red")
        writer.error("e", retryable=True, colour="red")
        writer.completed("failed", 1, 20, cost_usd=0.5, colour="red")
        writer.emit("anything", {"deep": {"a": [1]}, "colour": "red"})
    events = read_telemetry_events(path)
    assert all(event.pop("colour") == "red" for event in events)
    for event in events:
        for key in ("timestamp", "toolchain", "model", "issue_id"):
            del event[key]
    assert events == [
        {"type": "started", "cwd": "/w"},
        {"type": "prompt_sent", "prompt": "p", "tokens": 3},
        {"type": "response_chunk", "content": "c", "role": "user"},
        {"type": "response_complete", "content": "c", "role": "assistant", "tokens": 5},
        {"type": "tool_call", "tool": "Bash", "args": {"command": "ls"}, "call_id": "c1"},
        {"type": "tool_result", "tool": "Bash", "result": {"x": [None]}, "error": "bad", "call_id": "c1"},
        {"type": "file_read", "path": "a.py"},
        {"type": "file_write", "path": "b.py", "lines_added": 3},
        {"type": "bash_command", "command": "ls"},
        {"type": "bash_output", "output": "a", "exit_code": 1},
        {"type": "thinking", "content": "t", "partial": True},
        {"type": "error", "error": "e", "retryable": True},
        {"type": "completed", "status": "failed", "exit_code": 1, "duration_ms": 20, "cost_usd": 0.5},
        {"type": "anything", "deep": {"a": [1]}},
    ]


def test_values_with_a_clear_meaning_are_converted_as_in_the_earlier_system(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with TelemetryWriter(path, {"workcell_id": 7}) as writer:  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
        writer.started("claude", issue_id=12, cwd=Path("/w"))
        writer.prompt_sent("p", tokens=5.5)
        writer.tool_result("Bash", None)
        writer.tool_result("Bash", "r", error=ValueError("x"))
        writer.error(KeyError())
        writer.error(ValueError("x"))
        writer.file_read(Path("a.py"))
        writer.bash_output(b"\xffa", 0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        writer.completed("success", duration_ms=12.7)
    events = read_telemetry_events(path)
    for event in events:
        assert (event.pop("workcell_id"), event.pop("issue_id"), event.pop("toolchain")) == ("7", "12", "claude")
        del event["timestamp"]
    assert events == [
        {"type": "started", "cwd": "/w"},
        {"type": "prompt_sent", "prompt": "p", "tokens": 6},
        {"type": "tool_result", "tool": "Bash", "result": None},
        {"type": "tool_result", "tool": "Bash", "result": "r", "error": "x"},
        {"type": "error", "error": "KeyError"},
        {"type": "error", "error": "x"},
        {"type": "file_read", "path": "a.py"},
        {"type": "bash_output", "output": "\ufffda", "exit_code": 0},
        {"type": "completed", "status": "success", "exit_code": None, "duration_ms": 13},
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "soon", [1]])
def test_a_number_that_is_not_finite_is_refused(tmp_path: Path, value: Any) -> None:
    with TelemetryWriter(tmp_path / "log") as writer, pytest.raises(EventError, match="duration_ms"):
        writer.completed("success", duration_ms=value)
    assert not (tmp_path / "log").exists()


def test_lines_beyond_the_limit_are_not_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"type":"a"}\n{"type":"b"}\nrubbish\n')
    assert [event["type"] for event in read_telemetry_events(path, limit=2)] == ["a", "b"]
    assert caplog.records == []


def test_a_log_is_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"type":"a"}\n')
    (tmp_path / "link").symlink_to(tmp_path / "log")
    assert len(read_telemetry_events(tmp_path / "link")) == 1


def test_the_context_fills_in_only_the_fields_that_an_event_lacks(tmp_path: Path) -> None:
    with TelemetryWriter(tmp_path / "log", {"workcell_id": "wc", "model": "a", "issue_id": None}) as writer:
        writer.write(ResponseChunk(content="x", model="b"))
        writer.emit("error", {"error": "e"})
    first, second = read_telemetry_events(tmp_path / "log")
    assert (first["workcell_id"], first["model"]) == ("wc", "b")
    assert (second["workcell_id"], second["model"]) == ("wc", "a")
    assert "issue_id" not in first


def test_an_event_that_fits_no_model_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with TelemetryWriter(tmp_path / "log") as writer:
        with pytest.raises(EventError, match="expected a valid 'completed' event"):
            writer.completed("splendid")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        with pytest.raises(EventError):
            writer.emit("tool_call", {"tool": 7})
    assert not (tmp_path / "log").exists()


def test_threads_write_whole_events(tmp_path: Path) -> None:
    with TelemetryWriter(tmp_path / "log") as writer:

        def work(name: str) -> None:
            for number in range(100):
                writer.response_chunk(f"{name}{number}")

        threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    contents = [event["content"] for event in read_telemetry_events(tmp_path / "log")]
    assert [text for text in contents if text[0] == "b"] == [f"b{number}" for number in range(100)]
    assert len(contents) == 300


def test_a_writer_that_was_closed_writes_again(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path / "new" / "dir" / "log")
    writer.error("one")
    writer.close()
    writer.error("two")
    writer.close()
    assert len(lines_of(tmp_path / "new" / "dir" / "log")) == 2


def test_every_emit_that_had_returned_is_in_the_log_after_200_kills(tmp_path: Path) -> None:
    path = tmp_path / "log"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "support.kill_points", str(path), "200", "1"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    returned: list[int] = json.loads(done.stdout)
    found: dict[int, list[int]] = {}
    for event in read_telemetry_events(path):
        found.setdefault(event["writer"], []).append(event["number"])
    for writer, count in enumerate(returned):
        assert found[writer][:count] == list(range(count))
        assert len(found[writer]) <= count + 1  # the one whose emit was cut short may be there too


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_missing_file_has_no_events(tmp_path: Path) -> None:
    assert read_telemetry_events(tmp_path / "none") == []


def test_a_malformed_line_is_skipped_with_a_warning_and_offsets_count_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"type":"a"}\nrubbish\n{"type":"b","old":"field"}\n[]\n{"type":"c"}\n{"type":"torn"')
    with caplog.at_level(logging.WARNING):
        assert [event["type"] for event in read_telemetry_events(path)] == ["a", "b", "c"]
    assert "offset 1 is not an event" in caplog.text
    assert "offset 3 is not an event" in caplog.text
    assert [event["type"] for event in read_telemetry_events(path, offset=2)] == ["b", "c"]
    assert [event["type"] for event in read_telemetry_events(path, 0, 2)] == ["a", "b"]
    assert read_telemetry_events(path, 2, 1) == [{"type": "b", "old": "field"}]
    assert read_telemetry_events(path, offset=99) == []


def test_a_log_of_the_earlier_system_reads_without_loss(tmp_path: Path) -> None:
    old = {"type": "tool_result", "timestamp": "2025-01-01T00:00:00.123456", "tool": "Bash", "result": "x", "n": None}
    (tmp_path / "log").write_text(json.dumps(old) + "\n")
    assert read_telemetry_events(tmp_path / "log") == [old]


# ── relaying ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def relayed(client: Any, path: Path, workcell: str) -> bool:
    lines = lines_of(path)
    return not completeness_problems(client, workcell, natural_epoch(lines[0]), lines)


def test_with_a_redis_url_a_writer_relays_its_own_log(
    root: Root, redis_url: str, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKCAST_REDIS_URL", redis_url)
    with TelemetryWriter(root.log("wc")) as writer:
        writer.started("claude", "opus", "1")
        wait_until(lambda: relayed(redis_client, root.log("wc"), "wc"))
        for number in range(2000):
            writer.response_chunk(str(number))
    assert relayed(redis_client, root.log("wc"), "wc")  # closing waits for the last ones


def test_a_log_outside_of_any_root_is_relayed_under_its_contexts_id(
    tmp_path: Path, redis_url: str, redis_client: Any
) -> None:
    with TelemetryWriter(tmp_path / "telemetry.jsonl", redis_url=redis_url) as writer:
        writer.started("claude", "opus", "1", workcell_id="wc-9")
        wait_until(lambda: relayed(redis_client, tmp_path / "telemetry.jsonl", "wc-9"))


def test_a_log_without_any_id_is_written_and_the_missing_relay_is_reported(
    tmp_path: Path, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with TelemetryWriter(tmp_path / "telemetry.jsonl", redis_url=redis_url) as writer:
        writer.started("claude")
        writer.error("e")
    assert len(lines_of(tmp_path / "telemetry.jsonl")) == 2
    assert caplog.text.count("not relayed: expected a workcell_id") == 1


def test_an_unreachable_server_does_not_stop_a_writer(root: Root, caplog: pytest.LogCaptureFixture) -> None:
    with TelemetryWriter(root.log("wc"), redis_url="redis://:secret@127.0.0.1:1/0") as writer:
        for number in range(50):
            writer.response_chunk(str(number))
        wait_until(lambda: "cannot reach Redis at redis://:***@127.0.0.1:1/0" in caplog.text)
    assert len(lines_of(root.log("wc"))) == 50


def test_a_url_that_can_never_work_is_refused_at_once(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1", "redis://127.0.0.1:1?nonsense=1"):
        with pytest.raises(BrokerError, match="expected a Redis URL"):
            TelemetryWriter(tmp_path / "log", redis_url=url)


def test_events_from_before_the_server_started_are_published_later(
    root: Root, redis_url: str, redis_client: Any
) -> None:
    with TelemetryWriter(root.log("wc")) as writer:
        writer.error("before")
    with TelemetryWriter(root.log("wc"), redis_url=redis_url) as writer:
        writer.error("after")
    assert relayed(redis_client, root.log("wc"), "wc")
    client: Any = connect(redis_url)
    assert client.xlen("workcast:{0}:stream:wc") == 2
    client.close()


# ── mirroring ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_mirror_gets_chosen_events_under_its_prefix_with_long_strings_cut(tmp_path: Path) -> None:
    with TelemetryWriter(
        tmp_path / "log",
        {"workcell_id": "wc", "issue_id": "1"},
        mirror_path=tmp_path / "events" / "mirror.jsonl",
        mirror_event_types={"tool_call", "error"},
        mirror_prefix="agent",
        mirror_max_chars=5,
    ) as writer:
        writer.response_chunk("not this one")
        writer.tool_call("Bash", {"command": "éééééé", "list": ["abcdef", "abc"]})
        writer.error("short")
    mirrored = [json.loads(line) for line in lines_of(tmp_path / "events" / "mirror.jsonl")]
    stamps = [event.pop("timestamp") for event in mirrored]
    assert stamps == [event["timestamp"] for event in read_telemetry_events(tmp_path / "log", 1)]
    assert mirrored == [
        {
            "type": "agent.tool_call", "issue_id": "1", "workcell_id": "wc",
            "data": {"tool": "Bash", "args": {"command": "ééééé…", "list": ["abcde…", "abc"]}},
        },
        {"type": "agent.error", "issue_id": "1", "workcell_id": "wc", "data": {"error": "short"}},
    ]  # fmt: skip


def test_a_mirror_gets_all_events_by_default(tmp_path: Path) -> None:
    with TelemetryWriter(tmp_path / "log", mirror_path=tmp_path / "mirror") as writer:
        writer.response_chunk("x" * 3000)
    (event,) = (json.loads(line) for line in lines_of(tmp_path / "mirror"))
    assert event["type"] == "telemetry.response_chunk"
    assert event["data"]["content"] == "x" * 2000 + "…"
    assert event["issue_id"] is None


def test_a_mirror_that_cannot_be_written_is_reported_and_costs_no_event(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mirror").mkdir()
    with TelemetryWriter(tmp_path / "log", mirror_path=tmp_path / "mirror") as writer:
        writer.error("one")
        writer.error("two")
    assert len(lines_of(tmp_path / "log")) == 2
    assert caplog.text.count("cannot write the mirror") == 1


# ── reading a log that is replaced ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("how", ["renamed into place", "truncated and written again"])
def test_a_log_that_is_replaced_while_it_is_read_is_never_mixed(tmp_path: Path, how: str) -> None:
    """Each version is read in several pieces; what is read of it is how it began, up to where it was replaced."""
    path, other, stop = tmp_path / "log", tmp_path / "other", threading.Event()
    pad = "." * 60

    def write(version: int) -> None:
        target = other if how == "renamed into place" else path
        lines = (f'{{"type":"x","version":{version},"number":{n},"pad":"{pad}"}}\n' for n in range(5000 + version % 7))
        target.write_text("".join(lines))
        if target is other:
            other.rename(path)

    def replace() -> None:
        version = 1
        while not stop.wait(0.003):  # about as long as a read of it all, so that some are whole and some are not
            write(version)
            version += 1

    write(0)
    replacing = threading.Thread(target=replace)
    replacing.start()
    whole, versions = 0, set[int]()
    try:
        for _ in range(100_000):
            events = read_telemetry_events(path)
            assert [event["number"] for event in events] == list(range(len(events)))
            assert len({event["version"] for event in events}) <= 1
            versions.update(event["version"] for event in events[:1])
            whole += len(events) >= 5000
            if whole >= 5 and len(versions) >= 20:
                break
    finally:
        stop.set()
        replacing.join()
    assert len(versions) >= 20


# ── the log's lock ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_emit_waits_for_the_logs_lock_for_the_given_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKCAST_LOCK_TIMEOUT", "0.05")
    log = tmp_path / "log"
    with lock_file(log):
        with TelemetryWriter(log) as writer, pytest.raises(LogLockedError, match=r"within 0\.05 s"):
            writer.thinking("lost")
        with TelemetryWriter(log, lock_timeout=0) as writer, pytest.raises(LogLockedError, match="within 0 s"):
            writer.thinking("lost")
    with TelemetryWriter(log) as writer:
        writer.thinking("kept")
    assert [event["content"] for event in read_telemetry_events(log)] == ["kept"]


def test_a_mirror_that_is_locked_costs_an_event_only_its_mirrored_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log, mirror = tmp_path / "log", tmp_path / "mirror"
    with lock_file(mirror), TelemetryWriter(log, mirror_path=mirror, lock_timeout=0) as writer:
        for _ in range(2):
            writer.thinking("kept")
    assert len(read_telemetry_events(log)) == 2
    assert caplog.text.count("cannot write the mirror") == 1


def test_a_malformed_lock_timeout_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKCAST_LOCK_TIMEOUT", "soon")
    with pytest.raises(SettingError, match="WORKCAST_LOCK_TIMEOUT"):
        TelemetryWriter(tmp_path / "cell" / "log")
    assert list(tmp_path.iterdir()) == []


def test_a_writer_without_a_relay_only_writes(
    root: Root, redis_url: str, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKCAST_REDIS_URL", redis_url)
    before = set(threading.enumerate())
    with TelemetryWriter(root.log("wc"), {"workcell_id": "wc"}, relay=False) as writer:
        writer.thinking("only written")
        assert set(threading.enumerate()) <= before
        writer.close()
        writer.thinking("and again")
        assert set(threading.enumerate()) <= before
    assert redis_client.keys("workcast:*") == []
    assert len(read_telemetry_events(root.log("wc"))) == 2


def test_a_writer_that_counts_reports_what_it_could_not_write(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.mkdir()
    with TelemetryWriter(path, on_error="count", relay=False) as writer:
        for _ in range(3):
            writer.thinking("lost")
        path.rmdir()
        writer.thinking("written")
        assert writer.unwritten == 3
    report, written = read_telemetry_events(path)
    assert (report["kind"], written["content"]) == ("unwritten", "written")
    assert (
        report["error"]
        == "events that could not be written here: 3 (expected a regular file, got a directory; remove it)"
    )
    path.unlink()
    path.mkdir()
    with TelemetryWriter(path, relay=False) as writer, pytest.raises(OddFileError, match="got a directory"):
        writer.thinking("raised")
