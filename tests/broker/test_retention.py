"""Which workcells may go: the rules, and what a workcell's files say."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.logs import event_line, write_log
from workcast.broker import names
from workcast.broker.files import lock_file
from workcast.broker.retention import FAILED, QUIET_S, Rules, StoredWorkcell, choose, examine
from workcast.broker.root import Root
from workcast.events.timestamp import format_timestamp

NOW = 1_790_000_000.0
STORED = st.builds(
    StoredWorkcell,
    workcell=st.text("abc", min_size=1, max_size=4),
    status=st.sampled_from(["new", "running", "success", "failed", "timeout", "cancelled", "lost"]),
    ended=st.integers(0, 200).map(lambda ago: NOW - ago),
    size=st.integers(0, 100),
    is_held=st.booleans(),
    may_grow=st.booleans(),
)
RULES = st.builds(Rules, st.none() | st.integers(0, 250), st.none() | st.integers(0, 500), keep_failed=st.booleans())


@given(st.lists(STORED, unique_by=lambda one: one.workcell), RULES)
def test_the_rules_let_go_what_they_say_and_nothing_else(stored: list[StoredWorkcell], rules: Rules) -> None:
    going = choose(stored, rules, NOW)
    free = [one for one in stored if not one.is_held and not one.may_grow and one.size]
    free = [one for one in free if not (rules.keep_failed and one.status in FAILED)]
    assert set(going) <= set(free)
    assert going == sorted(going, key=lambda one: (one.ended, one.workcell))
    old = {one for one in free if rules.older_than is not None and NOW - one.ended > rules.older_than}
    assert old <= set(going)
    if rules.max_bytes is None:
        assert set(going) == old
        return
    left = sum(one.size for one in stored) - sum(one.size for one in going)
    assert left <= rules.max_bytes or set(going) == set(free)
    young = [one for one in going if one not in old]
    if young:  # the last of them was needed, and none is older than one that stays
        assert left + young[-1].size > rules.max_bytes
        assert all(one.ended >= young[-1].ended for one in free if one not in going)


def test_no_rule_lets_nothing_go() -> None:
    assert Rules().are_empty
    assert Rules(keep_failed=True).are_empty
    assert not Rules(older_than=0).are_empty
    assert not Rules(max_bytes=0).are_empty


def completed(status: str, at: float | str) -> bytes:
    timestamp = at if isinstance(at, str) else format_timestamp(datetime.fromtimestamp(at, UTC))
    return json.dumps({"type": "completed", "timestamp": timestamp, "status": status}).encode()


def usage(size: int) -> bytes:
    return json.dumps({"type": "usage", "timestamp": "2026-01-01T00:00:00.000Z", "raw": "x" * size}).encode()


ENDED = NOW - 500
WRITTEN = NOW - 100


@pytest.mark.parametrize(
    ("lines", "status", "ended", "may_grow"),
    [
        ([event_line(1), completed("success", ENDED)], "success", ENDED, False),
        ([event_line(1), completed("failed", ENDED), usage(9)], "failed", ENDED, False),
        ([completed("timeout", ENDED)], "timeout", ENDED, False),
        ([completed("success", ENDED), b'{"type":"started"}'], "running", WRITTEN, True),
        ([event_line(1)], "running", WRITTEN, True),
        ([completed("success", "2999-01-01T00:00:00Z")], "success", WRITTEN, False),
        ([completed("success", "a while ago")], "success", WRITTEN, False),
        ([completed("success", ENDED), *[usage(1000)] * 100], "success", ENDED, False),
        ([completed("success", ENDED), b"\xff{", b"[" * 10_000], "success", ENDED, False),
        ([completed("success", ENDED), usage(300_000)], "new", WRITTEN, True),
        ([], "new", WRITTEN, True),
    ],
)
def test_the_end_of_a_log_says_how_its_last_run_ended(
    root: Root, lines: list[bytes], status: str, ended: float, *, may_grow: bool
) -> None:
    path = write_log(root, "wc", lines)
    os.utime(path, (WRITTEN, WRITTEN))
    found = examine(root, "wc", NOW)
    assert (found.status, found.may_grow) == (status, may_grow)
    assert found.ended == pytest.approx(ended, abs=0.001)
    assert found.size == path.stat().st_size
    assert not found.is_held
    assert not examine(root, "wc", WRITTEN + QUIET_S + 1).may_grow


@pytest.mark.parametrize("lock", ["wc/run.lock", ".workcast/wc.telling"])
def test_a_lock_that_is_held_shows(root: Root, lock: str) -> None:
    write_log(root, "wc", [completed("success", ENDED)])
    with lock_file(root.workcells / lock):
        assert examine(root, "wc", NOW).is_held
    assert not examine(root, "wc", NOW).is_held


def test_a_run_whose_writer_is_gone_is_lost_and_may_go(root: Root) -> None:
    write_log(root, "wc", [event_line(1)])
    lock = root.workcell("wc") / names.RUN_LOCK_FILE
    lock.touch()
    os.utime(lock, (WRITTEN, WRITTEN))
    found = examine(root, "wc", NOW)
    assert (found.status, found.may_grow, found.is_held) == ("lost", False, False)


@pytest.mark.parametrize("kind", ["none", "directory", "fifo", "link", "missing"])
def test_what_is_no_log_is_new_and_as_old_as_its_directory(root: Root, kind: str, tmp_path: Any) -> None:
    if kind != "missing":
        root.workcell("wc").mkdir()
    path = root.log("wc")
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    found = examine(root, "wc", NOW)
    assert (found.status, found.size, found.may_grow) == ("new", 0, False)
