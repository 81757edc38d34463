"""Timestamps of events: always UTC, written with ``Z`` and at least milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer


def _to_utc(value: datetime) -> datetime:
    """Read any offset; the system that came before wrote none at all and meant UTC."""
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError as error:  # the first or last hours there are, elsewhere
        raise ValueError(f"expected a time within the years 1 to 9999 of UTC, got {value.isoformat()}") from error


def format_timestamp(value: datetime) -> str:
    """ISO 8601 in UTC with ``Z`` and at least milliseconds."""
    precision = "microseconds" if value.microsecond % 1000 else "milliseconds"
    return value.astimezone(UTC).isoformat(timespec=precision)[:-6] + "Z"


def now() -> datetime:
    """The current time in UTC, to the microsecond."""
    return datetime.now(UTC)


Timestamp = Annotated[
    datetime,
    AfterValidator(_to_utc),
    PlainSerializer(format_timestamp, return_type=str, when_used="json"),
]
