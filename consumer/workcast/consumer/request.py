"""A viewer's request: one message of its socket, parsed and checked."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError
from pydantic_core import from_json

from workcast.consumer.protocol import ClientMessage, Error, ErrorCode, client_messages
from workcast.events.json_value import as_object

_EXPECTED_FROM: Final = 'expected "start", "tail", {"last":200} or {"epoch":E,"offset":N}, whole numbers from 0 on'
_OPS: Final = frozenset(("subscribe", "unsubscribe", "follow", "ping"))


def parse_request(message: str | bytes) -> ClientMessage | Error | None:
    """Return the request, or the error to answer it with; None if it is not a text message with a JSON object."""
    try:
        value = as_object(from_json(message, allow_inf_nan=False)) if isinstance(message, str) else None
    except ValueError:
        return None
    if value is None:
        return None
    workcell = value.get("workcell")
    workcell = workcell if isinstance(workcell, str) else None
    op = value.get("op")
    if not isinstance(op, str) or op not in _OPS:
        expected = f"expected one of the ops {', '.join(sorted(_OPS))}, got {str(op)[:80]!r}"
        return Error(code="unknown_op", message=expected, workcell=workcell)
    try:
        return client_messages.validate_python(value)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
    if "from" in problem["loc"]:
        code: ErrorCode = "bad_cursor" if isinstance(value.get("from"), dict) else "bad_message"
        return Error(code=code, message=f"{op}: from: {_EXPECTED_FROM}", workcell=workcell)
    where = ".".join(str(part) for part in problem["loc"][1:])
    return Error(code="bad_message", message=f"{op}: {where or 'message'}: {problem['msg']}", workcell=workcell)
