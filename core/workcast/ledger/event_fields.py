"""Read the fields of events from a log, which may hold anything: implausible values count as absent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast, get_args

from workcast.events.json_value import as_object
from workcast.events.models import Status
from workcast.events.usage import Usage

MAX_TEXT: Final = 256
_MAX_TOKENS: Final = 2**53
_KINDS: Final = tuple(Usage.model_fields)
_STATUSES: Final = frozenset[str](get_args(Status))


def text(event: Mapping[str, Any], key: str) -> str | None:
    """Return the first 256 characters of a string field; None if it is not a string, or empty."""
    value = event.get(key)
    return value[:MAX_TEXT] if isinstance(value, str) and value else None


def moment(timestamp: object) -> int | None:
    """Convert a timestamp to milliseconds since 1970; None if it is not one."""
    if not isinstance(timestamp, str):
        return None
    try:
        at = datetime.fromisoformat(timestamp)
        return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def reported_usage(value: object) -> Usage | None:
    """Return the token counts in ``value``; None if it has none, or implausible ones."""
    fields = as_object(value)
    if fields is None:
        return None
    counts = {name: fields[name] for name in _KINDS if name in fields}
    if any(type(count) is not int or not 0 <= count <= _MAX_TOKENS for count in counts.values()):
        return None
    return Usage(**counts)


def end_status(completed: Mapping[str, Any]) -> Status:
    """Return the status of a ``completed`` event; an unknown one is ``failed``."""
    status = completed.get("status")
    return cast("Status", status) if isinstance(status, str) and status in _STATUSES else "failed"
