from __future__ import annotations

import pytest

from workcast.producer.decode import parse_object
from workcast.producer.fields import MAX_INTEGER, get_count, get_list, get_number, get_object, get_text

ODD: dict[str, object] = {
    "null": None,
    "true": True,
    "text": "7",
    "list": [7],
    "object": {"a": 7},
    "whole": 7,
    "part": 7.5,
    "negative": -7,
    "largest": MAX_INTEGER,
    "too large": MAX_INTEGER + 1,
}


def test_a_function_returns_values_of_its_own_type_only() -> None:
    assert {key for key in ODD if get_text(ODD, key) is not None} == {"text"}
    assert {key for key in ODD if get_list(ODD, key)} == {"list"}
    assert {key for key in ODD if get_object(ODD, key)} == {"object"}
    assert {key for key in ODD if get_count(ODD, key) is not None} == {"whole", "largest"}
    assert {key for key in ODD if get_number(ODD, key) is not None} == {"whole", "part", "largest"}


def test_a_missing_field_counts_as_one_of_another_type() -> None:
    assert (get_text({}, "a"), get_count({}, "a"), get_number({}, "a")) == (None, None, None)
    assert (list(get_list({}, "a")), dict(get_object({}, "a"))) == ([], {})


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"a": "\\ud83d"}', {"a": "\ufffd"}),
        (b'{"a": "\\ude00\\ud83d"}', {"a": "\ufffd\ufffd"}),
        (b'{"\\uDEAD": ["\\udead"]}', {"\ufffd": ["\ufffd"]}),
        (b'{"a": "\\ud83d", "b": NaN}', None),
        (b'{"a": "\\ud83d"', None),
        (b"[1]", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_an_object_is_parsed_and_nothing_else_is(line: bytes, value: object) -> None:
    assert parse_object(line) == value
