"""Verifies a workcell: compares its log with its stream, line by line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final
from zlib import crc32

from pydantic import BaseModel

from workcast.broker.errors import WorkcellIdError
from workcast.broker.log import LogReader
from workcast.broker.log_facts import epoch_of
from workcast.broker.root import Root
from workcast.broker.stream import Publisher, StreamEntry
from workcast.broker.watermark import Watermark
from workcast.events.wire import wire

_MAX_TOLD: Final = 20
"""Offsets listed of a kind; how many there are is told in full."""
_LOOK_AGAIN_SECONDS: Final = 0.1


class Verdict(BaseModel):
    """What was compared, and what is wrong. ``ok`` if nothing is."""

    workcell: str
    epoch: int
    """The log's."""
    base: int
    end: int
    """The offset after the log's last line."""
    stream_start: int | None = None
    stream_end: int | None = None
    compared: int = 0
    problems: list[str] = []

    @property
    def ok(self) -> bool:
        return not self.problems


def verifiable(root: Root, publisher: Publisher) -> list[str]:
    """The workcells of a root, and those whose streams were published from it but that it no longer has; sorted.

    Raises:
        BrokerError: Redis cannot be reached.
    """
    here, origin = root.ids(), root.origin()
    others = [workcell for workcell in set(publisher.workcells()).difference(here) if root.owns(workcell)]
    positions = zip(others, publisher.watermarks(others), strict=True)
    gone = [workcell for workcell, position in positions if position.crc is not None and position.origin == origin]
    return sorted([*here, *gone])


def verify_patiently(root: Root, workcell: str, publisher: Publisher, seconds: float) -> Verdict:
    """Like :func:`verify`, but what was not relayed yet when it first looked has ``seconds`` to be.

    Lines that come while it waits are not waited for: a log that grows all the time has its verdict as well.

    Raises:
        BrokerError: Redis cannot be reached.
        WorkcellIdError: neither the root nor its broker knows the workcell.
    """
    verdict = verify(root, workcell, publisher)
    deadline = time.monotonic() + seconds  # from here on: a first look at much may take longer than that
    epoch, end = verdict.epoch, verdict.end
    while not verdict.ok and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN_SECONDS)
        verdict = verify(root, workcell, publisher, end)
        if verdict.epoch != epoch:
            epoch, end = verdict.epoch, verdict.end
    return verdict


def verify(root: Root, workcell: str, publisher: Publisher, until: int | None = None) -> Verdict:
    """Compare what the broker holds of a workcell with its log.

    The stream may hold only the log's tail, but that dense, up to the log's end, and byte for byte. With ``until``,
    lines from that offset on may be missing.

    Raises:
        BrokerError: Redis cannot be reached.
        WorkcellIdError: neither the root nor its broker knows the workcell.
    """
    position = publisher.watermarks([workcell])[0]
    entries = publisher.entries(workcell)
    is_foreign = position.epoch != 0 and position.origin not in ("", root.origin())
    if not root.holds(workcell):
        return _verify_gone(root, workcell, None if is_foreign else position)
    reader = LogReader(root.log(workcell))
    reader.refresh()  # after the stream was read: what is in it must be in the log by now
    due = reader.end if until is None else min(until, reader.end)
    verdict = Verdict(workcell=workcell, epoch=epoch_of(root, workcell, reader), base=reader.base, end=reader.end)
    if is_foreign:
        verdict.problems.append(
            f"it is published from another root (origin {position.origin}); "
            "rename the workcell, or give the roots names"
        )
        return verdict
    if reader.base == reader.end:
        if position.head > reader.end:
            verdict.problems.append(_tell_gone(position))
        return verdict
    if position.epoch != verdict.epoch:
        verdict.problems.append(f"the log has epoch {verdict.epoch}, the broker {position.epoch}: it needs a relay")
        return verdict
    if not entries and position.head >= due:  # an idle stream that expired
        if position.head > reader.end:
            verdict.problems.append(f"the broker had {position.head - reader.end} events after the log's last one")
        return verdict
    different = list(_compare(reader, entries, verdict))
    _tell(verdict, "differ from their lines", different)
    _tell(verdict, "are missing in the stream", _missing(entries, due))
    return verdict


def _verify_gone(root: Root, workcell: str, position: Watermark | None) -> Verdict:
    if root.leads_out(workcell):
        problem = "it is a symbolic link out of its root, and is not published"
    elif position is None or not position.epoch:
        raise WorkcellIdError(f"expected a workcell that {root.directory} or its broker knows, got {workcell!r}")
    else:
        problem = _tell_gone(position)
    return Verdict(workcell=workcell, epoch=0, base=0, end=0, problems=[problem])


def _tell_gone(position: Watermark) -> str:
    return f"the broker has {position.head - position.base} events of it, the log none"


def _compare(reader: LogReader, entries: list[StreamEntry], verdict: Verdict) -> Iterator[int]:
    """The offsets of entries that are not what their lines say."""
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


def _tell(verdict: Verdict, what: str, offsets: list[int]) -> None:
    if offsets:
        listed = ", ".join(map(str, offsets[:_MAX_TOLD])) + (", …" if len(offsets) > _MAX_TOLD else "")
        verdict.problems.append(f"{len(offsets)} events {what}: {listed}")
