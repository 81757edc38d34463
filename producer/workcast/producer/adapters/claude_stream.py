"""The ``stream_event`` lines of Claude Code, its most frequent kind: the API's stream, and the agent it belongs to."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct
from msgspec.json import Decoder

from workcast.events.frozen import builder_of, make
from workcast.events.models import BaseEvent, ErrorEvent, ResponseChunk, Thinking
from workcast.producer.adapters.base import optional
from workcast.producer.adapters.claude_message import Message
from workcast.producer.fields import MAX_INTEGER, JsonObject, get_count, get_object, get_text

QUIET_DELTAS: Final = ("input_json_delta", "signature_delta")

_chunk: Final = builder_of(ResponseChunk)


class Delta(Struct, gc=False):
    """A piece of a block."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class ContentBlock(Struct, gc=False):
    """A block that starts."""

    type: str | None = None


class StreamEvent(Struct, gc=False):
    """The API's event."""

    type: str | None = None
    index: Annotated[int, Meta(ge=0, le=MAX_INTEGER)] | None = None
    delta: Delta | None = None
    content_block: ContentBlock | None = None
    message: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None


class StreamLine(Struct, gc=False):
    """The fields of a line that are used."""

    type: Literal["stream_event"]
    event: StreamEvent | None = None
    parent_tool_use_id: str | None = None
    api_message_id: str | None = None
    abandoned_blocks: dict[str, Any] | None = None


STREAM_LINE: Final = b'{"type":"stream_event",'
decode_stream_line: Final = Decoder(StreamLine).decode


def as_stream_line(line: JsonObject) -> StreamLine:
    """Return a line whose fields of unexpected types count as missing."""
    event = get_object(line, "event")
    delta, block = get_object(event, "delta"), get_object(event, "content_block")
    return StreamLine(
        "stream_event",
        StreamEvent(
            get_text(event, "type"),
            get_count(event, "index"),
            Delta(get_text(delta, "type"), get_text(delta, "text"), get_text(delta, "thinking")),
            ContentBlock(get_text(block, "type")),
            dict(get_object(event, "message")),
            dict(get_object(event, "usage")),
        ),
        get_text(line, "parent_tool_use_id"),
        get_text(line, "api_message_id"),
        dict(get_object(line, "abandoned_blocks")),
    )


def delta_events(line: StreamLine, event: StreamEvent, message: Message, at: datetime) -> list[BaseEvent] | None:
    """Return the events of a piece; None if it has no rule."""
    delta, parent = event.delta, line.parent_tool_use_id
    if delta is None:
        return None
    kind = delta.type
    if kind in QUIET_DELTAS:
        return []
    message_id, block = line.api_message_id or message.id, event.index
    if kind == "text_delta" and (text := delta.text) is not None:
        if parent is None and message_id is not None and block is not None:  # nearly all of them
            return [_chunk({"timestamp": at, "content": text, "message_id": message_id, "block": block})]
        where = _within(parent)
        return [make(ResponseChunk, timestamp=at, content=text, message_id=message_id, block=block, **where)]
    if kind == "thinking_delta" and (text := delta.thinking) is not None:
        where = _within(parent)
        return [make(Thinking, timestamp=at, content=text, partial=True, message_id=message_id, block=block, **where)]
    return None


def abandoned_events(line: StreamLine, message: Message, at: datetime) -> list[BaseEvent]:
    """Return the error of a stream that broke off: the message shown so far is void, and another one replaces it."""
    abandoned = line.abandoned_blocks
    if not abandoned:
        return []
    where = optional(
        message_id=get_text(abandoned, "api_message_id") or line.api_message_id or message.id,
        from_block=get_count(abandoned, "from_block_index"),
        parent_call_id=line.parent_tool_use_id,
    )
    text = "the model's stream broke off: what came of this message is void"
    return [ErrorEvent(timestamp=at, error=text, kind="stream_abandoned", retryable=True, **where)]


def _within(parent: str | None) -> dict[str, Any]:
    """Return the field that a sub-agent's events have."""
    return {} if parent is None else {"parent_call_id": parent}
