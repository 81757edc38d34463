from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from workcast.events.codec import build, dump
from workcast.events.errors import EventError
from workcast.events.models import ResponseChunk
from workcast.events.timestamp import Timestamp


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000Z"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05.000Z"),
        ("2026-01-02T03:04:05.123456-05:30", "2026-01-02T08:34:05.123456Z"),
        ("2026-01-02T03:04:05.5", "2026-01-02T03:04:05.500Z"),
    ],
)
def test_a_timestamp_is_read_with_any_offset_and_written_in_utc(text: str, expected: str) -> None:
    assert json.loads(dump(build({"type": "error", "error": "e", "timestamp": text})))["timestamp"] == expected


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001
def test_a_timestamp_keeps_its_instant(when: datetime, minutes: int) -> None:
    moment = when.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    event = ResponseChunk(content="", timestamp=moment)
    again = build(json.loads(dump(event)))
    assert again.timestamp == moment
    assert again.timestamp.tzinfo is UTC


@pytest.mark.parametrize("timestamp", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
def test_a_time_outside_the_years_of_utc_is_refused(timestamp: str) -> None:
    with pytest.raises(EventError, match="within the years 1 to 9999 of UTC"):
        build({"type": "started", "timestamp": timestamp})
    with pytest.raises(ValidationError):
        TypeAdapter[datetime](Timestamp).validate_python(timestamp)
