"""Build events from mappings, and encode them as lines of a log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, Final, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from workcast.events.depth import MAX_DIGITS, is_shallow, shallow
from workcast.events.errors import EventError
from workcast.events.json_value import as_object
from workcast.events.models import MODELS, BaseEvent, KnownEvent, OtherEvent
from workcast.events.wire import MAX_LINE_BYTES, cut_to_size

_TOO_LONG: Final = 10**MAX_DIGITS
"""The first whole number with more digits than the wire's parser takes."""
_STRIDE: Final = 1000
_LONG_RUN: Final = re.compile(rb"[0-9]{4}")
"""Found in every 1,000th byte of a line that has 4,301 digits in a row."""


def build(fields: Mapping[str, Any]) -> BaseEvent:
    """Validate an event given as a mapping with a string ``type``.

    Raises:
        EventError: ``type`` is missing, or a field does not fit the model of its type.
    """
    kind = fields.get("type")
    if not isinstance(kind, str):
        raise EventError(f"expected an event with a string 'type', got type={kind!r}")
    try:
        return MODELS.get(kind, OtherEvent).model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise EventError(f"expected a valid {kind!r} event; {problems}") from error


def dump(event: BaseEvent) -> bytes:
    """Encode an event as one line, without the newline: the fields that were set, and those with a default.

    Agents may put anything into an event, so values are converted rather than refused: what JSON cannot represent
    becomes ``str(value)``, NaN and infinity become null, lone surrogates and bytes that are not UTF-8 become U+FFFD,
    values nested more than 180 levels deep become a string of their JSON, and whole numbers of more than 4,300 digits a
    string of their digits. A line of more than 32 MiB is cut to what the wire would show of it. So
    :func:`~workcast.events.wire.wire` passes each line as an event, never as malformed.

    Raises:
        EventError: a value contains itself, is nested a thousand levels deep, or its ``__str__`` fails.
    """
    event.__pydantic_fields_set__.update(event.always_written)
    try:
        line = event.__pydantic_serializer__.to_json(event, exclude_unset=True, fallback=str)
    except PydanticSerializationError:
        line = _dump_clean(event)
    else:
        line = line if _fits_wire(line) else _dump_clean(event)
    return line if len(line) <= MAX_LINE_BYTES else cut_to_size(from_json(line), len(line))


def _fits_wire(line: bytes) -> bool:
    """Whether the wire's parser takes a line; parses only one with many brackets, or perhaps with a long number."""
    if is_shallow(line) and (len(line) <= 4 * _STRIDE or _LONG_RUN.search(line[::_STRIDE]) is None):
        return True
    try:
        from_json(line, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def _dump_clean(event: BaseEvent) -> bytes:
    """Like :func:`dump`, after replacing what the serializer refuses."""
    try:
        fields: dict[str, Any] = _clean(shallow(event.model_dump(exclude_unset=True, warnings=False)))
        clean = type(event).model_construct(set(fields), **fields)
        return clean.__pydantic_serializer__.to_json(
            clean, exclude_unset=True, fallback=lambda value: _clean(str(value)), warnings=False
        )
    except (ValueError, RecursionError) as error:
        raise EventError(f"expected an event that can be written as JSON, got {event.type!r}: {error}") from error


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, bytes | bytearray):
        return value.decode(errors="replace")
    if isinstance(value, PurePath):
        return _clean(str(value))
    if (fields := as_object(value)) is not None:
        return {_clean(key): _clean(item) for key, item in fields.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in cast("Iterable[Any]", value)]
    if isinstance(value, int) and not -_TOO_LONG < value < _TOO_LONG:
        return to_json(value).decode()  # str() refuses so many digits
    return value


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the union of all known event types."""
    schema: dict[str, Any] = TypeAdapter(KnownEvent).json_schema()
    return schema
