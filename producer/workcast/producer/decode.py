"""Decoding lines of JSON that an agent wrote."""

from __future__ import annotations

import json
import re
from typing import Final

import msgspec

from workcast.producer.fields import JsonObject

NOT_JSON: Final = (msgspec.DecodeError, ValueError, RecursionError)
"""What :data:`decode_json` raises for malformed JSON, invalid UTF-8, and JSON nested some hundreds of levels deep."""
decode_json: Final = msgspec.json.Decoder().decode
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def parse_object(line: bytes) -> JsonObject | None:
    """Return the JSON object in a line, or None if it holds no valid JSON or another kind of value."""
    try:
        value = decode_json(line)
    except NOT_JSON:
        value = _parse_with_lone_surrogates(line)
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _parse_with_lone_surrogates(line: bytes) -> object:
    """Parse a line with lone surrogates, replacing each with U+FFFD; None if that does not help.

    JavaScript may cut a string inside a surrogate pair and print the half as an escape, which strict parsers refuse.
    """
    if not line or line.isspace():
        return None
    try:
        text = json.dumps(json.loads(line), ensure_ascii=False)
        if not _LONE_SURROGATE.search(text):
            return None
        return decode_json(_LONE_SURROGATE.sub("\ufffd", text))
    except NOT_JSON:
        return None
