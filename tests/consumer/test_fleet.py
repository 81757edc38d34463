from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workcast.consumer.fleet import Fleet

Summary = dict[str, Any]
SUMMARIES = st.fixed_dictionaries({"head": st.integers(0, 3), "status": st.sampled_from(["new", "running"])})
UPDATES = st.lists(
    st.tuples(st.dictionaries(st.sampled_from("abcd"), SUMMARIES, max_size=4), st.sets(st.sampled_from("abcd"))),
    max_size=8,
)


def with_ids(summaries: dict[str, Summary]) -> dict[str, Summary]:
    return {name: {"id": name, **summary} for name, summary in summaries.items()}


@given(updates=UPDATES, looks=st.sets(st.integers(0, 8)))
def test_changes_put_together_are_the_fleet_whenever_a_viewer_looks(
    updates: list[tuple[dict[str, Summary], set[str]]], looks: set[int]
) -> None:
    fleet = Fleet()
    seen: dict[str, Any] = {}
    shown: dict[str, Summary] = {}
    for number, (summaries, removed) in enumerate([*updates, ({}, set[str]())]):
        fleet.update(with_ids(summaries), removed)
        if number in looks or number == len(updates):
            changes, gone, _ = fleet.changes_since(seen)
            for name in gone:
                del shown[name]
            for change in changes:
                shown.setdefault(change["id"], {}).update(change)
            assert shown == {name: fleet.get(name) for name in fleet.ids()}
            assert fleet.changes_since(seen) == ([], [], False)


def test_a_new_viewer_gets_whole_summaries() -> None:
    fleet = Fleet()
    fleet.update({"a": {"id": "a", "head": 1, "counts": {"x": 1}}})
    assert fleet.changes_since({}) == ([{"id": "a", "head": 1, "counts": {"x": 1}}], [], False)


def test_a_change_is_the_id_and_the_top_level_fields_that_changed_whole() -> None:
    fleet = Fleet()
    seen: dict[str, Any] = {}
    fleet.update({"a": {"id": "a", "head": 1, "status": "new", "counts": {"x": 1, "y": 1}}})
    fleet.changes_since(seen)
    fleet.update({"a": {"id": "a", "head": 1, "status": "new", "counts": {"x": 2, "y": 1}}})
    assert fleet.changes_since(seen) == ([{"id": "a", "counts": {"x": 2, "y": 1}}], [], False)


@pytest.mark.parametrize(
    ("summaries", "removed", "woken"),
    [
        ({"a": {"id": "a", "head": 1}}, [], False),
        ({"a": {"id": "a", "head": 2}}, [], True),
        ({"b": {"id": "b"}}, [], True),
        ({"b": {"id": "b"}}, ["a"], True),
        ({}, ["a"], True),
        ({}, ["never-there"], False),
    ],
)
def test_listeners_are_woken_when_something_changed_and_only_then(
    summaries: dict[str, Summary], removed: list[str], *, woken: bool
) -> None:
    fleet = Fleet()
    fleet.update({"a": {"id": "a", "head": 1}})
    calls: list[int] = []

    def wake() -> None:
        calls.append(1)

    fleet.listen(wake)
    fleet.update(summaries, removed)
    assert bool(calls) == woken
    fleet.unlisten(wake)
    calls.clear()
    fleet.update({"c": {"id": "c"}})
    assert calls == []


@given(updates=UPDATES, limit=st.integers(1, 3))
def test_changes_that_are_asked_for_a_few_at_a_time_are_the_same(
    updates: list[tuple[dict[str, Summary], set[str]]], limit: int
) -> None:
    fleet = Fleet()
    seen: dict[str, Any] = {}
    shown: dict[str, Summary] = {}
    for summaries, removed in updates:
        fleet.update(with_ids(summaries), removed)
        changes = fleet.changes_since(seen, limit)
        asked = 1
        while True:
            assert len(changes.workcells) <= limit
            assert changes.more <= (len(changes.workcells) == limit)
            for name in changes.removed:
                del shown[name]
            for change in changes.workcells:
                shown.setdefault(change["id"], {}).update(change)
            if not changes.more:
                break
            changes = fleet.changes_since(seen, limit)
            asked += 1
        assert shown == {name: fleet.get(name) for name in fleet.ids()}
        assert asked <= 1 + len(fleet.ids()) // limit
