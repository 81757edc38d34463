"""Leftovers of a run: finding and ending the processes that an agent has started.

Agents run commands in sessions of their own, and a command's parent may be gone before the command is. Where the keeper
(:mod:`workcast.producer.keeper`) is the parent of all orphans, descendants are its children and theirs. Where it is
not, or was killed itself, they are found in two ways: as children of children while the agent lives, and by a mark in
their environment, which every process inherits, whatever it does about its session and its parent.

Imports nothing of this package: the keeper loads this file alone.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import psutil

MARK: Final = "WORKCAST_RUN"
"""Names the run in the environment of the agent and of everything that it starts (``names.RUN_VARIABLE``)."""
ROUNDS: Final = 5
"""A process can fork while it is being killed, but not for ever."""
POLL_S: Final = 0.02
"""A process that is not a child cannot be waited for."""


def descendants(pid: int) -> set[psutil.Process]:
    """Return the children of a process, and theirs; empty once it is gone."""
    try:
        return set(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return set()


def marked(run: str) -> set[psutil.Process]:
    """Return all processes that carry the mark of a run, as far as this user may read their environment."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == run:
                found.add(process)
        except (psutil.Error, OSError):
            continue
    return found


def end_all(run: str, known: Iterable[psutil.Process], grace: float) -> None:
    """End the processes that a run has left behind: SIGTERM, ``grace`` seconds, SIGKILL. Blocks until they are gone.

    Args:
        run: the value of :data:`MARK`.
        known: descendants found while the agent lived; one whose pid has been reused since is left alone.
        grace: seconds between the two signals.
    """
    left = {process for process in known if lives(process)} | marked(run)
    signal_all(left, signal.SIGTERM)
    _await_gone(left, grace)
    for _ in range(ROUNDS):
        left = {process for process in left if lives(process)} | marked(run)
        if not left:
            return
        for process in tuple(left):
            left |= descendants(process.pid)
        signal_all(left, signal.SIGKILL)
        _await_gone(left, 1.0)


def lives(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie does not, though in a container it may never be reaped."""
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def signal_all(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to the processes whose ids have not been reused, as far as this user may."""
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)


def _await_gone(processes: Iterable[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(map(lives, processes)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
