from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workcast.events.wire import MAX_BYTES, read_event, wire


def make(**fields: object) -> bytes:
    return json.dumps({"type": "tool_result", "timestamp": "2026-01-01T00:00:00Z", **fields}).encode()


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"x"}',
        b'  { "type" : "x" ,\t"a":1.50, "b":[ ] }  ',
        '{"type":"žluť","x":"\u2028"}'.encode(),
        b'{"type":"started","timestamp":5}',
        b'{"type":"x","type":"y"}',
    ],
)
def test_an_event_is_passed_through_byte_for_byte(line: bytes) -> None:
    assert wire(line) == line


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "json"),
        (b"   ", "json"),
        (b"not json", "json"),
        (b'{"type":"x"', "json"),
        (b'{"type":"x","n":NaN}', "json"),
        (b'{"type":"x","n":-Infinity}', "json"),
        (b'{"type":"x"} {}', "json"),
        (b'\xef\xbb\xbf{"type":"x"}', "json"),
        (b'{"type":"\xff"}', "utf8"),
        (b"\xc3", "utf8"),
        (b"[]", "object"),
        (b'"text"', "object"),
        (b"null", "object"),
        (b"{}", "type"),
        (b'{"type":1}', "type"),
        (b'{"kind":"x"}', "type"),
    ],
)
def test_a_line_that_is_not_an_event_becomes_malformed_with_a_reason(line: bytes, reason: str) -> None:
    expected = {
        "type": "malformed",
        "reason": reason,
        "bytes": len(line),
        "raw": line.decode(errors="backslashreplace"),
    }
    assert wire(line) == json.dumps(expected, ensure_ascii=False, separators=(",", ":")).encode()


def test_a_malformed_line_shows_only_its_first_bytes() -> None:
    shown = json.loads(wire(b"\xff" * 100_000))
    assert shown["bytes"] == 100_000
    assert shown["raw"] == "\\xff" * 4096


@given(st.binary(max_size=300))
def test_any_line_becomes_json_with_a_type(line: bytes) -> None:
    value = json.loads(wire(line))
    assert isinstance(value["type"], str)


def test_a_line_of_exactly_64_kib_is_not_cut_and_one_byte_more_is() -> None:
    line = make(result="x" * (MAX_BYTES - len(make(result=""))))
    assert len(line) == MAX_BYTES
    assert wire(line) == line
    longer = make(result="x" * (MAX_BYTES + 1 - len(make(result=""))))
    assert json.loads(wire(longer))["truncated"] == {"bytes": MAX_BYTES + 1}


@pytest.mark.parametrize(("strings", "limit"), [(1, 8192), (7, 4096), (15, 2048), (450, 64)])
def test_long_strings_are_cut_to_the_largest_limit_that_fits(strings: int, limit: int) -> None:
    line = make(result=["é" * 30_000] * strings)
    data = wire(line)
    value = json.loads(data)
    assert len(data) <= MAX_BYTES
    assert value["result"] == ["é" * limit + "…"] * strings
    assert list(value)[-1] == "truncated"
    assert value["truncated"] == {"bytes": len(line)}


def test_an_event_that_cannot_be_cut_enough_keeps_type_time_context_and_ids() -> None:
    line = make(result=list(range(50_000)), call_id="c1", workcell_id="w", truncated="forged")
    value = json.loads(wire(line))
    assert value == {
        "type": "tool_result",
        "timestamp": "2026-01-01T00:00:00Z",
        "call_id": "c1",
        "workcell_id": "w",
        "truncated": {"bytes": len(line)},
    }


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "call_id", "type", "timestamp"]),
        st.text(max_size=10).map(lambda text: text * 9000) | st.integers() | st.none(),
        max_size=5,
    )
)
def test_no_event_is_larger_than_64_kib_on_the_wire(fields: dict[str, object]) -> None:
    line = json.dumps({"type": "x", **fields}).encode()
    assert len(wire(line)) <= MAX_BYTES


def strictly(data: bytes) -> Any:
    """Parse JSON as browsers do: Python's own parser also accepts NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(f"expected JSON, got {constant}")

    return json.loads(data, parse_constant=refuse)


@given(
    st.lists(st.sampled_from(["1e400", "-1e999", "NaN", "Infinity", "-Infinity", "1.5", "1e308", "null"]), max_size=4),
    st.sampled_from([0, 9_000, 70_000]),
    st.binary(max_size=20),
)
def test_the_wire_carries_strict_json(numbers: list[str], size: int, rest: bytes) -> None:
    fields = "".join(f'"n{at}":{number},' for at, number in enumerate(numbers))
    line = b'{"type":"x",' + fields.encode() + b'"nested":[{"m":1e400}],"p":"' + b"a" * size + rest + b'"}'
    assert isinstance(strictly(wire(line))["type"], str)


def test_an_infinite_number_becomes_null_when_a_line_is_cut() -> None:
    assert strictly(wire(b'{"type":"x","g":1e400,"p":"' + b"a" * 70_000 + b'"}'))["g"] is None


@pytest.mark.parametrize("size", [10, 2 * MAX_BYTES])
def test_an_event_is_read_whole_however_long_it_is(size: int) -> None:
    assert read_event(make(result="x" * size))["result"] == "x" * size


@given(st.binary(max_size=40))
def test_a_line_that_is_not_an_event_is_read_as_the_wire_has_it(line: bytes) -> None:
    assert read_event(line) == json.loads(wire(line))
