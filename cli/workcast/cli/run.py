"""``run``: starts an agent in a workcell and writes its log."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from workcast.broker.connection import check_url
from workcast.broker.environment import read_environment
from workcast.broker.errors import BrokerError
from workcast.broker.names import REDIS_URL_VARIABLE
from workcast.broker.root import Root
from workcast.broker.running import find_up, served
from workcast.cli.messages import say
from workcast.cli.printable import printable
from workcast.events.errors import WorkcastError
from workcast.events.models import BaseEvent, ErrorEvent
from workcast.ledger.limits import UNLIMITED, Limits
from workcast.producer.adapters import adapter_for
from workcast.producer.runner import run_agent
from workcast.producer.writer import TelemetryWriter

EXIT_CODES: Final = {"success": 0, "failed": 1, "timeout": 124, "cancelled": 130}
REASON_CHARS: Final = 400
"""Of an agent's error, in the last line on stderr; the log contains all of it."""


class RunError(WorkcastError):
    """The workcell cannot be written."""


async def run_in_workcell(
    root: Root,
    agent: str,
    words: Sequence[str],
    workcell: str | None,
    issue: str | None,
    model: str | None,
    timeout: float | None,  # noqa: ASYNC109 - of the agent, not of this coroutine
    limits: Limits = UNLIMITED,
    *,
    worktree: bool = False,
) -> int:
    """Run ``words`` (the agent's options, and the prompt last) and return the exit code of ``workcast run``.

    Raises:
        WorkcastError: the agent is not installed, the prompt is empty, the root is missing, the id or the Redis URL
            is malformed, the agent cannot be held to its limits, the worktree cannot be made, another run is in the
            workcell; nothing was written. Or the log's lock was held for too long; the agent was ended.
    """
    kind = adapter_for(agent)  # raises before a workcell is named after an unknown agent
    _check_environment()
    prompt = _read_prompt() if words[-1] == "-" and kind.takes_prompt else words[-1]
    name = workcell or f"{agent}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    directory = root.workcell(name)
    root.check()
    if what := root.oddity(name):
        raise RunError(f"cannot write to {root.log(name)}: {what}; remove that, or choose another id")
    stop, kill = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            loop.add_signal_handler(number, _ask, stop, kill)
    context = {"workcell_id": name, "issue_id": issue, "toolchain": agent, "model": model}
    with contextlib.ExitStack() as stack:
        writer = _LateWriter(root, name, context, stack)
        try:
            result = await run_agent(
                agent,
                prompt,
                workcell_dir=directory,
                cwd=directory if worktree or (directory / ".git").exists() else root.directory,
                writer=writer,
                repository=root.directory if worktree else None,
                model=model,
                options=words[:-1],
                timeout=timeout,
                limits=limits,
                stop=stop,
                kill=kill,
            )
        except WorkcastError:  # some are OSErrors, too, and say more
            raise
        except OSError as error:
            raise RunError(f"cannot write to {error.filename or directory}: {error.strerror}") from error
    why = f": {_short(writer.error)}" if result.status == "failed" and writer.error else ""
    say(f"{name}: {result.status} after {result.duration_ms / 1000:.1f} s, exit code {result.exit_code}{why}")
    return EXIT_CODES[result.status]


def _ask(stop: asyncio.Event, kill: asyncio.Event) -> None:
    """Stop the agent; when asked again, kill it."""
    (kill if stop.is_set() else stop).set()


def _read_prompt() -> str:
    """Read a prompt that may be too long for a command line."""
    return sys.stdin.buffer.read().decode("utf-8", "replace")


def _check_environment() -> None:
    """Refuse what the log's writer could not use, before anything is written."""
    url = read_environment().redis_url
    try:
        if url:
            check_url(url)
    except BrokerError as error:
        raise BrokerError(f"{REDIS_URL_VARIABLE}: {error}") from error


class _LateWriter:
    """Opens the log at its first event: an agent that is not installed leaves no files."""

    def __init__(
        self, root: Root, workcell: str, context: Mapping[str, str | None], stack: contextlib.ExitStack
    ) -> None:
        self._root = root
        self._workcell = workcell
        self._context = context
        self._stack = stack
        self._writer: TelemetryWriter | None = None
        self.error = ""
        """The last error that ended the agent's work."""

    def write(self, event: BaseEvent) -> None:
        """Append an event."""
        if self._writer is None:
            self._writer = self._stack.enter_context(TelemetryWriter(self._root.log(self._workcell), self._context))
            _say_where(self._root, self._workcell)
        if isinstance(event, ErrorEvent) and event.retryable is False:
            self.error = event.error
        self._writer.write(event)


def _say_where(root: Root, workcell: str) -> None:
    running = find_up(root)
    where = f"{running.http_url}/#/w/{served(root).id_of(workcell)}" if running else str(root.log(workcell))
    say(f"{workcell}: {where}")


def _short(text: str) -> str:
    """Return an error as one line: its beginning and, if it is long, its end, where a stack trace says most."""
    line = printable(" ".join(text.split()))
    half = REASON_CHARS // 2
    return line if len(line) <= REASON_CHARS else f"{line[:half]} … {line[-half:]}"
