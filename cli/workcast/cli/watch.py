"""``watch``: shows the sessions of agents as workcells, live; for ``up --watch``, in a process of its own."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import typer

from workcast.broker.root import Root
from workcast.broker.roots import parse_root
from workcast.broker.running import served
from workcast.cli.companion import keep_running, stop_at_eof
from workcast.cli.log_lines import log_to_stderr
from workcast.producer.transcripts.discovery import AGENTS, Agent, transcripts_directory
from workcast.producer.transcripts.follower import Follower


def watch_agents(root: Root, agents: Sequence[str], since: float) -> None:
    """Follow until SIGINT or SIGTERM.

    Raises:
        WorkcastError: the root is missing, or cannot be written.
    """
    names: list[Agent] = [name for name in AGENTS if name in agents]
    if unknown := set(agents) - set(names):
        raise typer.BadParameter(f"expected {' or '.join(AGENTS)}, got {', '.join(sorted(unknown))}")
    root.prepare()
    for name in names:
        directory = transcripts_directory(name)
        typer.echo(f"{name}: {directory}" + ("" if directory.is_dir() else ", which does not exist yet"), err=True)
    _follower(root, names, since).run()


def watch_beside(root: str, since: str) -> None:
    """Follow all agents until stdin ends; :class:`Watch` starts this."""
    log_to_stderr(verbose=False, timed=True)
    follower = _follower(parse_root(Path(root)), AGENTS, float(since))
    stop_at_eof(follower.stop)
    follower.run()


def _follower(root: Root, agents: Sequence[Agent], since: float) -> Follower:
    """Make a follower that SIGINT and SIGTERM stop."""
    directories: dict[Agent, Path] = {name: transcripts_directory(name) for name in agents}
    follower = Follower(served(root), directories, timedelta(seconds=since))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: follower.stop())
    return follower


class Watch:
    """Follows all agents for an ``up``, in a process of its own.

    Args:
        since: seconds; sessions that have not changed for longer are ignored.
    """

    __name__ = "the follower of transcripts"

    def __init__(self, since: float) -> None:
        self._since = since

    async def __call__(self, root: Root, /) -> None:
        place = f"{root.name}={root.directory}" if root.name else str(root.directory)
        await keep_running(self.__name__, "workcast.cli.watch", "watch_beside", [place, str(self._since)])
