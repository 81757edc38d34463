"""Collections that remember recent keys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workcast.producer.recent import RecentMap, RecentSet


@given(st.lists(st.integers(0, 30)), st.integers(1, 8))
def test_a_set_remembers_the_last_members_and_at_most_twice_as_many(added: list[int], remembered: int) -> None:
    members: RecentSet[int] = RecentSet(remembered)
    for member in added:
        members.add(member)
    assert all(member in members for member in added[-remembered:])
    assert sum(member in members for member in range(31)) <= 2 * remembered


@given(st.lists(st.tuples(st.integers(0, 30), st.integers())), st.integers(1, 8))
def test_a_map_keeps_the_last_values_and_at_most_twice_as_many(added: list[tuple[int, int]], remembered: int) -> None:
    values: RecentMap[int, int] = RecentMap(remembered)
    for key, value in added:
        values[key] = value
    last = dict(added[-remembered:])
    assert {key: values.get(key) for key in last} == last
    assert sum(key in values for key in range(31)) <= 2 * remembered


@given(st.lists(st.integers(0, 5)), st.integers(0, 5))
def test_a_removed_key_is_gone(added: list[int], removed: int) -> None:
    values: RecentMap[int, int] = RecentMap(2)
    for key in added:
        values[key] = key
    values.pop(removed)
    assert removed not in values
    assert values.get(removed) is None


def test_a_member_that_was_never_added_is_not_remembered() -> None:
    members: RecentSet[str] = RecentSet(2)
    members.add("one")
    assert "two" not in members
