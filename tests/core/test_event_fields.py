from __future__ import annotations

import pytest

from workcast.events.usage import Usage
from workcast.ledger.event_fields import end_status, moment, reported_usage, text


def test_a_text_is_cut_and_anything_else_is_absent() -> None:
    event = {"long": "x" * 1000, "empty": "", "number": 5, "null": None}
    assert text(event, "long") == "x" * 256
    assert [text(event, key) for key in ("empty", "number", "null", "missing")] == [None] * 4


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T00:00:01", 1000),
        ("1970-01-01T02:00:00.5+02:00", 500),
        ("yesterday", None),
        ("0001-01-01T00:00:00+05:00", -62135614800000),
        (5, None),
        (None, None),
    ],
)
def test_a_moment_is_in_milliseconds_since_1970(timestamp: object, expected: int | None) -> None:
    assert moment(timestamp) == expected


@pytest.mark.parametrize(
    "value", [None, [], {"input_tokens": -1}, {"input_tokens": 1.5}, {"input_tokens": True}, {"output_tokens": 2**54}]
)
def test_implausible_usage_is_absent(value: object) -> None:
    assert reported_usage(value) is None


def test_unknown_kinds_of_tokens_are_ignored() -> None:
    assert reported_usage({"input_tokens": 3, "more": "x"}) == Usage(input_tokens=3)


def test_an_unknown_end_is_a_failure() -> None:
    assert [end_status({"status": value}) for value in ("timeout", "lost", None, ["success"])] == [
        "timeout", "failed", "failed", "failed",
    ]  # fmt: skip
