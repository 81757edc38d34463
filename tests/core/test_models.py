from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from workcast.events.codec import build, dump
from workcast.events.models import MODELS, KnownEvent, OtherEvent, ResponseChunk

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
def test_the_union_distinguishes_types_by_name(kind: str) -> None:
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
