from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workcast.events.codec import build, dump, json_schema
from workcast.events.errors import EventError
from workcast.events.models import MODELS, Completed, ResponseChunk, ToolCall, Unknown
from workcast.events.usage import Usage
from workcast.events.wire import MAX_BYTES, wire

WHEN = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_field_that_was_not_set_is_not_written_and_one_set_to_none_is() -> None:
    assert set(json.loads(dump(ToolCall(tool="Bash")))) == {"type", "timestamp", "tool"}
    assert json.loads(dump(Completed(status="success", exit_code=None)))["exit_code"] is None
    assert json.loads(dump(ResponseChunk(content="x")))["role"] == "assistant"


@pytest.mark.parametrize("fields", [{}, {"type": 3}, {"type": "error"}, {"type": "completed", "status": "great"}])
def test_fields_that_fit_no_model_are_an_error(fields: dict[str, object]) -> None:
    with pytest.raises(EventError, match="expected"):
        build(fields)


@given(st.text(st.characters(codec=None), max_size=50))
def test_any_text_can_be_written_even_lone_surrogates(text: str) -> None:
    written = json.loads(dump(ResponseChunk(content=text)))
    assert "\\ud" not in json.dumps(written["content"], ensure_ascii=False)
    written["content"].encode()  # raises if there is a surrogate left
    if not any(0xD800 <= ord(char) < 0xE000 for char in text):
        assert written["content"] == text


def test_values_that_json_cannot_represent_are_written_as_text() -> None:
    written = json.loads(dump(ToolCall(tool="t", args={"when": 1 + 2j, "what": object, "nan": float("nan")})))
    assert written["args"]["when"] == "1+2j"
    assert written["args"]["what"] == "<class 'object'>"
    assert written["args"]["nan"] is None


def test_the_schema_has_every_type() -> None:
    schema = json_schema()
    assert set(schema["discriminator"]["mapping"]) == set(MODELS)


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


def test_usage_beside_lone_surrogates_keeps_its_fields() -> None:
    event = Completed(timestamp=WHEN, status="success", usage=Usage(input_tokens=3), reason="\ud800")
    assert json.loads(dump(event))["usage"] == {"input_tokens": 3}


class Unprintable:
    def __str__(self) -> str:
        raise ValueError("unprintable")


def circular() -> object:
    value: list[object] = []
    value.append(value)
    return value


def deep() -> object:
    value: list[object] = []
    for _ in range(5000):
        value = [value]
    return value


@pytest.mark.parametrize("make_value", [Unprintable, circular, deep])
@pytest.mark.parametrize("text", ["plain", "\ud800"])
def test_a_value_that_cannot_be_written_is_an_error(make_value: Callable[[], object], text: str) -> None:
    with pytest.raises(EventError, match="expected an event that can be written as JSON, got 'custom'"):
        dump(build({"type": "custom", "x": make_value(), "y": text}))


def nest(value: Any, depth: int) -> Any:
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    return value


def power_of_ten(digits: int, sign: int, less: int) -> int:
    return sign * (int(10**digits) - less)


_numbers = st.builds(
    power_of_ten, st.sampled_from([0, 19, 4299, 4300, 4301, 6000]), st.sampled_from([1, -1]), st.integers(0, 1)
)
_leaves: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.floats() | st.text(max_size=20) | st.binary(max_size=20) | _numbers
)
_values: st.SearchStrategy[Any] = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | _numbers, inner, max_size=3)
        | st.builds(nest, inner, st.integers(170, 270))
    ),
    max_leaves=5,
)


@given(st.sampled_from(["custom", "tool_call", "tool_result"]), _values, _values)
def test_an_event_that_can_be_written_is_on_the_wire_as_itself(kind: str, first: object, second: object) -> None:
    try:
        line = dump(build({"type": kind, "timestamp": WHEN, "args": {"a": first}, "other": second}))
    except EventError:
        return
    assert len(line) > MAX_BYTES or wire(line) == line
    assert json.loads(wire(line))["type"] == kind


@pytest.mark.parametrize("depth", [1, 150, 178, 199, 200, 201, 230, 255, 256, 900])
def test_a_value_of_any_depth_is_written_so_that_the_wire_carries_it(depth: int) -> None:
    line = dump(build({"type": "custom", "x": nest(7, depth)}))
    assert wire(line) == line
    value: Any = json.loads(line)["x"]
    while not isinstance(value, int):
        if isinstance(value, str):
            value = json.loads(value)
        value = value[0 if "[" in str(value)[:1] else "k"]
        depth -= 1
    assert (value, depth) == (7, 0)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("digits", [4300, 4301, 6000, 40_000])
def test_a_number_with_too_many_digits_for_the_wire_is_written_as_text(digits: int, sign: int) -> None:
    line = dump(build({"type": "custom", "x": [sign * 10 ** (digits - 1)], "y": "…" * 5000}))
    assert wire(line) == line
    text = ("-" if sign < 0 else "") + "1" + "0" * (digits - 1)
    assert line.decode().count(f'["{text}"]' if digits > 4300 else f"[{text}]") == 1


def test_an_event_that_is_too_long_for_a_log_is_cut_and_says_so() -> None:
    text = "\0" * (6 << 20)  # six bytes each in JSON
    line = dump(Unknown(timestamp=WHEN, raw=text))
    event = json.loads(line)
    assert len(line) <= MAX_BYTES
    assert event["type"] == "unknown"
    assert event["raw"] == text[:8192] + "…"
    assert event["truncated"]["bytes"] > 6 * len(text)
    assert json.loads(dump(Unknown(timestamp=WHEN, raw="x" * (6 << 20))))["raw"] == "x" * (6 << 20)
