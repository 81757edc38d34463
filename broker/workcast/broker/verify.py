"""Verifies a workcell: compares its log with its stream and its checksums, line by line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final
from zlib import crc32

from pydantic import BaseModel

from workcast.broker.errors import WorkcellIdError
from workcast.broker.line_sums import LineSums
from workcast.broker.log import LogReader
from workcast.broker.log_facts import decide_by_files
from workcast.broker.publisher import Publisher, StreamEntry
from workcast.broker.root import Root
from workcast.broker.watermark import Watermark
from workcast.events.wire import wire

_MAX_LISTED: Final = 20
"""Offsets that a problem lists; it says how many there are."""
_RETRY_SECONDS: Final = 0.1
_READ_LINES: Final = 4096
_READ_BYTES: Final = 4 << 20


class Verdict(BaseModel):
    """What was compared, and the problems that were found."""

    workcell: str
    epoch: int
    """The log's."""
    base: int
    end: int
    """The offset after the log's last line."""
    stream_start: int | None = None
    stream_end: int | None = None
    compared: int = 0
    """Entries of the stream that were compared with their lines."""
    proven: int = 0
    """Lines that agree with their checksums."""
    problems: list[str] = []

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems


def verifiable(root: Root, publisher: Publisher) -> list[str]:
    """Return the workcells of a root, and those it no longer has whose streams were published from it; sorted.

    Raises:
        BrokerError: Redis cannot be reached.
    """
    here, origin = root.ids(), root.origin()
    others = [workcell for workcell in set(publisher.workcells()).difference(here) if root.owns(workcell)]
    watermarks = zip(others, publisher.watermarks(others), strict=True)
    gone = [workcell for workcell, stored in watermarks if stored.crc is not None and stored.origin == origin]
    return sorted([*here, *gone])


def verify_patiently(root: Root, workcell: str, publisher: Publisher, seconds: float) -> Verdict:
    """Like :func:`verify`, but give the relay ``seconds`` to publish the lines that were there at first.

    Lines that are written meanwhile may be missing, so a log that keeps growing gets a verdict too.

    Raises:
        BrokerError: Redis cannot be reached.
        WorkcellIdError: neither the root nor its broker has the workcell.
    """
    verdict = verify(root, workcell, publisher)
    deadline = time.monotonic() + seconds  # from here on: the first comparison alone may take longer than that
    epoch, end = verdict.epoch, verdict.end
    while not verdict.ok and time.monotonic() < deadline:
        time.sleep(_RETRY_SECONDS)
        verdict = verify(root, workcell, publisher, end)
        if verdict.epoch != epoch:
            epoch, end = verdict.epoch, verdict.end
    return verdict


def verify(root: Root, workcell: str, publisher: Publisher, until: int | None = None) -> Verdict:
    """Compare what the broker holds of a workcell with its log.

    A stream may hold only the log's tail, but that must be dense, byte for byte, and reach the log's end. It may be
    absent if the head is right: it expired, or the log had ended when its relay started.

    Args:
        root: of the workcell.
        workcell: its id.
        publisher: to the broker.
        until: lines from this offset on may be missing; None: no line may.

    Raises:
        BrokerError: Redis cannot be reached.
        WorkcellIdError: neither the root nor its broker has the workcell.
    """
    stored = publisher.watermarks([workcell])[0]
    entries = publisher.entries(workcell)
    is_foreign = stored.epoch != 0 and stored.origin not in ("", root.origin())
    if not root.holds(workcell):
        return _verify_gone(root, workcell, None if is_foreign else stored)
    reader, state = LogReader(root.log(workcell)), root.log_state(workcell)
    decision = decide_by_files(reader, state)  # after the stream: its lines are in the log by now
    verdict = Verdict(workcell=workcell, epoch=decision.epoch, base=reader.base, end=reader.end)
    if is_foreign:
        verdict.problems.append(
            f"it is published from another root (origin {stored.origin}); rename the workcell, or give the roots names"
        )
    elif reader.base == reader.end:
        if stored.head > reader.end:
            verdict.problems.append(_describe_gone(stored))
    elif stored.epoch != verdict.epoch:
        verdict.problems.append(f"the log has epoch {verdict.epoch}, the broker {stored.epoch}: it needs a relay")
    else:
        due = reader.end if until is None else min(until, reader.end)
        _verify_stream(reader, entries, stored, verdict, due)
        if verdict.ok and decision.needs_epoch:
            verdict.problems.append(f"the log is not the one that was published ({decision.kind}): it needs a relay")
    if not is_foreign:
        _verify_sums(reader, state.sums, verdict)
    return verdict


def _verify_sums(reader: LogReader, sums: LineSums, verdict: Verdict) -> None:
    """Compare all lines with their checksums; name the first one that differs."""
    offset = reader.base
    while lines := reader.read(offset, _READ_LINES, _READ_BYTES).lines:
        edited = sums.first_difference(verdict.epoch, offset, lines)
        if edited is not None:
            verdict.proven = sums.known_to(verdict.epoch, reader.base, edited) - reader.base
            verdict.problems.append(f"the line at {edited} was edited after it was shown")
            return
        offset += len(lines)
    verdict.proven = sums.known_to(verdict.epoch, reader.base, offset) - reader.base


def _verify_stream(
    reader: LogReader, entries: list[StreamEntry], stored: Watermark, verdict: Verdict, due: int
) -> None:
    if not entries and stored.head >= due:
        if stored.head > reader.end:
            verdict.problems.append(f"the broker had {stored.head - reader.end} events after the log's last one")
        return
    _report(verdict, "differ from their lines", list(_compare(reader, entries, verdict)))
    _report(verdict, "are missing in the stream", _missing(entries, due))


def _verify_gone(root: Root, workcell: str, stored: Watermark | None) -> Verdict:
    if what := root.oddity(workcell):
        problem = f"{what}: it is not published"
    elif stored is None or not stored.epoch:
        raise WorkcellIdError(f"expected a workcell that {root.directory} or its broker knows, got {workcell!r}")
    else:
        problem = _describe_gone(stored)
    return Verdict(workcell=workcell, epoch=0, base=0, end=0, problems=[problem])


def _describe_gone(stored: Watermark) -> str:
    return f"the broker has {stored.head - stored.base} events of it, the log none"


def _compare(reader: LogReader, entries: list[StreamEntry], verdict: Verdict) -> Iterator[int]:
    """Yield the offsets of entries that differ from their lines."""
    for entry in entries:
        verdict.stream_start = entry.offset if verdict.stream_start is None else verdict.stream_start
        verdict.stream_end = entry.offset + 1
        if entry.epoch != verdict.epoch or not reader.base <= entry.offset < reader.end:
            yield entry.offset
            continue
        lines = reader.read(entry.offset, 1, 1).lines
        if not lines or crc32(lines[0]) != entry.crc or wire(lines[0]) != entry.data:
            yield entry.offset
        verdict.compared += 1


def _missing(entries: list[StreamEntry], end: int) -> list[int]:
    have = {entry.offset for entry in entries}
    return [offset for offset in range(min(have, default=end - 1), end) if offset not in have]


def _report(verdict: Verdict, what: str, offsets: list[int]) -> None:
    if offsets:
        listed = ", ".join(map(str, offsets[:_MAX_LISTED])) + (", …" if len(offsets) > _MAX_LISTED else "")
        verdict.problems.append(f"{len(offsets)} events {what}: {listed}")
