"""What every adapter is: a pure translator from the lines that an agent prints to events.

An adapter does no input or output. It is fed with lines and told when the agent ended; whoever feeds it (the runner,
a replay, ``workcast parse``) writes the events that it answers. :mod:`workcast.producer.adapters.output` has the form
of those that are fed with raw output instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, Literal, NamedTuple, Protocol

from workcast.events.models import BaseEvent, ToolResult, Unknown
from workcast.producer.lines import CutLine

HowEnded = Literal["exited", "timeout", "cancelled"]

NO_RESULT: Final = "no result: the agent ended"
CUT_RAW_BYTES: Final = 4096
"""How much of a line that was too long to be read is kept in its ``unknown`` event."""
MAX_ARGUMENT_BYTES: Final = 120_000
"""Linux takes no argument over 128 KiB; a longer prompt goes through stdin."""
STOPPED_EXIT_CODES: Final = frozenset({128 + 2, 128 + 15})
"""What a program exits with when somebody sends it SIGINT or SIGTERM."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
MILLISECOND: Final = timedelta(milliseconds=1)
HALF_MILLISECOND: Final = timedelta(microseconds=500)


@dataclass(frozen=True, slots=True)
class Exit:
    """How an agent's process ended."""

    exit_code: int | None
    """As a shell says it: 128 + N for a death by signal N; None if nobody knows."""
    how: HowEnded = "exited"
    """``exited``: by itself, or by a signal that was not ours."""
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """How to start an agent."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Set on top of the environment."""
    prompt_on_stdin: bool = False
    """True: the prompt fits no argument, so it is to be given on stdin; False: stdin is to be empty."""


class Adapter(Protocol):
    """One agent's language. An instance reads one run."""

    name: ClassVar[str]
    install_hint: ClassVar[str]
    """The command that installs the agent; empty if nobody knows one."""
    takes_prompt: ClassVar[bool]
    """False: what is given as a prompt is a word of a command like any other, and may be empty."""

    def __init__(self, command: Command | None = None, /) -> None:
        """``command`` is how the agent was started, if anybody knows: it says what stdout does not."""
        ...

    @classmethod
    def command(cls, prompt: str, options: Sequence[str] = (), model: str | None = None) -> Command:
        """How to start the agent on a prompt; ``options`` are the user's own, handed on as they are."""
        ...

    def begin(self, prompt: str, at: datetime) -> list[BaseEvent]:
        """What is told before the agent is started."""
        ...

    def feed(self, line: bytes, at: datetime) -> list[BaseEvent]:
        """Read one line of stdout, without its newline, captured at ``at``. Never raises, whatever the line holds.

        One that was cut (:class:`~workcast.producer.lines.CutLine`) can be read no more: it becomes ``unknown``.
        """
        ...

    def end(self, exit: Exit, at: datetime) -> list[BaseEvent]:  # noqa: A002
        """The process ended at ``at``: close the calls that are open, then answer ``completed``, last.

        Only the first call answers events: a run completes once.
        """
        ...


class OpenCall(NamedTuple):
    """A tool call that waits for its result."""

    call_id: str
    tool: str
    at: datetime
    parent: str | None = None
    path: str | None = None
    """The file that the call is about."""


def fits_argument(prompt: str) -> bool:
    """Whether a prompt can be given on the command line."""
    return "\0" not in prompt and len(prompt.encode("utf-8", "replace")) <= MAX_ARGUMENT_BYTES


def run_key(at: datetime) -> str:
    """Tells a run from the others in its log, for agents whose ids begin anew in each: the time of its first line."""
    return f"{(at - EPOCH) // MICROSECOND:x}"


def optional(**fields: object) -> dict[str, Any]:
    """The fields that are known: an event says nothing about what nobody knows."""
    if None in fields.values():
        return {name: value for name, value in fields.items() if value is not None}
    return fields


def milliseconds_between(start: datetime, end: datetime) -> int:
    """From ``start`` to ``end``; 0 if the clock was set back in between."""
    return max(0, (end - start + HALF_MILLISECOND) // MILLISECOND)


def close_calls(calls: Iterable[OpenCall], at: datetime) -> list[BaseEvent]:
    """The results of calls that will never get one."""
    return [
        ToolResult(
            timestamp=at,
            tool=call.tool,
            result=None,
            error=NO_RESULT,
            call_id=call.call_id,
            duration_ms=milliseconds_between(call.at, at),
            **optional(parent_call_id=call.parent),
        )
        for call in calls
    ]


def unknown_line(toolchain: str, line: bytes, at: datetime) -> Unknown:
    """A line that no rule knows, as it was printed; bytes that are no UTF-8 are written ``\\xNN``.

    Of one that was cut, the beginning, and the size that it had.
    """
    cut = optional(truncated={"bytes": line.size}) if isinstance(line, CutLine) else {}
    raw = line[:CUT_RAW_BYTES] if cut else line
    return Unknown(timestamp=at, toolchain=toolchain, raw=raw.decode("utf-8", "backslashreplace"), **cut)


def unread(toolchain: str, line: bytes, at: datetime) -> list[BaseEvent]:
    """What a line is told as that holds no JSON object, or one that no rule knows: nothing if it is blank."""
    return [unknown_line(toolchain, line, at)] if line and not line.isspace() else []
