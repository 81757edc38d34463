"""The way from an agent's pipes to its adapter: line by line to most, as raw output to those that read all of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

from workcast.events.models import BaseEvent
from workcast.producer.adapters.base import Adapter
from workcast.producer.lines import LineSplitter

Stream = Literal["stdout", "stderr"]
STREAMS: tuple[Stream, ...] = ("stdout", "stderr")


@runtime_checkable
class OutputReader(Protocol):
    """Turns pieces of output into events. An adapter that implements this gets all output as it comes, stderr too."""

    @property
    def due(self) -> datetime | None:
        """When the held output has to be emitted; None if none is held."""
        ...

    def feed_output(self, piece: bytes, stream: Stream, at: datetime) -> list[BaseEvent]:
        """Read a piece of any size that was captured at ``at``. Never raises, whatever it holds."""
        ...

    def flush_output(self, at: datetime) -> list[BaseEvent]:
        """Emit the held output that is due."""
        ...

    def end_output(self, stream: Stream, at: datetime) -> list[BaseEvent]:
        """Emit what is left of a stream that has ended. May be called again."""
        ...


class LineReader:
    """Feeds an adapter with the lines of stdout, and ignores stderr."""

    due: datetime | None = None

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._lines = LineSplitter()

    def feed_output(self, piece: bytes, stream: Stream, at: datetime) -> list[BaseEvent]:
        """Return the events of the lines that end in this piece."""
        return self._read(self._lines.feed(piece), at) if stream == "stdout" else []

    def flush_output(self, at: datetime) -> list[BaseEvent]:
        """Return nothing: an incomplete line has no events yet."""
        _ = at
        return []

    def end_output(self, stream: Stream, at: datetime) -> list[BaseEvent]:
        """Return the events of the last line, which has no newline."""
        return self._read(self._lines.drain(), at) if stream == "stdout" else []

    def _read(self, lines: Iterable[bytes], at: datetime) -> list[BaseEvent]:
        return [event for line in lines for event in self._adapter.feed(line, at)]


def reader_of(adapter: Adapter) -> OutputReader:
    """Return the reader to feed with the output of an adapter's agent."""
    return adapter if isinstance(adapter, OutputReader) else LineReader(adapter)
