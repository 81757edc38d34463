from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from workcast.consumer import fleet as fleet_module
from workcast.consumer.fleet import Fleet, FleetCursor, FleetMessage
from workcast.ledger.summary import Summary

PAGE = 3
NAMES = st.sampled_from("abcdefgh")
SUMMARIES = st.builds(
    Summary,
    id=st.just(""),
    head=st.integers(0, 3),
    status=st.sampled_from(["new", "running"]),
    counts=st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 2)),
)


def _ignore() -> None:
    """A viewer that reads by itself."""


def named(summaries: dict[str, Summary]) -> dict[str, Summary]:
    return {name: summary.model_copy(update={"id": name}) for name, summary in summaries.items()}


class Shown:
    """What one viewer has been sent."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.cursor = fleet.open(_ignore)
        self.workcells: dict[str, dict[str, Any]] = {}

    def read(self) -> FleetMessage | None:
        message = self.fleet.read(self.cursor)
        if message is not None:
            content = json.loads(message.frame.payload)
            assert len(content["workcells"]) + len(content["removed"]) <= PAGE
            for change in content["workcells"]:
                self.workcells.setdefault(change["id"], {}).update(change)
            for workcell in content["removed"]:
                self.workcells.pop(workcell, None)
        return message

    def has_all(self) -> bool:
        return self.workcells == {s.id: json.loads(s.model_dump_json()) for s in self.fleet.summaries()}


class FleetMachine(RuleBasedStateMachine):
    """Any changes, and viewers that come, go, and read at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(fleet_module, "PAGE", PAGE)
        self.patch.setattr(fleet_module, "_COMPACT", 1)
        self.fleet = Fleet()
        self.viewers: list[Shown] = []

    def teardown(self) -> None:
        for viewer in self.viewers:
            while viewer.read() is not None:
                pass
            assert viewer.has_all()
        self.patch.undo()

    @rule(summaries=st.dictionaries(NAMES, SUMMARIES, max_size=8), removed=st.sets(NAMES, max_size=4))
    def change(self, summaries: dict[str, Summary], removed: set[str]) -> None:
        before = {s.id: s for s in self.fleet.summaries()}
        self.fleet.update(named(summaries), removed)
        expected = {name: s for name, s in {**before, **named(summaries)}.items() if name not in removed}
        assert {s.id: s for s in self.fleet.summaries()} == expected
        assert sorted(self.fleet.ids()) == sorted(expected)

    @rule()
    def enter(self) -> None:
        self.viewers.append(Shown(self.fleet))

    @rule(number=st.integers(0, 20))
    def leave(self, number: int) -> None:
        if self.viewers:
            self.fleet.close(self.viewers.pop(number % len(self.viewers)).cursor)

    @rule(number=st.integers(0, 20))
    def read_one_message(self, number: int) -> None:
        if self.viewers:
            self.viewers[number % len(self.viewers)].read()

    @rule(number=st.integers(0, 20))
    def read_everything(self, number: int) -> None:
        if self.viewers:
            viewer = self.viewers[number % len(self.viewers)]
            reads = 0
            while viewer.read() is not None:
                reads += 1
            assert reads <= 2 + 8 // PAGE
            assert viewer.has_all()
            assert not self.fleet.has_news(viewer.cursor)

    @invariant()
    def only_the_newest_change_of_each_workcell_is_kept(self) -> None:
        assert len(self.fleet._entries) <= 8
        versions = [entry.version for entry in self.fleet._entries.values()]
        assert versions == sorted(set(versions))


TestFleet = FleetMachine.TestCase
TestFleet.settings = settings(max_examples=100, stateful_step_count=30)


def content(message: FleetMessage | None) -> Any:
    assert message is not None
    return json.loads(message.frame.payload)


def caught_up(fleet: Fleet) -> FleetCursor:
    cursor = fleet.open(_ignore)
    while fleet.read(cursor) is not None:
        pass
    return cursor


def changed(names: Iterable[str], head: int) -> dict[str, Summary]:
    return {name: Summary(id=name, head=head) for name in names}


def test_a_new_viewer_gets_whole_summaries() -> None:
    fleet = Fleet()
    summary = Summary(id="a", head=1, counts={"x": 1}, cost_usd=float("inf"))
    fleet.update({"a": summary})
    assert content(fleet.read(fleet.open(_ignore))) == {
        "op": "fleet", "workcells": [{**summary.model_dump(mode="json"), "cost_usd": None}], "removed": [],
        "more": False,
    }  # fmt: skip


