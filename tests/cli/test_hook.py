"""``workcast hook``: payloads of Claude Code's hooks become events of the session's workcell."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.processes import environment, workcast
from support.transcripts import FOLDER, SESSIONS, import_session, lines_of, logged, transcript_at
from workcast.broker.environment import Environment
from workcast.broker.names import LOG_FILE, SESSION_INDEX_SUFFIX, SESSION_LOCK_SUFFIX, state_file
from workcast.broker.root import Root
from workcast.cli.hook import MAX_BYTES as MAX_PAYLOAD
from workcast.cli.hook import read_payload
from workcast.events.codec import build
from workcast.events.wire import MAX_BYTES as WIRE_BYTES
from workcast.events.wire import wire
from workcast.producer.hooks.recorder import CATCH_UP_BYTES, HookError, record
from workcast.producer.session_index import MAX_BYTES, SessionIndex

PAYLOADS = [
    json.loads(line) for line in lines_of(FOLDER / "claude-2.1.330-basic-hooks.hooks.jsonl") if line.strip()
]  # fmt: skip
CELL = f"claude-{PAYLOADS[0]['session_id']}"


def hook(payload: object, *words: str, root: Root | None = None, **env: str) -> None:
    """Pass a payload to the hook, which must accept it."""
    given = {"WORKCAST_ROOT": str(root.directory)} if root is not None else {}
    done = workcast("hook", *words, stdin=json.dumps(payload).encode(), env={**given, **env})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def named(name: str, **more: Any) -> dict[str, Any]:
    """Return the first recorded payload of a kind, with some values replaced."""
    return {**next(one for one in PAYLOADS if one["hook_event_name"] == name), **more}


def test_a_sessions_hooks_become_its_prompts_and_calls_with_their_exact_times(root: Root) -> None:
    for payload in PAYLOADS:
        hook(payload, root=root)
    events = logged(root, CELL)
    assert [build(event).type for event in events] == [
        "started", "prompt_sent", "tool_call", "bash_command", "tool_result", "bash_output", "tool_call", "tool_result",
        "file_write", "tool_call", "tool_result", "completed",
    ]  # fmt: skip
    results = [event for event in events if event["type"] == "tool_result"]
    assert [(event["tool"], event["duration_ms"], event.get("exit_code")) for event in results] == [
        ("Bash", 71, 0), ("Write", 24, None), ("Read", 4, None),
    ]  # fmt: skip
    assert results[2]["error"].startswith("File does not exist.")
    assert events[8]["lines_added"] == 2
    assert (events[-1]["status"], events[-1]["inferred"]) == ("success", True)
    assert {event["workcell_id"] for event in events} == {CELL}


def test_the_same_payload_twice_is_recorded_once(root: Root) -> None:
    for payload in PAYLOADS:
        hook(payload, root=root)
        hook(payload, root=root)
    assert len(logged(root, CELL)) == 12


def test_a_result_without_its_call_records_both(root: Root) -> None:
    hook(named("PostToolUse"), root=root)
    assert [event["type"] for event in logged(root, CELL)] == [
        "started", "tool_call", "bash_command", "tool_result", "bash_output",
    ]  # fmt: skip


def test_a_failed_command_has_its_exit_code(root: Root) -> None:
    failed = named("PostToolUseFailure", tool_name="Bash", tool_input={"command": "x"}, error="Exit code 7\ntwo")
    hook(failed, root=root)
    output = logged(root, CELL)[-1]
    assert (output["type"], output["output"], output["exit_code"]) == ("bash_output", "two", 7)


def test_calls_that_end_at_once_are_all_recorded(root: Root) -> None:
    payloads = [named("PreToolUse", tool_use_id=f"c{number}") for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        for waiting in [pool.submit(hook, payload, root=root) for payload in payloads]:
            waiting.result()
    calls = [event["call_id"] for event in logged(root, CELL) if event["type"] == "tool_call"]
    assert sorted(calls) == sorted(f"c{number}" for number in range(12))
    assert [event["type"] for event in logged(root, CELL)].count("started") == 1


def test_the_root_is_the_nearest_above_the_sessions_directory(root: Root, tmp_path: Path) -> None:
    deep = tmp_path / "src" / "deep"
    deep.mkdir(parents=True)
    hook(named("UserPromptSubmit", cwd=str(deep)))
    assert [event["type"] for event in logged(root, CELL)] == ["started", "prompt_sent"]


def test_without_a_root_nothing_is_recorded(tmp_path: Path) -> None:
    hook(named("UserPromptSubmit", cwd=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_a_session_of_a_run_is_left_to_it(root: Root) -> None:
    hook(named("UserPromptSubmit"), root=root, WORKCAST_RUN="x")
    assert root.ids() == []


def test_beside_a_follower_the_ends_of_turns_are_left_to_it(root: Root) -> None:
    with (root.state / "watch-claude.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        hook(named("UserPromptSubmit"), root=root)
        hook(named("Stop"), root=root)
    assert [event["type"] for event in logged(root, CELL)] == ["started", "prompt_sent"]


def test_a_prompt_that_a_follower_wrote_in_other_words_is_not_recorded_again(root: Root) -> None:
    payload = named("UserPromptSubmit", prompt="/tour")
    written = {"type": "prompt_sent", "prompt": "<command-name>/tour</command-name>", "prompt_id": payload["prompt_id"]}
    line = {**written, "timestamp": datetime.now(UTC).isoformat(), "source": "a:0"}
    root.workcell(CELL).mkdir(parents=True)
    root.log(CELL).write_text(json.dumps(line, separators=(",", ":")) + "\n")
    hook(payload, root=root)
    assert len(logged(root, CELL)) == 1


def test_a_session_that_is_closed_within_a_turn_is_cancelled(root: Root) -> None:
    hook(named("UserPromptSubmit"), root=root)
    hook(named("SessionEnd"), root=root)
    assert [event.get("status") for event in logged(root, CELL)] == [None, None, "cancelled"]


def test_a_sub_agents_call_is_recorded_under_the_call_that_started_it(root: Root, tmp_path: Path) -> None:
    transcript = tmp_path / "config" / "s.jsonl"
    meta = tmp_path / "config" / "s" / "subagents" / "agent-a1.meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text('{"toolUseId":"parent"}')
    hook(named("PreToolUse", agent_id="a1", transcript_path=str(transcript)), root=root)
    assert logged(root, CELL)[1]["parent_call_id"] == "parent"


@pytest.mark.parametrize(
    ("stdin", "words", "message"),
    [
        (b"{", (), "expected a JSON object on stdin"),
        (b"[1]", (), "expected a JSON object on stdin"),
        (b"{}", (), "expected a session_id"),
        (b"{}", ("--bogus",), "expected no option but --root DIR"),
        (json.dumps(named("Stop")).encode(), ("--root", "/nonexistent"), "expected a directory as root"),
    ],
)
def test_an_error_is_reported_and_never_exits_with_the_code_that_forbids_the_call(
    stdin: bytes, words: tuple[str, ...], message: str
) -> None:
    done = workcast("hook", *words, stdin=stdin)
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.decode().startswith(f"workcast hook: {message}")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("name", ["SessionStart", "Notification", "SubagentStart", "PreCompact", "", None, 5])
def test_other_payloads_are_accepted_and_have_no_events_of_their_own(root: Root, name: object) -> None:
    hook({**PAYLOADS[0], "hook_event_name": name, "tool_response": [1], "tool_input": "x"}, root=root)
    assert [event["type"] for event in logged(root, CELL)] == (["started"] if name == "SessionStart" else [])


@pytest.mark.parametrize(
    "field", ["tool_input", "tool_response", "tool_use_id", "tool_name", "duration_ms", "prompt_id"]
)
@pytest.mark.parametrize(
    "value", [None, [], "x", {"stdout": 5, "file": 1, "structuredPatch": [1, {"lines": [2]}]}, 1e400]
)
def test_no_payload_breaks_it(root: Root, field: str, value: object) -> None:
    for name in ("PreToolUse", "PostToolUse", "PostToolUseFailure", "UserPromptSubmit", "Stop"):
        payload = {**PAYLOADS[3], **named(name), field: value}
        record(json.dumps(payload).encode(), str(root.directory), Environment())
    assert all(build(event) for event in logged(root, CELL))


def test_the_hook_has_help_like_every_verb() -> None:
    done = workcast("hook", "--help")
    assert done.returncode == 0
    assert b"--root" in done.stdout


# ── logs of any length ───────────────────────────────────────────────────────────────────────────────────────────────
FILLER = b'{"type":"response_complete","timestamp":"2026-11-22T08:00:00.000Z","content":"' + b"x" * 1000 + b'"}\n'
SESSION_LOG_BYTES = 64 << 20


def grow(root: Root, size: int, filler: bytes = FILLER) -> None:
    """Append to the session's log, as a follower of its transcript would."""
    with root.log(CELL).open("ab") as log:
        log.write(filler * (size // len(filler)))


READER = """
import re, sys
from pathlib import Path
from workcast.cli.hook import run
code = run([])
read = int(re.search(r"rchar: (\\d+)", Path("/proc/self/io").read_text())[1])
mapped = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
print(read + mapped, code)
"""


def bytes_used(root: Root, payload: dict[str, Any]) -> int:
    """Return how many bytes a hook reads or maps into memory."""
    done = subprocess.run(
        [sys.executable, "-c", READER],
        input=json.dumps(payload).encode(),
        env=environment(WORKCAST_ROOT=str(root.directory)),
        capture_output=True,
        check=True,
    )
    used, code = done.stdout.split()
    assert (code, done.stderr) == (b"0", b"")
    return int(used)


def hook_now(root: Root, payload: dict[str, Any]) -> None:
    """Run a hook in this process."""
    record(json.dumps(payload).encode(), str(root.directory), Environment())


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has /proc/self, which counts what a process has read and mapped"
)
@pytest.mark.parametrize("name", ["PreToolUse", "PostToolUse", "UserPromptSubmit", "SessionEnd"])
def test_a_hook_reads_no_more_of_a_long_log_than_of_a_short_one(root: Root, name: str) -> None:
    hook_now(root, named("UserPromptSubmit"))
    short = bytes_used(root, named(name, tool_use_id="a", prompt="a"))
    hook_now(root, named("UserPromptSubmit", prompt="b"))
    grow(root, SESSION_LOG_BYTES)
    hook_now(root, named("UserPromptSubmit", prompt="c"))
    assert bytes_used(root, named(name, tool_use_id="d", prompt="d")) - short < SESSION_LOG_BYTES / 16


def test_a_call_far_back_in_the_log_is_still_known_when_it_returns(root: Root) -> None:
    hook_now(root, named("PreToolUse"))
    grow(root, 3 * CATCH_UP_BYTES)
    hook_now(root, named("PostToolUse"))
    assert [event["type"] for event in logged(root, CELL) if event["type"].startswith("tool")] == [
        "tool_call", "tool_result",
    ]  # fmt: skip


def test_a_call_that_another_writer_appended_is_known(root: Root) -> None:
    hook_now(root, named("UserPromptSubmit"))
    call: dict[str, Any] = {
        "type": "tool_call",
        "tool": "Bash",
        "args": {},
        "call_id": named("PostToolUse")["tool_use_id"],
    }
    grow(root, CATCH_UP_BYTES // 2)
    grow(root, 200, json.dumps({**call, "timestamp": "2026-11-22T08:00:00Z", "source": "a:0"}).encode() + b"\n")
    calls = [event["type"] for event in logged(root, CELL)].count("tool_call")
    hook_now(root, named("PostToolUse"))
    assert [event["type"] for event in logged(root, CELL)].count("tool_call") == calls
    assert logged(root, CELL)[-2]["type"] == "tool_result"


def test_a_follower_keeps_the_index_of_hooks_up_to_date(root: Root) -> None:
    path = SESSIONS["claude-2.1.330-basic"][0]
    workcell = transcript_at(path).workcell
    session = {"session_id": workcell.removeprefix("claude-")}
    hook_now(root, {**named("SessionStart"), **session})
    events = import_session(root, path)
    with root.log(workcell).open("ab") as log:
        log.write(FILLER * (2 * CATCH_UP_BYTES // len(FILLER)))
    results = [event["call_id"] for event in events if event["type"] == "tool_result"]
    assert len(results) == 3
    before = root.log(workcell).stat().st_size
    for call_id in results:
        hook_now(root, {**named("PreToolUse", tool_use_id=call_id), **session})
        hook_now(root, {**named("PostToolUse", tool_use_id=call_id), **session})
    assert root.log(workcell).stat().st_size == before


def test_the_index_is_as_private_as_the_log(root: Root) -> None:
    for name in ("UserPromptSubmit", "PreToolUse"):  # created, then appended to
        hook_now(root, named(name))
        assert stat.S_IMODE(next(root.state.glob("*.session")).stat().st_mode) == 0o600


def test_a_line_that_is_nested_too_deeply_is_not_indexed(root: Root) -> None:
    hook_now(root, named("UserPromptSubmit"))
    grow(root, 200_000, b'{"type":"tool_call","args":' + b"[" * 100_000 + b"\n")
    hook_now(root, named("PreToolUse"))
    assert lines_of(root.log(CELL))[-2].startswith(b'{"type":"tool_call","timestamp"')


def test_a_log_that_was_removed_starts_again(root: Root) -> None:
    hook_now(root, named("PreToolUse"))
    root.log(CELL).unlink()
    hook_now(root, named("PreToolUse"))
    assert [event["type"] for event in logged(root, CELL)] == ["started", "tool_call", "bash_command"]


def test_a_call_that_was_pruned_from_the_log_is_still_known(root: Root) -> None:
    hook_now(root, named("PreToolUse"))
    log = root.log(CELL)
    log.with_suffix(".new").write_bytes(b'{"type":"log","epoch":7,"base":3}\n')
    log.with_suffix(".new").replace(log)
    hook_now(root, named("PostToolUse"))
    lines = [json.loads(line)["type"] for line in lines_of(log)]
    assert lines == ["log", "tool_result", "bash_output"]


def test_a_hook_that_finds_no_index_makes_one_of_the_end_of_the_log(root: Root) -> None:
    hook_now(root, named("PreToolUse"))
    for index in root.state.glob("*.session"):
        index.unlink()
    grow(root, CATCH_UP_BYTES // 2)
    hook_now(root, named("PreToolUse"))
    assert [event["type"] for event in logged(root, CELL)].count("tool_call") == 1


def test_the_index_stays_small_and_keeps_the_calls_that_have_not_returned(root: Root, tmp_path: Path) -> None:
    root.workcell(CELL).mkdir(parents=True)
    root.log(CELL).write_bytes(b"")
    path = tmp_path / "index"
    event = {"timestamp": "2026-11-22T08:00:00Z", "source": "hook"}
    index = SessionIndex(path, root.log(CELL))
    index.add([{"type": "prompt_sent", "prompt": "x", **event}, {"type": "tool_call", "call_id": "open", **event}])
    for number in range(40):
        ids = [f"toolu_{number}_{call}" for call in range(1000)]
        index.add({"type": kind, "call_id": one, **event} for one in ids for kind in ("tool_call", "tool_result"))
    again = SessionIndex(path, root.log(CELL))
    assert path.stat().st_size <= MAX_BYTES
    assert again.has_call("open")
    assert not again.has_result("open")
    assert again.has_result("toolu_39_999")
    assert not again.has_call("toolu_0_0")
    assert again.is_open


def test_an_index_stays_small_whatever_the_ids(root: Root, tmp_path: Path) -> None:
    root.workcell(CELL).mkdir(parents=True)
    root.log(CELL).write_bytes(b"")
    index = SessionIndex(tmp_path / "index", root.log(CELL))
    long = ["\ud800" * 1_000_000 + str(number) for number in range(20)]
    index.add({"type": "tool_call", "call_id": one} for one in long)
    index.add({"type": "tool_result", "call_id": one} for one in long[1:])
    index.add([{"type": "prompt_sent", "prompt": "x", "prompt_id": long[0], "timestamp": long[0], "source": long[0]}])
    index.add({"type": kind, "call_id": f"{n}"} for n in range(200_000) for kind in ("tool_call", "tool_result"))
    again = SessionIndex(tmp_path / "index", root.log(CELL))
    assert (tmp_path / "index").stat().st_size <= MAX_BYTES
    assert [again.has_call(long[0]), again.has_result(long[0])] == [True, False]
    assert again.has_result("199999")


def test_an_index_too_large_to_be_one_is_made_again(root: Root) -> None:
    hook_now(root, named("PreToolUse"))
    path = next(root.state.glob("*.session"))
    os.truncate(path, 1 << 30)
    hook_now(root, named("PreToolUse"))
    assert [event["type"] for event in logged(root, CELL)].count("tool_call") == 1
    assert path.stat().st_size < MAX_BYTES


@pytest.mark.parametrize("lost", [1, 2, 20, 75, 90, 110, 150, 300])
def test_a_torn_index_is_repaired(root: Root, lost: int) -> None:
    hook_now(root, named("UserPromptSubmit"))
    hook_now(root, named("PreToolUse"))
    path = next(root.state.glob("*.session"))
    path.write_bytes(path.read_bytes()[:-lost])
    for _ in range(2):
        hook_now(root, named("UserPromptSubmit"))
        hook_now(root, named("PreToolUse"))
        hook_now(root, named("PostToolUse"))
    assert [event["type"] for event in logged(root, CELL)] == [
        "started", "prompt_sent", "tool_call", "bash_command", "tool_result", "bash_output",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    ["@ 1;", "@ x 1 00;", "@ {inode} 0 00;", "@ {inode} 9 zz;", "@ {inode} -9 ;", "p 5", "p []", "p " + "[" * 9999],
)
def test_a_damaged_index_is_repaired(root: Root, line: str) -> None:
    hook_now(root, named("UserPromptSubmit"))
    hook_now(root, named("PreToolUse"))
    path = next(root.state.glob("*.session"))
    with path.open("a") as file:
        file.write(line.format(inode=root.log(CELL).stat().st_ino) + "\n")
    hook_now(root, named("UserPromptSubmit"))
    hook_now(root, named("PostToolUse"))
    assert [event["type"] for event in logged(root, CELL)] == [
        "started", "prompt_sent", "tool_call", "bash_command", "tool_result", "bash_output",
    ]  # fmt: skip


def test_a_hook_loads_neither_pydantic_nor_redis() -> None:
    code = "import sys; from workcast.cli.hook import run; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.split()
    assert "workcast.producer.hooks.recorder" in modules
    assert not {"pydantic", "redis", "msgspec", "asyncio", "typer", "hashlib"} & set(modules)


LIES: tuple[Any, ...] = (
    None,
    0,
    -1,
    1.5,
    2**53 - 1,
    10**30,
    True,
    "",
    "\0",
    "x" * 100_000,
    "/x" * 50_000,
    "\ud800",
    [],
    ["x"],
    {},
    {"a": 1},
)


@pytest.mark.parametrize(
    "kind", ["SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "PostToolUseFailure", "Stop"]
)
def test_whatever_a_payloads_values_are_it_is_recorded_or_refused_at_once(root: Root, kind: str) -> None:
    known = {
        "session_id": "s", "hook_event_name": kind, "cwd": str(root.directory), "transcript_path": "/x/y.jsonl",
        "agent_id": "a", "tool_use_id": "c", "tool_name": "Bash", "tool_input": {"command": "x"}, "prompt": "p",
        "tool_response": {"stdout": "x"}, "error": "e", "duration_ms": 1, "prompt_id": "q", "model": "m",
    }  # fmt: skip
    names = sorted(known)
    for number, (name, lie) in enumerate((name, lie) for name in names for lie in LIES):
        payload = {**known, "session_id": f"s{number}", name: lie}
        with suppress(HookError, OSError):
            record(json.dumps(payload).encode(), None, Environment())
    for cell in root.ids():
        for event in logged(root, cell):
            build(event)


def nested(text: str, levels: int) -> str:
    return "".join("[" if level % 2 else '{"k":' for level in range(levels)) + text + "".join(
        "]" if level % 2 else "}" for level in reversed(range(levels))
    )  # fmt: skip


LONG = "1" * 5000
LEAVES = [
    "null",
    "true",
    "0",
    "-1",
    "1.5",
    "1e999",
    "-1e999",
    "NaN",
    '"x"',
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    LONG,
    "-" + LONG,
]
VALUES = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.builds(nested, inner, st.integers(150, 300))
    ),
    max_leaves=5,
)


@given(VALUES, VALUES, st.sampled_from(["PreToolUse", "PostToolUse", "PostToolUseFailure"]))
def test_whatever_a_hook_records_is_on_the_wire_as_itself(given_input: str, response: str, kind: str) -> None:
    payload = (
        f'{{"session_id":"s","hook_event_name":"{kind}","tool_use_id":"c","tool_name":"Some",'
        f'"tool_input":{{"a":{given_input}}},"tool_response":{response},"error":{response}}}'
    )
    with tempfile.TemporaryDirectory() as directory:
        record(payload.encode(), directory, Environment())
        lines = Root(Path(directory)).log("claude-s").read_bytes().splitlines()
    assert len(lines) >= 2
    for line in lines:
        assert len(line) > WIRE_BYTES or wire(line) == line
        assert json.loads(wire(line))["type"] == json.loads(line)["type"] != "malformed"


def levels_of(value: Any) -> Iterator[Any]:
    """Yield what is nested in a value of :func:`nested`, down to the 7."""
    while value != 7:
        value = json.loads(value) if isinstance(value, str) else value
        value = value["k"] if "k" in value else value[0]
        yield value


@pytest.mark.parametrize("levels", [1, 150, 178, 190, 199, 200, 230, 256, 700])
def test_a_payload_of_any_depth_is_recorded_whole(root: Root, levels: int) -> None:
    payload = json.dumps(named("PreToolUse", tool_name="Some", tool_input={"a": 1}))
    record(payload.replace('{"a": 1}', f'{{"a": {nested("7", levels)}}}').encode(), str(root.directory), Environment())
    (call,) = (event for event in logged(root, CELL) if event["type"] == "tool_call")
    assert sum(1 for _ in levels_of(call["args"]["a"])) == levels
    for line in root.log(CELL).read_bytes().splitlines():
        assert wire(line) == line


def test_a_payload_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(HookError, match="expected a JSON object on stdin"):
        record(nested("7", 100_000).encode(), None, Environment())


def test_a_payload_that_is_too_large_is_refused() -> None:
    done = workcast("hook", stdin=b" " * (MAX_PAYLOAD + 1))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"workcast hook: expected a payload of at most 8 MiB on stdin, got more")


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_payload_that_does_not_end_is_refused(*, goes_on: bool) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with suppress(BrokenPipeError):
            while goes_on:
                os.write(writing, b" ")
        os.close(writing)

    writer = threading.Thread(target=write if goes_on else lambda: None)
    writer.start()
    try:
        with pytest.raises(HookError, match="expected the end of the payload on stdin within"):
            read_payload(reading, 0.2)
    finally:
        os.close(reading)
        writer.join()
    if not goes_on:
        os.close(writing)


@pytest.mark.parametrize("cwd", ["/x" * 50_000, "\0", ["x"], 1, {}])
def test_a_working_directory_that_cannot_be_one_is_refused(cwd: object) -> None:
    """The directories above one of 100 kB took 15 s."""
    with pytest.raises(HookError, match="expected a path as cwd"):
        record(json.dumps(named("PreToolUse", cwd=cwd)).encode(), None, Environment())


@pytest.mark.parametrize("place", ["metadata", "log", "index", "lock"])
def test_a_fifo_in_place_of_a_file_stops_no_hook(root: Root, tmp_path: Path, place: str) -> None:
    payload = named("PreToolUse", agent_id="a", transcript_path=str(tmp_path / "t.jsonl"))
    hook(payload, root=root)
    path = {
        "metadata": tmp_path / "t" / "subagents" / "agent-a.meta.json",
        "log": root.workcell(CELL) / LOG_FILE,
        "index": root.state / state_file(CELL, SESSION_INDEX_SUFFIX),
        "lock": root.state / state_file(CELL, SESSION_LOCK_SUFFIX),
    }[place]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    later = json.dumps({**payload, "tool_use_id": "later"}).encode()
    done = workcast("hook", stdin=later, env={"WORKCAST_ROOT": str(root.directory)})
    if place == "metadata":
        assert (done.returncode, done.stderr) == (0, b"")
        assert logged(root, CELL)[-1]["call_id"] == "later"
    else:
        assert done.returncode == 1
        assert done.stderr.startswith(b"workcast hook: cannot write the log:")
        assert b"Traceback" not in done.stderr
