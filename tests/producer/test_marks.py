from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workcast.producer.adapters.marks import Marks


@given(st.lists(st.integers(0, 30)), st.integers(1, 8))
def test_the_last_marks_are_remembered_and_no_more_than_twice_as_many(added: list[int], remembered: int) -> None:
    marks = Marks(remembered)
    for mark in added:
        marks.add(mark)
    assert all(mark in marks for mark in added[-remembered:])
    assert sum(mark in marks for mark in range(31)) <= 2 * remembered


def test_what_was_never_told_has_no_mark() -> None:
    marks = Marks(2)
    marks.add("one")
    assert "two" not in marks
