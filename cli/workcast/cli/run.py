"""``run``: starts an agent in a workcell and writes its log."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from workcast.broker.root import Root
from workcast.cli.up import find_up
from workcast.producer.runner import run_agent
from workcast.producer.writer import TelemetryWriter

EXIT_CODES: Final = {"success": 0, "failed": 1, "timeout": 124, "cancelled": 130}


async def run_in_workcell(
    root: Root,
    agent: str,
    words: Sequence[str],
    workcell: str | None,
    issue: str | None,
    model: str | None,
    timeout: float | None,  # noqa: ASYNC109 - of the agent, not of this coroutine
) -> int:
    """Run ``words`` (the agent's options, and the prompt last) and return the exit code of ``workcast run``.

    Raises:
        WorkcastError: the agent is not installed, the root is not there, the id is malformed; nothing was written.
    """
    name = workcell or f"{agent}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    directory = root.workcell(name)
    root.prepare()
    directory.mkdir(exist_ok=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    _say_where(root, name)
    context = {"workcell_id": name, "issue_id": issue, "toolchain": agent, "model": model}
    with TelemetryWriter(root.log(name), context) as writer:
        result = await run_agent(
            agent,
            words[-1],
            workcell_dir=directory,
            cwd=directory if (directory / ".git").exists() else root.directory,
            writer=writer,
            model=model,
            options=words[:-1],
            timeout=timeout,
            stop=stop,
        )
    sys.stderr.write(f"{name}: {result.status} after {result.duration_ms / 1000:.1f} s, exit code {result.exit_code}\n")
    return EXIT_CODES[result.status]


def _say_where(root: Root, workcell: str) -> None:
    running = find_up(root)
    where = f"{running.http_url}/#/w/{workcell}" if running else str(root.log(workcell))
    sys.stderr.write(f"{workcell}: {where}\n")
