from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workcast.events.json_value import as_array, as_object
from workcast.items.rendered import rendered

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


CASES: list[tuple[Any, str]] = [
    ("a text\n", "a text\n"),
    (5, "5"),
    (None, "null"),
    ({}, "{}"),
    ([], "[]"),
    ({"a": True, "b": {"c": "x\ny"}}, "a: true\nb.c: x\ny"),
    (["p", ["q"], {}], "0: p\n1.0: q\n2: {}"),
    ({"": "x"}, "x"),
    ({"x": 1e400}, "x: Infinity"),
]


@pytest.mark.parametrize(("value", "expected"), CASES)
def test_each_value_is_a_line_with_its_keys(value: object, expected: str) -> None:
    assert rendered(value) == expected


def strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = list((as_object(value) or {}).values()) or as_array(value) or []
    return [text for item in inner for text in strings(item)]


@given(JSON)
def test_every_string_is_found(value: object) -> None:
    text = rendered(value)
    assert all(string in text for string in strings(value))


def test_paths_are_bounded() -> None:
    nested: object = ["x"] * 10_000
    for level in range(150):
        nested = {f"{level}" + "k" * 1000: nested}
    text = rendered(nested)
    assert text.count("x") == 10_000
    assert len(text) < 2 << 20
