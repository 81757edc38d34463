"""Claude Code's messages and failed requests, as fields of events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from workcast.producer.claude.tools import Fields
from workcast.producer.fields import JsonObject, get_count, get_counts, get_object, get_text

SYNTHETIC_MODEL: Final = "<synthetic>"
"""The model of messages that Claude Code writes itself."""
_COUNTS: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")


def usage_fields(usage: JsonObject) -> Fields:
    """Map the tokens of one message; the API's own form counts cached input separately."""
    fresh, read, written, output = get_counts(usage, _COUNTS)
    long = get_count(get_object(usage, "cache_creation"), "ephemeral_1h_input_tokens")
    fields: Fields = {
        "input_tokens": fresh + read + written,
        "output_tokens": output,
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        "reasoning_tokens": get_count(get_object(usage, "output_tokens_details"), "thinking_tokens") or 0,
    }
    if long:
        fields["cache_write_1h_tokens"] = long
    return fields


def text_fields(kind: str, content: str, message_id: str | None, block: int | None, parent: str | None) -> Fields:
    """Map a whole block of ``text`` or ``thinking``."""
    fields: Fields = {"type": "response_complete" if kind == "text" else "thinking", "content": content}
    if message_id is not None:
        fields["message_id"] = message_id
    if block is not None:
        fields["block"] = block
    if parent is not None:
        fields["parent_call_id"] = parent
    return fields


def failure_fields(blocks: Sequence[JsonObject], kind: str | None, parent: str | None) -> Fields:
    """Map a synthetic message, by which Claude Code reports that a request failed for good."""
    text = "\n".join(text for block in blocks if (text := get_text(block, "text")))
    fields: Fields = {
        "type": "error",
        "error": text or "the model's API failed without a message",
        "retryable": False,
    }
    if kind is not None:
        fields["kind"] = kind
    if parent is not None:
        fields["parent_call_id"] = parent
    return fields


def retry_fields(
    reason: str, attempt: int | None, limit: int | None, delay_ms: float | None, kind: str | None = None
) -> Fields:
    """Map a request that failed and is sent again after ``delay_ms``, for the ``attempt``-th of ``limit`` times."""
    text = f"the model's API failed: {reason}"
    if attempt is not None:
        text += f"; retry {attempt}" + ("" if limit is None else f" of {limit}")
    if delay_ms is not None:
        text += f" in {round(delay_ms)} ms"
    fields: Fields = {"type": "error", "error": text, "retryable": True}
    if kind is not None:
        fields["kind"] = kind
    return fields
