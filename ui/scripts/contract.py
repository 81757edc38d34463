"""Print the JSON Schema of all messages that the dashboard receives or sends, from the pydantic models."""

import json
import sys
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from workcast.consumer import protocol
from workcast.events.models import KnownEvent, Malformed
from workcast.ledger.summary import Summary

REF = "#/definitions/{model}"


def _tidy(definition: dict[str, Any], *, whole: bool) -> None:
    """Mark the fields that are always present as required: tags, and with ``whole`` all fields."""
    required = set(definition.get("required", ()))
    for name, field in definition.get("properties", {}).items():
        # A field's title, or a default beside a reference, would be generated as a separate type.
        field.pop("title", None)
        field.pop("default", None)
        if not field:
            field["tsType"] = "unknown"
        if whole or "const" in field:
            required.add(name)
    definition["required"] = sorted(required)


def schema() -> dict[str, Any]:
    """Return one schema for one TypeScript file, with the unions as named definitions."""
    _, rest = models_json_schema(
        [(m, "serialization") for m in (Summary, protocol.Workcells, protocol.EventPage, protocol.AccountPage)],
        ref_template=REF,
    )
    unions = {
        "ServerMessage": TypeAdapter(protocol.ServerMessage).json_schema(mode="serialization", ref_template=REF),
        "ClientMessage": protocol.client_messages.json_schema(mode="validation", ref_template=REF),
        "KnownEvent": TypeAdapter(KnownEvent).json_schema(mode="serialization", ref_template=REF),
    }
    definitions: dict[str, Any] = {"Malformed": Malformed.model_json_schema(), **rest["$defs"]}
    for name, union in unions.items():
        definitions |= union.pop("$defs")
        union.pop("discriminator", None)
        definitions[name] = union
    # Events omit unset fields, and a client may omit fields with a default.
    sparse = {ref["$ref"].rsplit("/")[-1] for name in ("KnownEvent", "ClientMessage") for ref in unions[name]["oneOf"]}
    for name, definition in definitions.items():
        _tidy(definition, whole=name not in sparse | {"Usage", "ModelUsage", "Malformed", "EventMark"})
    names = (
        "KnownEvent", "Malformed", "ServerMessage", "ClientMessage", "Summary", "Workcells", "EventPage", "AccountPage",
    )  # fmt: skip
    return {
        "title": "Contract",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: {"$ref": f"#/definitions/{name}"} for name in names},
        "required": list(names),
        "definitions": definitions,
    }


json.dump(schema(), sys.stdout, indent=1)
