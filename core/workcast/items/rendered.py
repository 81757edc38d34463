"""A JSON value as a text to search: one line ``key.path: value`` for each value in it."""

from __future__ import annotations

from typing import Any, Final

from pydantic_core import to_json

from workcast.events.json_value import as_array, as_object

_MAX_PATH: Final = 256
"""Code points of a path; of a longer one, its end is kept."""
_MAX_PATHS: Final = 1 << 20
"""Code points of all paths of a text: beyond, ``…`` stands for them, or deep nesting would make a text quadratic."""


def rendered(value: object) -> str:
    """Return a string as it is; of anything else, a line for each value in it, with its keys: ``todos.0.text: x``.

    So a phrase never matches across two values, unless it names the key between them.
    """
    if isinstance(value, str):
        return value
    lines: list[str] = []
    left = _MAX_PATHS
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        path, inner = stack.pop()
        items = _items(inner)
        if items:
            stack.extend((_joined(path, key), below) for key, below in reversed(items))
            continue
        left -= len(path)
        shown = path if left >= 0 else "…"
        text = inner if isinstance(inner, str) else to_json(inner, inf_nan_mode="constants").decode()
        lines.append(f"{shown}: {text}" if shown else text)
    return "\n".join(lines)


def _items(value: Any) -> list[tuple[str, Any]]:
    if (fields := as_object(value)) is not None:
        return list(fields.items())
    if (array := as_array(value)) is not None:
        return [(str(index), inner) for index, inner in enumerate(array)]
    return []


def _joined(path: str, key: str) -> str:
    joined = f"{path}.{key}" if path else key
    return joined if len(joined) <= _MAX_PATH else f"…{joined[1 - _MAX_PATH :]}"
