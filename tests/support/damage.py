"""Damage to a recorded line, for hypothesis: a changed JSON value, or replaced bytes."""

from __future__ import annotations

import json
from typing import Any, Final

from hypothesis import strategies as st

from workcast.producer.fields import as_list, as_object

JSON_VALUES: Final[st.SearchStrategy[Any]] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def paths_in(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the paths of a JSON value and of all values inside it."""
    keys: list[str | int] = [*as_object(value), *range(len(as_list(value)))]
    return [path, *(found for key in keys for found in paths_in(value[key], (*path, key)))]


@st.composite
def changed(draw: st.DrawFn, raw: bytes) -> Any:
    """The JSON value of a line, in which one value was replaced by any other, or removed."""
    value: Any = json.loads(raw)
    *where, last = draw(st.sampled_from(paths_in(value)[1:]))
    target = value
    for key in where:
        target = target[key]
    if draw(st.booleans()):
        target[last] = draw(JSON_VALUES)
    else:
        del target[last]
    return value


@st.composite
def damaged(draw: st.DrawFn, raw: bytes) -> bytes:
    """A line in which some bytes were replaced."""
    start = draw(st.integers(0, len(raw)))
    end = draw(st.integers(start, min(len(raw), start + 20)))
    return raw[:start] + draw(st.binary(max_size=8)) + raw[end:]
