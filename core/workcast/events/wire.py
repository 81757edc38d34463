"""``wire(line)``: the one function that says what of a log's line goes on the wire.

Everything behind it (stream, feed, ring, frame) carries its result as opaque bytes, so a line is validated once,
here, and never encoded again.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic_core import from_json, to_json

from workcast.events.json_value import as_array, as_object

MAX_BYTES: Final = 64 * 1024
"""A line on the wire has at most this many bytes; a longer one is cut and says so."""
MAX_RAW: Final = 4096
"""A malformed line shows at most this many of its first bytes."""

_LIMITS: Final = (8192, 4096, 2048, 1024, 512, 256, 128, 64)
_ESSENTIAL: Final = (
    "type", "timestamp", "workcell_id", "issue_id", "toolchain", "model",
    "session_id", "message_id", "block", "call_id", "parent_call_id",
)  # fmt: skip
_MAX_ESSENTIAL: Final = 256


def wire(line: bytes) -> bytes:
    """The bytes that stand for ``line`` (a line of a log, without its newline) on the wire.

    An event of at most 64 KiB travels as it is, spacing and all. A larger one has its long strings cut and ends with
    ``"truncated":{"bytes":N}``, N the line's own size. Anything else becomes a ``malformed`` object.
    """
    return inspect(line)[0]


def inspect(line: bytes) -> tuple[bytes, dict[str, Any] | None]:
    """``wire(line)``, and the event's fields as they were parsed for it; None for a malformed line."""
    try:
        value = as_object(from_json(line, allow_inf_nan=False))
    except ValueError:
        return _malformed(line, "json" if _is_utf8(line) else "utf8"), None
    if value is None:
        return _malformed(line, "object"), None
    if not isinstance(value.get("type"), str):
        return _malformed(line, "type"), None
    return line if len(line) <= MAX_BYTES else _cut_to_size(value, len(line)), value


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _malformed(line: bytes, reason: str) -> bytes:
    raw = line[:MAX_RAW].decode(errors="backslashreplace")
    return to_json({"type": "malformed", "reason": reason, "bytes": len(line), "raw": raw})


def _cut_to_size(value: dict[str, Any], size: int) -> bytes:
    value = {key: item for key, item in value.items() if key != "truncated"}
    truncated = {"bytes": size}
    for limit in _LIMITS:
        cut = _to_json({**_cut(value, limit), "truncated": truncated})
        if len(cut) <= MAX_BYTES:
            return cut
    essential = {key: value[key] for key in _ESSENTIAL if isinstance(value.get(key), str | int)}
    return _to_json({**_cut(essential, _MAX_ESSENTIAL), "truncated": truncated})


def _to_json(value: object) -> bytes:
    return to_json(value, inf_nan_mode="null")  # 1e400 is JSON, but no number that can be written again


def _cut(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= limit else value[:limit] + "…"
    if (array := as_array(value)) is not None:
        return [_cut(item, limit) for item in array]
    if (fields := as_object(value)) is not None:
        return {key: _cut(item, limit) for key, item in fields.items()}
    return value
