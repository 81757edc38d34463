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

from workcast.broker.errors import WorkcastError
from workcast.broker.event import BaseEvent
from workcast.broker.root import Root
from workcast.broker.running import find_up
from workcast.producer.adapters import adapter_for
from workcast.producer.runner import run_agent
from workcast.producer.writer import TelemetryWriter

EXIT_CODES: Final = {"success": 0, "failed": 1, "timeout": 124, "cancelled": 130}


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
    *,
    worktree: bool = False,
) -> int:
    """Run ``words`` (the agent's options, and the prompt last) and return the exit code of ``workcast run``.

    Raises:
        WorkcastError: the agent is not installed, the prompt is empty, the root is not there, the id is malformed,
            the worktree cannot be made, another run is in the workcell; nothing was written.
    """
    kind = adapter_for(agent)  # raises before anything is named after an agent that there is not
    prompt = _read_prompt() if words[-1] == "-" and kind.takes_prompt else words[-1]
    name = workcell or f"{agent}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    directory = root.workcell(name)
    root.check()
    if directory.exists() and not root.holds(name):
        raise RunError(f"{directory} is no workcell: it or its log leads out of {root.directory}; choose another id")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    context = {"workcell_id": name, "issue_id": issue, "toolchain": agent, "model": model}
    with contextlib.ExitStack() as stack:
        try:
            result = await run_agent(
                agent,
                prompt,
                workcell_dir=directory,
                cwd=directory if worktree or (directory / ".git").exists() else root.directory,
                writer=_LateWriter(root, name, context, stack),
                repository=root.directory if worktree else None,
                model=model,
                options=words[:-1],
                timeout=timeout,
                stop=stop,
            )
        except OSError as error:
            raise RunError(f"cannot write to {error.filename or directory}: {error.strerror}") from error
    sys.stderr.write(f"{name}: {result.status} after {result.duration_ms / 1000:.1f} s, exit code {result.exit_code}\n")
    return EXIT_CODES[result.status]


def _read_prompt() -> str:
    """A prompt that is too long for a command line comes through a pipe."""
    return sys.stdin.buffer.read().decode("utf-8", "replace")


class _LateWriter:
    """Opens the log for its first event: an agent that is not installed leaves nothing behind."""

    def __init__(
        self, root: Root, workcell: str, context: Mapping[str, str | None], stack: contextlib.ExitStack
    ) -> None:
        self._root = root
        self._workcell = workcell
        self._context = context
        self._stack = stack
        self._writer: TelemetryWriter | None = None

    def write(self, event: BaseEvent) -> None:
        """Append an event."""
        if self._writer is None:
            self._writer = self._stack.enter_context(TelemetryWriter(self._root.log(self._workcell), self._context))
            _say_where(self._root, self._workcell)
        self._writer.write(event)


def _say_where(root: Root, workcell: str) -> None:
    running = find_up(root)
    where = f"{running.http_url}/#/w/{workcell}" if running else str(root.log(workcell))
    sys.stderr.write(f"{workcell}: {where}\n")
