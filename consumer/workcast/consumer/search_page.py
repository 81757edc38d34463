"""Pages and lines of hits, as the gateway answers them and ``workcast search`` prints them."""

from __future__ import annotations

from typing import Final

from pydantic_core import to_json

from workcast.consumer.protocol import SearchEnd
from workcast.index.hit import Hit

MAX_HITS: Final = 1000
"""Of a page."""
MAX_STREAMED: Final = 100_000
"""Hits of a stream; then its last line has a cursor."""


def hit_line(hit: Hit) -> bytes:
    """Encode a :class:`~workcast.consumer.protocol.SearchHit`, as a line."""
    return _to_json(hit) + b"\n"


def search_page(hits: list[Hit], end: SearchEnd) -> bytes:
    """Encode a :class:`~workcast.consumer.protocol.SearchPage`."""
    rest = end.model_dump_json(exclude={"done", "total"}).encode()
    return b'{"hits":[%s],%s' % (b",".join(map(_to_json, hits)), rest[1:])


def _to_json(hit: Hit) -> bytes:
    return to_json({
        "workcell": hit.workcell, "epoch": hit.epoch, "offset": hit.offset, "type": hit.type,
        "timestamp": hit.timestamp, "field": hit.field, "snippet": hit.snippet, "marks": hit.marks,
    })  # fmt: skip