def test_a_change_is_the_id_and_the_top_level_fields_that_changed_whole() -> None:
    fleet = Fleet()
    fleet.update({"a": Summary(id="a", head=1, counts={"x": 1, "y": 1})})
    cursor = caught_up(fleet)
    fleet.update({"a": Summary(id="a", head=1, counts={"x": 2, "y": 1})})
    assert content(fleet.read(cursor))["workcells"] == [{"id": "a", "counts": {"x": 2, "y": 1}}]
    assert fleet.read(cursor) is None


def test_viewers_at_the_same_version_share_one_message_and_its_compressed_form() -> None:
    fleet = Fleet()
    names = [f"wc-{n}" for n in range(200)]
    fleet.update(changed(names, 0))
    first = [fleet.read(cursor) for cursor in [fleet.open(_ignore) for _ in range(3)]]
    assert first[0] is first[1] is first[2]
    cursors = [caught_up(fleet) for _ in range(300)]
    fleet.update(changed(names[:50], 1))
    messages = [fleet.read(cursor) for cursor in cursors]
    assert messages[0] is not None
    assert all(message is messages[0] for message in messages)
    frame = messages[0].frame
    assert frame.deflated is frame.deflated
    assert frame.deflated[0] == 0xC1
    raw = zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame.deflated[4:] + b"\0\0\xff\xff")
    assert raw == frame.payload
    assert len(json.loads(raw)["workcells"]) == 50


def test_a_viewer_that_reads_slowly_gets_all_changes_in_one_message() -> None:
    fleet = Fleet()
    fleet.update(changed("abc", 0))
    cursor = caught_up(fleet)
    for head in range(1, 100):
        fleet.update(changed("ab", head))
    assert [(w["id"], w["head"]) for w in content(fleet.read(cursor))["workcells"]] == [("a", 99), ("b", 99)]
    assert fleet.read(cursor) is None


def test_a_workcell_that_came_back_is_sent_whole_and_removed_for_viewers_of_its_first_life() -> None:
    fleet = Fleet()
    fleet.update(changed("a", 1))
    first, late = caught_up(fleet), caught_up(fleet)
    fleet.update({}, "a")
    fleet.update(changed("a", 1))
    assert content(fleet.read(first))["workcells"][0].keys() == Summary.model_fields.keys()
    fleet.update({}, "a")
    assert content(fleet.read(late))["removed"] == ["a"]


def test_messages_and_removed_workcells_do_not_accumulate() -> None:
    fleet = Fleet()
    fleet.update(changed("a", 0))
    frozen = caught_up(fleet)
    for number in range(5000):
        caught_up(fleet)
        fleet.update({"a": Summary(id="a", head=number), f"wc-{number}": Summary(id=f"wc-{number}")})
        fleet.update({}, [f"wc-{number}"])
        if number % 100 == 0:
            for cursor in tuple(fleet._cursors - {frozen}):
                fleet.close(cursor)
        assert len(fleet._entries) < 1 + 3 * 100
    old = [caught_up(fleet) for _ in range(3)]
    for head in range(200):
        fleet.update(changed("a", head))
        old.append(caught_up(fleet))
    fleet.update(changed("a", 1000))
    for cursor in old:
        fleet.read(cursor)
    assert len(fleet._messages) <= 64
    assert content(fleet.read(frozen))["removed"] == []


@pytest.mark.parametrize(
    ("summaries", "removed", "woken"),
    [
        (changed("a", 1), "", False),
        (changed("a", 2), "", True),
        (changed("b", 1), "", True),
        (changed("b", 1), "a", True),
        ({}, "a", True),
        ({}, ["never-there"], False),
    ],
)
def test_viewers_are_woken_when_something_changed_and_only_then(
    summaries: dict[str, Summary], removed: Iterable[str], *, woken: bool
) -> None:
    fleet = Fleet()
    fleet.update(changed("a", 1))
    calls: list[int] = []
    cursor = fleet.open(lambda: calls.append(1))
    fleet.update(summaries, removed)
    assert bool(calls) == woken
    fleet.close(cursor)
    calls.clear()
    fleet.update(changed("c", 1))
    assert calls == []
