"""``wire(line)``: the only function that decides what the wire carries for a line of a log.

Stream, feed, ring and frames carry its result as opaque bytes, so each line is validated once, here, and never
re-encoded.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic_core import from_json, to_json

from workcast.events.cut_line import CutLine, size_of
from workcast.events.json_value import as_array, as_object

MAX_BYTES: Final = 64 * 1024
"""Maximum size of a line on the wire; a longer one is cut and marked ``truncated``."""
MAX_LINE_BYTES: Final = 32 << 20
"""A longer line of a log is not read whole, so it is malformed: parsing it would hold up all other logs."""
MAX_RAW: Final = 4096
"""How many of its first bytes a malformed line shows."""

_LIMITS: Final = (8192, 4096, 2048, 1024, 512, 256, 128, 64)
_ESSENTIAL: Final = (
    "type", "timestamp", "workcell_id", "issue_id", "toolchain", "model",
    "session_id", "message_id", "block", "call_id", "parent_call_id",
)  # fmt: skip
_MAX_ESSENTIAL: Final = 256


def wire(line: bytes) -> bytes:
    """Return the bytes that represent ``line`` (a line of a log, without its newline) on the wire.

    An event of at most 64 KiB is passed through byte for byte. A larger one has its long strings cut and ends with
    ``"truncated":{"bytes":N}``, where N is the line's size. Anything else becomes a ``malformed`` object.
    """
    return inspect(line)[0]


def inspect(line: bytes) -> tuple[bytes, dict[str, Any] | None]:
    """Return ``wire(line)`` and the parsed event, or None if the line is malformed."""
    event = _parse(line)
    if isinstance(event, str):
        return to_json(_malformed(line, event)), None
    return line if len(line) <= MAX_BYTES else cut_to_size(event, len(line)), event


def parse(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line, whole however long it is; None if the line is malformed."""
    event = _parse(line)
    return None if isinstance(event, str) else event


def read_event(line: bytes) -> dict[str, Any]:
    """Return the event of a line, whole however long it is; of a malformed line, the object that stands for it."""
    event = _parse(line)
    return _malformed(line, event) if isinstance(event, str) else event


def _parse(line: bytes) -> dict[str, Any] | str:
    """Return the event, or the reason why the line is malformed."""
    if isinstance(line, CutLine):
        return "size"
    try:
        value = as_object(from_json(line, allow_inf_nan=False))
    except ValueError:
        return "json" if _is_utf8(line) else "utf8"
    if value is None:
        return "object"
    return value if isinstance(value.get("type"), str) else "type"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _malformed(line: bytes, reason: str) -> dict[str, Any]:
    raw = line[:MAX_RAW].decode(errors="backslashreplace")
    return {"type": "malformed", "reason": reason, "bytes": size_of(line), "raw": raw}


def cut_to_size(value: dict[str, Any], size: int) -> bytes:
    """Cut an event whose line has ``size`` bytes to at most 64 KiB, and mark it as truncated."""
    value = {key: item for key, item in value.items() if key != "truncated"}
    truncated = {"bytes": size}
    for limit in _LIMITS:
        cut = _to_json({**_cut(value, limit), "truncated": truncated})
        if len(cut) <= MAX_BYTES:
            return cut
    essential = {key: value[key] for key in _ESSENTIAL if isinstance(value.get(key), str | int)}
    return _to_json({**_cut(essential, _MAX_ESSENTIAL), "truncated": truncated})


def _to_json(value: object) -> bytes:
    return to_json(value, inf_nan_mode="null")  # 1e400 is valid JSON, but parses as infinity


def _cut(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= limit else value[:limit] + "…"
    if (array := as_array(value)) is not None:
        return [_cut(item, limit) for item in array]
    if (fields := as_object(value)) is not None:
        return {key: _cut(item, limit) for key, item in fields.items()}
    return value
