"""Event timestamps: always UTC, written with ``Z`` and at least milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer


def _to_utc(value: datetime) -> datetime:
    """Convert to UTC; a time without an offset is taken as UTC, as older logs wrote it."""
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError as error:  # within hours of year 1 or 9999, in another time zone
        raise ValueError(f"expected a time within the years 1 to 9999 of UTC, got {value.isoformat()}") from error


def format_timestamp(value: datetime) -> str:
    """Format as ISO 8601 in UTC with ``Z`` and at least milliseconds."""
    precision = "microseconds" if value.microsecond % 1000 else "milliseconds"
    return value.astimezone(UTC).isoformat(timespec=precision)[:-6] + "Z"


def now() -> datetime:
    """Return the current time in UTC, to the microsecond."""
    return datetime.now(UTC)


Timestamp = Annotated[
    datetime,
    AfterValidator(_to_utc),
    PlainSerializer(format_timestamp, return_type=str, when_used="json"),
]
