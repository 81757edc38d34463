"""A set that does not fill the memory behaves like any other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workcast.producer.transcripts.disk_set import DiskSet

steps = st.lists(st.tuples(st.booleans(), st.text(max_size=2) | st.sampled_from(["a", "b", "\ud800"])))


@given(steps, st.integers(0, 4))
def test_it_does_what_a_set_in_memory_does(steps: list[tuple[bool, str]], in_memory: int) -> None:
    expected: set[str] = set()
    members = DiskSet(in_memory)
    for is_added, member in steps:
        if is_added:
            assert members.add(member) == (member not in expected)
            expected.add(member)
        else:
            assert members.discard(member) == (member in expected)
            expected.discard(member)
        assert len(members) == len(expected)
        assert all(each in members for each in expected)


def test_many_members_stay_exact() -> None:
    members = DiskSet(in_memory=100)
    assert all(members.add(f"line {number}") for number in range(2_000))
    assert not any(members.add(f"line {number}") for number in range(2_000))
    assert "line 2000" not in members
