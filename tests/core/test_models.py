from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from workcast.events.codec import build, dump, json_schema
from workcast.events.errors import EventError
from workcast.events.frozen import make
from workcast.events.models import (
    MODELS,
    BaseEvent,
    Completed,
    ErrorEvent,
    KnownEvent,
    OtherEvent,
    ResponseChunk,
    ToolCall,
    ToolResult,
)
from workcast.events.timestamp import Timestamp
from workcast.events.usage import Usage

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_the_union_knows_each_type_by_its_name(kind: str) -> None:
    fields: dict[str, object] = {
        "type": kind, "prompt": "p", "content": "c", "usage": {}, "tool": "t", "command": "c", "output": "o",
        "path": "p", "status": "success", "error": "e", "raw": "r",
    }  # fmt: skip
    event = TypeAdapter[KnownEvent](KnownEvent).validate_python(fields)
    assert type(event) is MODELS[kind]
    assert type(build(fields)) is MODELS[kind]


def test_events_are_frozen() -> None:
    with pytest.raises(ValidationError):
        ResponseChunk(content="a").__setattr__("content", "b")


def test_unknown_fields_survive_reading_and_writing() -> None:
    event = build({"type": "tool_call", "tool": "Bash", "args": {"a": None}, "colour": {"deep": [1, None]}})
    written = json.loads(dump(event))
    assert written["colour"] == {"deep": [1, None]}
    assert written["args"] == {"a": None}


@given(st.dictionaries(st.text(min_size=1), json_values, max_size=5), st.text(min_size=1))
def test_an_event_of_an_unknown_type_is_kept_whole(fields: dict[str, object], kind: str) -> None:
    reserved = {"type", "timestamp", "workcell_id", "issue_id", "toolchain", "model"}
    given_fields = {key: value for key, value in fields.items() if key not in reserved}
    kind = f"x-{kind}"
    event = build({**given_fields, "type": kind})
    assert isinstance(event, OtherEvent)
    written = json.loads(dump(event))
    del written["timestamp"]
    assert written == {**given_fields, "type": kind}


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


def test_a_field_nobody_set_is_not_written_and_one_set_to_none_is() -> None:
    assert set(json.loads(dump(ToolCall(tool="Bash")))) == {"type", "timestamp", "tool"}
    assert json.loads(dump(Completed(status="success", exit_code=None)))["exit_code"] is None
    assert json.loads(dump(ResponseChunk(content="x")))["role"] == "assistant"


@pytest.mark.parametrize("fields", [{}, {"type": 3}, {"type": "error"}, {"type": "completed", "status": "great"}])
def test_what_fits_no_model_is_a_clear_error(fields: dict[str, object]) -> None:
    with pytest.raises(EventError, match="expected"):
        build(fields)


@given(st.text(st.characters(codec=None), max_size=50))
def test_any_text_can_be_written_even_lone_surrogates(text: str) -> None:
    written = json.loads(dump(ResponseChunk(content=text)))
    assert "\\ud" not in json.dumps(written["content"], ensure_ascii=False)
    written["content"].encode()  # raises if there is a surrogate left
    if not any(0xD800 <= ord(char) < 0xE000 for char in text):
        assert written["content"] == text


def test_values_that_json_has_no_form_for_are_written_as_text() -> None:
    written = json.loads(dump(ToolCall(tool="t", args={"when": 1 + 2j, "what": object, "nan": float("nan")})))
    assert written["args"]["when"] == "1+2j"
    assert written["args"]["what"] == "<class 'object'>"
    assert written["args"]["nan"] is None


def test_usage_adds_up_by_kind() -> None:
    one = Usage(input_tokens=1, output_tokens=2, cache_read_tokens=3, cache_write_tokens=4, reasoning_tokens=5)
    assert one + one == Usage(
        input_tokens=2, output_tokens=4, cache_read_tokens=6, cache_write_tokens=8, reasoning_tokens=10
    )


WHEN = datetime(2026, 1, 2, tzinfo=UTC)
MORE: dict[str, Any] = {"b": 1, "a": 2, "none": None}
"""Fields that no model knows."""


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
def test_a_made_event_is_the_one_that_the_model_would_have_validated(made: BaseEvent, validated: BaseEvent) -> None:
    assert made == validated
    assert made.model_fields_set - {"type"} == validated.model_fields_set - {"type"}
    assert made.model_extra == validated.model_extra
    assert repr(made) == repr(validated)
    assert dump(made) == dump(validated)
    assert made.model_copy(update={"model": "m"}).model == "m"
    with pytest.raises(ValidationError):
        made.__setattr__("model", "n")


def test_a_made_event_shares_nothing_with_the_next() -> None:
    one, other = make(ResponseChunk, timestamp=WHEN, content="a"), make(ResponseChunk, timestamp=WHEN, content="b")
    dump(one)  # which marks the fields that it wrote for their default
    assert (one.content, other.content, other.model_fields_set) == ("a", "b", {"timestamp", "content"})


def test_the_schema_names_every_type() -> None:
    schema = json_schema()
    assert set(schema["discriminator"]["mapping"]) == set(MODELS)


@pytest.mark.parametrize("timestamp", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
def test_a_time_that_utc_has_not_is_refused(timestamp: str) -> None:
    with pytest.raises(EventError, match="within the years 1 to 9999 of UTC"):
        build({"type": "started", "timestamp": timestamp})
    with pytest.raises(ValidationError):
        TypeAdapter[datetime](Timestamp).validate_python(timestamp)


def test_an_event_with_lone_surrogates_is_written_in_the_same_form_as_any_other() -> None:
    line = dump(
        build({
            "type": "tool_result", "timestamp": "2026-11-22T15:05:59+01:00", "tool": "\ud800", "error": None,
            "result": {"\udfff": float("nan"), "b": b"\xff", "p": Path("\udc80"), "l": ({"\ud83d\ude00"}, 1.5)},
            "more": float("inf"),
        })
    )  # fmt: skip
    assert line.decode() == (
        '{"type":"tool_result","timestamp":"2026-11-22T14:05:59.000Z","tool":"\ufffd",'
        '"result":{"\ufffd":null,"b":"\ufffd","p":"\ufffd","l":[["\U0001f600"],1.5]},"error":null,"more":null}'
    )


def test_usage_with_lone_surrogates_beside_it_keeps_its_fields() -> None:
    event = Completed(timestamp=WHEN, status="success", usage=Usage(input_tokens=3), reason="\ud800")
    assert json.loads(dump(event))["usage"] == {"input_tokens": 3}


class Mute:
    def __str__(self) -> str:
        raise ValueError("nothing to say")


def circular() -> object:
    value: list[object] = []
    value.append(value)
    return value


def deep() -> object:
    value: list[object] = []
    for _ in range(5000):
        value = [value]
    return value


@pytest.mark.parametrize("make_value", [Mute, circular, deep])
@pytest.mark.parametrize("text", ["plain", "\ud800"])
def test_what_cannot_be_written_is_an_error_that_says_so(make_value: Callable[[], object], text: str) -> None:
    with pytest.raises(EventError, match="expected an event that can be written as JSON, got 'custom'"):
        dump(build({"type": "custom", "x": make_value(), "y": text}))
