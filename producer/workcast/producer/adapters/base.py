"""What every adapter is: a pure translator from the lines that an agent prints to events.

An adapter does no I/O. It is given lines, and at last the agent's exit; its caller (the runner, a replay,
``workcast parse``) writes the events that it returns. :mod:`workcast.producer.adapters.output` defines the form of
adapters that read raw output instead of lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, Literal, Protocol

from workcast.events.cut_line import CutLine
from workcast.events.models import BaseEvent, ToolResult, Unknown
from workcast.producer.calls import OpenCall

HowEnded = Literal["exited", "timeout", "cancelled"]

NO_RESULT: Final = "no result: the agent ended"
CUT_RAW_BYTES: Final = 4096
"""How much of a line that was too long is kept in its ``unknown`` event."""
MAX_ARGUMENT_BYTES: Final = 120_000
"""Linux accepts no argument over 128 KiB; a longer prompt is passed on stdin."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
MILLISECOND: Final = timedelta(milliseconds=1)
HALF_MILLISECOND: Final = timedelta(microseconds=500)


@dataclass(frozen=True, slots=True)
class Exit:
    """How an agent's process ended."""

    exit_code: int | None
    """As a shell reports it: 128 + N for a death by signal N; None if unknown."""
    how: HowEnded = "exited"
    """``exited``: by itself, or by a signal that workcast did not send."""
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """How to start an agent."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables set on top of the environment."""
    prompt_on_stdin: bool = False
    """True: pass the prompt on stdin, because it fits no argument; False: stdin is empty."""


class Adapter(Protocol):
    """Translates the output of one agent. An instance reads one run."""

    name: ClassVar[str]
    install_hint: ClassVar[str]
    """The command that installs the agent; empty if there is no such command."""
    takes_prompt: ClassVar[bool]
    """False: the prompt is an ordinary word of a command, and may be empty."""

    def __init__(self, command: Command | None = None, /) -> None:
        """``command`` is how the agent was started, if known: it contains what the output does not."""
        ...

    @classmethod
    def command(cls, prompt: str, options: Sequence[str] = (), model: str | None = None) -> Command:
        """Return how to start the agent on a prompt; ``options`` are the user's own, passed on unchanged."""
        ...

    def begin(self, prompt: str, at: datetime) -> list[BaseEvent]:
        """Return the events from before the agent's start."""
        ...

    def feed(self, line: bytes, at: datetime) -> list[BaseEvent]:
        """Read one line of stdout, without its newline, captured at ``at``. Never raises, whatever the line holds.

        A truncated line (:class:`~workcast.events.cut_line.CutLine`) cannot be parsed: it becomes ``unknown``.
        """
        ...

    def end(self, exit: Exit, at: datetime) -> list[BaseEvent]:  # noqa: A002
        """Close the open calls of a process that ended at ``at``, then return ``completed``, last.

        Only the first call returns events: a run completes once.
        """
        ...


def fits_argument(prompt: str) -> bool:
    """Whether a prompt can be passed on the command line."""
    return "\0" not in prompt and len(prompt.encode("utf-8", "replace")) <= MAX_ARGUMENT_BYTES


def run_key(at: datetime) -> str:
    """Return a key that is unique among the runs of a log, given the time of the run's first line.

    It makes ids unique for agents that count from 0 in each run.
    """
    return f"{(at - EPOCH) // MICROSECOND:x}"


def optional(**fields: object) -> dict[str, Any]:
    """Return the fields that are not None: an event leaves out what is unknown."""
    if None in fields.values():
        return {name: value for name, value in fields.items() if value is not None}
    return fields


def milliseconds_between(start: datetime, end: datetime) -> int:
    """Return the time from ``start`` to ``end``; 0 if the clock was set back in between."""
    return max(0, (end - start + HALF_MILLISECOND) // MILLISECOND)


def close_calls(calls: Iterable[OpenCall], at: datetime) -> list[BaseEvent]:
    """Return a result, marked ``unanswered``, for each call that will never get its own."""
    return [
        ToolResult(
            timestamp=at,
            tool=call.tool,
            result=None,
            error=NO_RESULT,
            call_id=call.call_id,
            duration_ms=milliseconds_between(call.at, at),
            unanswered=True,
            **optional(parent_call_id=call.parent),
        )
        for call in calls
    ]


def unknown_line(toolchain: str, line: bytes, at: datetime) -> Unknown:
    """Return a line without a matching rule as it was printed, with bytes that are not UTF-8 written ``\\xNN``.

    Of a truncated line it keeps the beginning and the original size.
    """
    cut = optional(truncated={"bytes": line.size}) if isinstance(line, CutLine) else {}
    raw = line[:CUT_RAW_BYTES] if cut else line
    return Unknown(timestamp=at, toolchain=toolchain, raw=raw.decode("utf-8", "backslashreplace"), **cut)


def unread(toolchain: str, line: bytes, at: datetime) -> list[BaseEvent]:
    """Return the event of a line that holds no JSON object, or none with a matching rule; nothing if it is blank."""
    return [unknown_line(toolchain, line, at)] if line and not line.isspace() else []
