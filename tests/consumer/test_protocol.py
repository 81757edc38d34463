from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from workcast.consumer.frame import build_frame
from workcast.consumer.protocol import (
    Cursor,
    Follow,
    LastEvents,
    Ping,
    ServerMessage,
    Subscribe,
    SubscribeFleet,
    Unsubscribe,
    UnsubscribeFleet,
    client_messages,
)

server_messages: TypeAdapter[ServerMessage] = TypeAdapter(ServerMessage)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"op": "subscribe", "workcell": "wc", "from": "start"}, Subscribe),
        ({"op": "subscribe", "workcell": "wc", "from": "tail"}, Subscribe),
        ({"op": "subscribe", "workcell": "wc", "from": {"last": 200}}, Subscribe),
        ({"op": "subscribe", "workcell": "wc", "from": {"epoch": 2**48 - 1, "offset": 2**53 - 1}}, Subscribe),
        ({"op": "unsubscribe", "workcell": "wc"}, Unsubscribe),
        ({"op": "follow", "workcell": "wc", "follow": False}, Follow),
        ({"op": "follow", "workcell": "wc", "follow": True, "epoch": 0, "offset": 0}, Follow),
        ({"op": "subscribe", "fleet": True}, SubscribeFleet),
        ({"op": "unsubscribe", "fleet": True}, UnsubscribeFleet),
        ({"op": "ping"}, Ping),
        ({"op": "ping", "later": "versions may add members"}, Ping),
    ],
)
def test_every_message_of_a_viewer_in_the_contract_parses(message: dict[str, Any], kind: type) -> None:
    assert type(client_messages.validate_python(message)) is kind


def test_a_cursor_and_a_count_are_distinguished() -> None:
    def place(value: object) -> object:
        message = client_messages.validate_python({"op": "subscribe", "workcell": "wc", "from": value})
        assert isinstance(message, Subscribe)
        return message.from_

    assert place({"epoch": 1, "offset": 2}) == Cursor(epoch=1, offset=2)
    assert place({"last": 3}) == LastEvents(last=3)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"op": "dance"},
        {"op": ["ping"]},
        {"op": "subscribe"},
        {"op": "subscribe", "workcell": 7},
        {"op": "subscribe", "workcell": None},
        {"op": "subscribe", "workcell": "wc", "from": "end"},
        {"op": "subscribe", "workcell": "wc", "from": None},
        {"op": "subscribe", "workcell": "wc", "from": 5},
        {"op": "subscribe", "workcell": "wc", "from": {}},
        {"op": "subscribe", "workcell": "wc", "from": {"last": -1}},
        {"op": "subscribe", "workcell": "wc", "from": {"last": "5"}},
        {"op": "subscribe", "workcell": "wc", "from": {"last": 5.0}},
        {"op": "subscribe", "workcell": "wc", "from": {"last": True}},
        {"op": "subscribe", "workcell": "wc", "from": {"epoch": 1}},
        {"op": "subscribe", "workcell": "wc", "from": {"offset": 1}},
        {"op": "subscribe", "workcell": "wc", "from": {"epoch": 2**48, "offset": 0}},
        {"op": "subscribe", "workcell": "wc", "from": {"epoch": 1, "offset": -1}},
        {"op": "subscribe", "workcell": "wc", "from": {"epoch": 1, "offset": 2**53}},
        {"op": "subscribe", "fleet": False},
        {"op": "subscribe", "fleet": 1},
        {"op": "unsubscribe"},
        {"op": "unsubscribe", "fleet": "yes"},
        {"op": "follow", "workcell": "wc"},
        {"op": "follow", "workcell": "wc", "follow": 1},
        {"op": "follow", "workcell": "wc", "follow": True, "epoch": "1", "offset": 0},
    ],
)
def test_wrong_types_and_missing_members_are_refused(message: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        client_messages.validate_python(message)


@pytest.mark.parametrize(
    "message",
    [
        {
            "op": "hello",
            "version": 1,
            "limits": {"max_message_bytes": 1, "max_subscriptions": 2, "max_frame_bytes": 3},
        },
        {"op": "subscribed", "workcell": "wc", "epoch": 1, "offset": 2, "head": 3},
        {"op": "reset", "workcell": "wc", "epoch": 1, "offset": 2, "head": 3},
        {"op": "events", "workcell": "wc", "epoch": 1, "offset": 2, "head": 3, "events": [{"type": "x"}]},
        {"op": "gap", "workcell": "wc", "epoch": 1, "offset": 2, "until": 3, "reason": "pruned"},
        {"op": "gap", "workcell": "wc", "epoch": 1, "offset": 2, "until": 3, "reason": "unavailable"},
        {"op": "live", "workcell": "wc", "epoch": 1, "offset": 2},
        {"op": "head", "workcell": "wc", "epoch": 1, "head": 3},
        {"op": "fleet", "workcells": [{"id": "wc", "head": 3}], "removed": ["old"], "more": False},
        {"op": "error", "code": "bad_cursor", "message": "why"},
        {"op": "error", "code": "origin_conflict", "message": "why", "workcell": "wc"},
        {"op": "pong"},
    ],
)
def test_every_message_of_the_server_in_the_contract_is_what_its_model_writes(message: dict[str, Any]) -> None:
    parsed = server_messages.validate_python(message)
    assert json.loads(parsed.model_dump_json(exclude_none=True)) == message


def test_a_frame_is_an_events_message() -> None:
    parsed = server_messages.validate_json(build_frame("wc", 1, 2, 9, [b'{ "type":"x" }']).text)
    assert parsed.model_dump() == {
        "op": "events", "workcell": "wc", "epoch": 1, "offset": 2, "head": 9, "events": [{"type": "x"}],
    }  # fmt: skip
