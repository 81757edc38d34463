"""How output gets from pipes to an adapter: line by line to most, as it comes to those that want all of it."""

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
    """Turns pieces of output into events. An adapter that is one as well gets stderr too, and all of it as it comes."""

    @property
    def due(self) -> datetime | None:
        """When what is held back has waited long enough; None: nothing is."""
        ...

    def feed_output(self, piece: bytes, stream: Stream, at: datetime) -> list[BaseEvent]:
        """Read a piece of any size that was captured at ``at``. Never raises, whatever it holds."""
        ...

    def flush_output(self, at: datetime) -> list[BaseEvent]:
        """Tell what is due by now."""
        ...

    def end_output(self, stream: Stream, at: datetime) -> list[BaseEvent]:
        """Nothing more comes of a stream: tell what is left of it. Can be called again."""
        ...


class LineReader:
    """Feeds an adapter with the lines of stdout; stderr is not for it."""

    due: datetime | None = None

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._lines = LineSplitter()

    def feed_output(self, piece: bytes, stream: Stream, at: datetime) -> list[BaseEvent]:
        """The events of the lines that end in this piece."""
        return self._read(self._lines.feed(piece), at) if stream == "stdout" else []

    def flush_output(self, at: datetime) -> list[BaseEvent]:
        """Half a line says nothing yet."""
        _ = at
        return []

    def end_output(self, stream: Stream, at: datetime) -> list[BaseEvent]:
        """The line that lacks its newline."""
        return self._read(self._lines.drain(), at) if stream == "stdout" else []

    def _read(self, lines: Iterable[bytes], at: datetime) -> list[BaseEvent]:
        return [event for line in lines for event in self._adapter.feed(line, at)]


def reader_of(adapter: Adapter) -> OutputReader:
    """What is to be fed with the output of an adapter's agent."""
    return adapter if isinstance(adapter, OutputReader) else LineReader(adapter)
