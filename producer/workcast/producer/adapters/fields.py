"""Reading JSON that somebody else wrote: every reader answers a default where a field is missing or of another type.

They are called several times a line, so none of them calls another one: calls are what they cost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

JsonObject = Mapping[str, object]

MAX_INTEGER: Final = 2**63 - 1
EMPTY: Final[JsonObject] = {}
NO_JSON: Final = (msgspec.DecodeError, ValueError, RecursionError)
"""What :data:`decode_json` and its like raise: malformed, or no UTF-8, or nested some hundreds deep."""
decode_json: Final = msgspec.json.Decoder().decode
LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def parse_object(line: bytes) -> JsonObject | None:
    """The JSON object that a line holds, or None if it holds no JSON or something else."""
    try:
        value = decode_json(line)
    except NO_JSON:
        value = _parse_with_lone_surrogates(line)
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _parse_with_lone_surrogates(line: bytes) -> object:
    """JavaScript cuts strings between the halves of a surrogate pair and prints the half as an escape.

    Strict parsers refuse that; half a character is no reason to lose the line, so it becomes U+FFFD.
    """
    if not line or line.isspace():
        return None
    try:
        text = json.dumps(json.loads(line), ensure_ascii=False)
        if not LONE_SURROGATE.search(text):
            return None
        return decode_json(LONE_SURROGATE.sub("\ufffd", text))
    except NO_JSON:
        return None


def as_object(value: object) -> JsonObject:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else EMPTY  # pyright: ignore[reportUnknownVariableType]


def as_list(value: object) -> Sequence[object]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else ()  # pyright: ignore[reportUnknownVariableType]


def get_object(parent: JsonObject, key: str) -> JsonObject:
    """The object under the key, else an empty one."""
    value = parent.get(key)
    return value if isinstance(value, dict) else EMPTY  # pyright: ignore[reportUnknownVariableType]


def get_list(parent: JsonObject, key: str) -> Sequence[object]:
    """The list under the key, else an empty one."""
    value = parent.get(key)
    return value if isinstance(value, list) else ()  # pyright: ignore[reportUnknownVariableType]


def get_text(parent: JsonObject, key: str) -> str | None:
    """The string under the key."""
    value = parent.get(key)
    return value if isinstance(value, str) else None


def get_count(parent: JsonObject, key: str) -> int | None:
    """The number under the key if it is an integer from 0 to 2**63 - 1 (a bool is not)."""
    value = parent.get(key)
    return value if type(value) is int and 0 <= value <= MAX_INTEGER else None


def get_counts(parent: JsonObject, keys: Iterable[str]) -> list[int]:
    """The counts under the keys, as :func:`get_count` reads them; 0 where there is none."""
    return [said if type(said) is int and 0 <= said <= MAX_INTEGER else 0 for said in map(parent.get, keys)]


def get_number(parent: JsonObject, key: str) -> float | None:
    """The number under the key, whole or not."""
    value = parent.get(key)
    return value if isinstance(value, float) else get_count(parent, key)


def plain_text(content: object) -> object:
    """A tool's content as one text where it is nothing but blocks of text, else as it is."""
    if isinstance(content, str):
        return content
    blocks = [as_object(item) for item in as_list(content)]
    texts = [text for block in blocks if (text := get_text(block, "text")) is not None]
    return "\n".join(texts) if blocks and len(texts) == len(blocks) else content
