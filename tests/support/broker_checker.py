"""Check what a broker holds of a log. Tested itself with brokers that break each rule."""

from __future__ import annotations

from typing import Any
from zlib import crc32

from pydantic_core import from_json

from workcast.broker.keys import partition, stream_key, summary_key, workcells_key
from workcast.events.wire import inspect, wire
from workcast.ledger.summary import Fold, to_json


def stream_problems(client: Any, workcell: str, epoch: int, lines: list[bytes], base: int = 0) -> list[str]:
    """List the differences between the stream and ``lines``, which begin at ``base``; the stream may be incomplete."""
    problems: list[str] = []
    expected: int | None = None
    for entry, fields in client.xrange(stream_key(workcell)):
        entry_epoch, _, sequence = entry.partition(b"-")
        offset = int(sequence) - 1
        if int(entry_epoch) != epoch:
            problems.append(f"entry {entry!r} has another epoch than {epoch}")
            continue
        if expected is not None and offset != expected:
            problems.append(f"expected offset {expected} next, got {offset}")
        expected = offset + 1
        if not base <= offset < base + len(lines):
            problems.append(f"offset {offset} has no line")
            continue
        line = lines[offset - base]
        if fields.get(b"d") != wire(line):
            problems.append(f"offset {offset} differs from its line")
        if fields.get(b"c") != b"%d" % crc32(line):
            problems.append(f"the CRC at {offset} is not that of its line")
    return problems


def completeness_problems(client: Any, workcell: str, epoch: int, lines: list[bytes], base: int = 0) -> list[str]:
    """List what is missing once the relay has caught up: stream and summary must end at the log's end."""
    problems = stream_problems(client, workcell, epoch, lines, base)
    head = base + len(lines)
    summary = client.hgetall(summary_key(workcell))
    if int(summary.get(b"epoch", -1)) != epoch:
        problems.append(f"expected epoch {epoch} in the summary, got {summary.get(b'epoch')!r}")
    if int(summary.get(b"head", -1)) != head:
        problems.append(f"expected head {head} in the summary, got {summary.get(b'head')!r}")
    last = client.xrevrange(stream_key(workcell), count=1)
    if not last or last[0][0] != b"%d-%d" % (epoch, head):
        problems.append(f"expected the stream to end at {head}, it ends at {last[0][0] if last else None!r}")
    if client.zscore(workcells_key(partition(workcell)), workcell) is None:
        problems.append(f"{workcell} is not among the workcells")
    return problems + _fold_problems(summary, workcell, epoch, lines, base)


def _fold_problems(summary: dict[bytes, bytes], workcell: str, epoch: int, lines: list[bytes], base: int) -> list[str]:
    """List the fields in which the summary's JSON is not the fold of all lines."""
    stored = from_json(summary.get(b"json", b"{}"))
    fold = Fold(offset=base)
    for line in lines:
        fold.add(inspect(line)[1])
    expected = from_json(to_json(fold.summary(workcell, epoch, base, summary.get(b"origin", b"").decode())))
    if base:
        # A relay that folded lines before they were pruned continues from there: only the last fields are predictable.
        expected = {field: expected[field] for field in ("id", "epoch", "head", "last")}
        counted = sum(stored.get("counts", {}).values())
        if not len(lines) <= counted <= base + len(lines):
            return [f"expected a summary of {len(lines)} events and the pruned ones, got {stored.get('counts')}"]
    return [
        f"expected {field} {value!r} in the summary's JSON, got {stored.get(field)!r}"
        for field, value in expected.items()
        if stored.get(field) != value
    ]
