"""The AsyncAPI 3 document of the WebSocket protocol, generated from its models."""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter

from workcast.consumer.protocol import SUBPROTOCOL, VERSION, ClientMessage, ServerMessage
from workcast.events.models import KnownEvent, Malformed

_SCHEMAS: Final = "#/components/schemas/{model}"
_CLOSE_CODES: Final = (
    "Close codes: 4400 malformed message, 4401 session expired, 4429 too much, 1009 message too large (do not retry "
    "unchanged); 1012 restarting; 1013 gave way to another connection, having no subscription; anything else: "
    "reconnect from your cursors, with jittered backoff."
)


def document(version: str) -> dict[str, Any]:
    """Return the document as JSON values.

    ``version`` is that of the program; the protocol's own is in the name of the subprotocol.
    """
    schemas: dict[str, Any] = {}
    sent = _messages(ClientMessage, schemas)
    received = _messages(ServerMessage, schemas)
    event = TypeAdapter(KnownEvent | Malformed).json_schema(ref_template=_SCHEMAS)
    schemas |= event.pop("$defs", {})
    for member in event["anyOf"]:
        member.pop("discriminator", None)  # means something else in AsyncAPI
    schemas["Event"] = event
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "workcast stream",
            "version": version,
            "description": f"Subprotocol {SUBPROTOCOL}, version {VERSION}: JSON text messages. {_CLOSE_CODES}",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "stream": {
                "address": "/api/stream",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in (*sent, *received)},
            }
        },
        "operations": {
            "ask": _operation("receive", "What a viewer sends to the gateway.", sent),
            "tell": _operation("send", "What the gateway sends to a viewer.", received),
        },
        "components": {"messages": {**sent, **received}, "schemas": schemas},
    }


def _messages(union: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return a message for each model of a union, and add their schemas."""
    schema = TypeAdapter(union).json_schema(ref_template=_SCHEMAS)
    models = schema.pop("$defs")
    schemas |= models
    members = [member["$ref"].rpartition("/")[2] for member in schema.get("oneOf") or schema["anyOf"]]
    return {
        _message_name(name): {
            "name": name,
            "title": name,
            "summary": str(models[name].get("description", name)).partition("\n")[0],
            "payload": {"$ref": f"#/components/schemas/{name}"},
        }
        for name in members
    }


def _message_name(model: str) -> str:
    return model[0].lower() + model[1:]


def _operation(action: str, summary: str, messages: dict[str, Any]) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": "#/channels/stream"},
        "messages": [{"$ref": f"#/channels/stream/messages/{name}"} for name in messages],
    }
