"""Any command: its output is emitted unchanged, colours included, in batches."""

from __future__ import annotations

import codecs
import shlex
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Final

from workcast.events.cut_line import CutLine
from workcast.events.models import BaseEvent, BashCommand, BashOutput, Started
from workcast.producer.adapters.base import Command, Exit, run_key, unknown_line
from workcast.producer.adapters.outcome import SUCCESS_EXIT_CODES, Outcome
from workcast.producer.adapters.output import STREAMS, Stream

HOLD: Final = timedelta(milliseconds=100)
"""How long output is held, to emit more of it in one event: this limits the events per second."""
MAX_CHARS: Final = 16 * 1024
"""The most in one event, which the wire carries whole."""


class _ExitCode(Outcome):
    """The exit code alone decides."""

    def _succeeded(self, exit_code: int | None) -> bool:
        return exit_code in SUCCESS_EXIT_CODES


class ExecAdapter:
    """Reads one run of a command. The texts of a stream's events, joined, are all that the command wrote to it."""

    name: ClassVar[str] = "exec"
    install_hint: ClassVar[str] = ""
    takes_prompt: ClassVar[bool] = False

    def __init__(self, command: Command | None = None, /) -> None:
        self._argv = () if command is None else command.argv
        self._key = ""
        self._outcome = _ExitCode()
        self._ended = False
        # A pipe can cut a character in two; invalid UTF-8 becomes U+FFFD.
        self._decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in STREAMS}
        self._stream: Stream = "stdout"
        self._held = ""
        self._since: datetime | None = None

    @classmethod
    def command(cls, prompt: str, options: Sequence[str] = (), model: str | None = None) -> Command:
        """Build the command: the options are its first words, the prompt is its last; the model is unused."""
        _ = model
        return Command((*options, prompt))

    @property
    def due(self) -> datetime | None:
        """When the held output has to be emitted."""
        return None if self._since is None else self._since + HOLD

    def begin(self, prompt: str, at: datetime) -> list[BaseEvent]:
        """Return the command and its start."""
        command = shlex.join(self._argv or (prompt,))
        return [
            BashCommand(timestamp=at, command=command, call_id=self._call_id(at)),
            Started(timestamp=at, toolchain=self.name),
        ]

    def feed(self, line: bytes, at: datetime) -> list[BaseEvent]:
        """Read one line of stdout."""
        if isinstance(line, CutLine):
            return [unknown_line(self.name, line, at)]
        return self.feed_output(line + b"\n", "stdout", at)

    def feed_output(self, piece: bytes, stream: Stream, at: datetime) -> list[BaseEvent]:
        """Hold the piece; emit what is full or due, or was written to the other stream before it."""
        return self._hold(self._decoders[stream].decode(piece), stream, at)

    def flush_output(self, at: datetime) -> list[BaseEvent]:
        """Emit the held output if it is due."""
        return self._flush(at) if self.due is not None and at >= self.due else []

    def end_output(self, stream: Stream, at: datetime) -> list[BaseEvent]:
        """Emit the held output."""
        return [*self._hold(self._decoders[stream].decode(b"", final=True), stream, at), *self._flush(at)]

    def end(self, exit: Exit, at: datetime) -> list[BaseEvent]:  # noqa: A002
        """Emit the held output, then complete the run."""
        if self._ended:
            return []
        self._ended = True
        left = [event for stream in STREAMS for event in self.end_output(stream, at)]
        return [*left, self._outcome.completed(exit, at)]

    def _hold(self, text: str, stream: Stream, at: datetime) -> list[BaseEvent]:
        if not text:
            return []
        events = self._flush(at) if stream != self._stream else self.flush_output(at)
        self._stream = stream
        self._since = self._since or at
        self._held += text
        while len(self._held) > MAX_CHARS:
            end = self._held.rfind("\n", 0, MAX_CHARS) + 1 or MAX_CHARS
            events.append(self._output(self._held[:end], at))
            self._held, self._since = self._held[end:], at
        return events

    def _flush(self, at: datetime) -> list[BaseEvent]:
        held, self._held, self._since = self._held, "", None
        return [self._output(held, at)] if held else []

    def _output(self, text: str, at: datetime) -> BashOutput:
        return BashOutput(timestamp=at, output=text, stream=self._stream, call_id=self._call_id(at))

    def _call_id(self, at: datetime) -> str:
        self._key = self._key or run_key(at)
        return f"{self._key}-exec"
