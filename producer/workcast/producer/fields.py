"""Reading fields of untrusted JSON: each function returns a default if the field is missing or has another type.

They run several times for every line, so none calls another: the calls are most of their cost. Only the standard
library is imported, because `workcast hook` has to load fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

JsonObject = Mapping[str, object]

MAX_INTEGER: Final = 2**63 - 1
EMPTY: Final[JsonObject] = {}


def as_object(value: object) -> JsonObject:
    """Return the value if it is an object, else an empty object."""
    return value if isinstance(value, dict) else EMPTY  # pyright: ignore[reportUnknownVariableType]


def as_list(value: object) -> Sequence[object]:
    """Return the value if it is a list, else an empty list."""
    return value if isinstance(value, list) else ()  # pyright: ignore[reportUnknownVariableType]


def get_object(parent: JsonObject, key: str) -> JsonObject:
    """Return the object under the key, else an empty object."""
    value = parent.get(key)
    return value if isinstance(value, dict) else EMPTY  # pyright: ignore[reportUnknownVariableType]


def get_list(parent: JsonObject, key: str) -> Sequence[object]:
    """Return the list under the key, else an empty list."""
    value = parent.get(key)
    return value if isinstance(value, list) else ()  # pyright: ignore[reportUnknownVariableType]


def get_text(parent: JsonObject, key: str) -> str | None:
    """Return the string under the key, else None."""
    value = parent.get(key)
    return value if isinstance(value, str) else None


def get_count(parent: JsonObject, key: str) -> int | None:
    """Return the integer under the key if it is between 0 and 2**63 - 1 (a bool is not an integer), else None."""
    value = parent.get(key)
    return value if type(value) is int and 0 <= value <= MAX_INTEGER else None


def get_counts(parent: JsonObject, keys: Iterable[str]) -> list[int]:
    """Return the counts under the keys, as :func:`get_count` reads them, with 0 for None."""
    return [value if type(value) is int and 0 <= value <= MAX_INTEGER else 0 for value in map(parent.get, keys)]


def get_number(parent: JsonObject, key: str) -> float | None:
    """Return the number under the key, integer or float, else None."""
    value = parent.get(key)
    return value if isinstance(value, float) else get_count(parent, key)


def plain_text(content: object) -> object:
    """Join a tool's content into one text if it consists of text blocks alone, else return it unchanged."""
    if isinstance(content, str):
        return content
    blocks = [as_object(item) for item in as_list(content)]
    texts = [text for block in blocks if (text := get_text(block, "text")) is not None]
    return "\n".join(texts) if blocks and len(texts) == len(blocks) else content
