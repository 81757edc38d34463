"""Forked processes that work until they are killed, and report their progress through a pipe."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable


def fork(work: Callable[[int], None]) -> tuple[int, int]:
    """Fork a process that calls ``work`` with the write end of a pipe; return its id and the read end."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        try:
            work(write_end)
        finally:
            os._exit(1)
    os.close(write_end)
    return child, read_end


def kill_in_a_moment(child: int, turns: int) -> None:
    """Kill a child after a random number of turns of an empty loop, fewer than ``turns``, and reap it."""
    for _ in range(random.randrange(turns)):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
