from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from workcast.events.codec import build, dump
from workcast.events.frozen import builder_of, make
from workcast.events.models import BaseEvent, ErrorEvent, ResponseChunk, ToolCall, ToolResult

WHEN = datetime(2026, 1, 2, tzinfo=UTC)
MORE: dict[str, Any] = {"b": 1, "a": 2, "none": None}
"""Fields that are in no model."""


@pytest.mark.parametrize(
    ("made", "validated"),
    [
        (make(ResponseChunk, timestamp=WHEN, content="c"), ResponseChunk(timestamp=WHEN, content="c")),
        (
            make(ResponseChunk, timestamp=WHEN, content="c", message_id=None, block=0),
            ResponseChunk(timestamp=WHEN, content="c", block=0),
        ),
        (make(ToolCall, timestamp=WHEN, tool="t", args=None), ToolCall(timestamp=WHEN, tool="t", args=None)),
        (make(ToolCall, timestamp=WHEN, tool="t"), ToolCall(timestamp=WHEN, tool="t")),
        (
            make(ToolResult, timestamp=WHEN, tool="t", result=None, error=None, exit_code=0),
            ToolResult(timestamp=WHEN, tool="t", result=None, exit_code=0),
        ),
        (
            make(ErrorEvent, timestamp=WHEN, error="e", kind=None, **MORE),
            build({"type": "error", "timestamp": WHEN, "error": "e", "b": 1, "a": 2}),
        ),
    ],
)
def test_make_builds_the_event_that_the_models_constructor_builds(made: BaseEvent, validated: BaseEvent) -> None:
    assert made == validated
    assert made.model_fields_set - {"type"} == validated.model_fields_set - {"type"}
    assert made.model_extra == validated.model_extra
    assert repr(made) == repr(validated)
    assert dump(made) == dump(validated)
    assert made.model_copy(update={"model": "m"}).model == "m"
    with pytest.raises(ValidationError):
        made.__setattr__("model", "n")


def test_events_that_make_builds_share_nothing() -> None:
    one, other = make(ResponseChunk, timestamp=WHEN, content="a"), make(ResponseChunk, timestamp=WHEN, content="b")
    dump(one)  # marks the fields that it wrote because of their defaults as set
    assert (one.content, other.content, other.model_fields_set) == ("a", "b", {"timestamp", "content"})


def test_a_builder_validates_fields_as_make_does() -> None:
    chunk = builder_of(ResponseChunk)
    assert chunk({"timestamp": WHEN, "content": "c"}) == make(ResponseChunk, timestamp=WHEN, content="c")
    with pytest.raises(ValidationError):
        chunk({"timestamp": WHEN})
