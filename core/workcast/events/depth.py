"""What the wire's parser takes: how deep a value may be nested, and how long a whole number may be. Loads fast."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from workcast.events.json_value import as_object

MAX_DEPTH: Final = 180
"""Nesting limit of a field's value: the serializer supports about 250 levels, parsers of the wire about 200."""
MAX_DIGITS: Final = 4300
"""Of a whole number."""
_MAX_WIRE_DEPTH: Final = 198


def is_shallow(line: bytes) -> bool:
    """Whether a line has so few brackets that it cannot be nested too deep for the wire."""
    return line.count(b"[") + line.count(b"{") <= _MAX_WIRE_DEPTH


def shallow(fields: dict[str, Any]) -> dict[str, Any]:
    """Replace values nested more than 180 levels deep by a string of their JSON; changes ``fields`` itself.

    Raises:
        ValueError: a value contains itself.
        RecursionError: it is nested some thousand levels deep.
    """
    level: list[Any] = [fields]  # level by level, since recursion could overflow
    for depth in range(MAX_DEPTH):
        below: list[Any] = []
        for outer in level:
            keys: Iterable[Any] = range(len(outer)) if as_object(outer) is None else list(outer)
            for key in keys:
                inner: Any = outer[key]
                fields_of = as_object(inner)
                if fields_of is None and not isinstance(inner, list | tuple | set | frozenset):
                    continue
                if depth == MAX_DEPTH - 1:
                    outer[key] = json.dumps(inner, ensure_ascii=False, default=str)
                    continue
                outer[key] = [*inner] if fields_of is None else {**fields_of}
                below.append(outer[key])
        level = below
    return fields
