"""How far workcells are published, as the broker has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from workcast.broker.keys import stream_key, summary_key
from workcast.broker.watermark import Watermark

_COMMANDS: Final = 2
"""For each workcell."""


def queue_watermarks(pipe: Any, workcells: Iterable[str]) -> None:
    """Add the commands that read the watermarks of workcells to a pipeline of redis-py, blocking or not."""
    for workcell in workcells:
        pipe.hmget(summary_key(workcell), ["epoch", "head", "base", "origin"])
        pipe.xrevrange(stream_key(workcell), count=1)


def parse_watermarks(replies: Sequence[Any]) -> list[Watermark]:
    """Return the watermarks that a pipeline with the commands of :func:`queue_watermarks` alone has read."""
    return [_parse(replies[at], replies[at + 1]) for at in range(0, len(replies), _COMMANDS)]


def _parse(summary: Sequence[bytes | None], last: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> Watermark:
    """Take the later of the summary's head and the stream's last entry."""
    epoch, head, crc = int(summary[0] or 0), int(summary[1] or 0), None
    if last:
        entry_epoch, _, sequence = last[0][0].partition(b"-")
        epoch = epoch or int(entry_epoch)
        if int(entry_epoch) == epoch and int(sequence) >= head:
            head, crc = int(sequence), int(last[0][1][b"c"])
    return Watermark(epoch, head, crc, int(summary[2] or 0), origin=(summary[3] or b"").decode())
