"""How an ``up`` is found by those who did not start it: its lock says that it runs, its state file where.

Apart from ``up`` itself, because loading all that it serves with takes longer than most verbs do.
"""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from typing import Final

from workcast.broker.root import Root

STATE: Final = "up.json"
LOCK: Final = "up.lock"


@dataclass(frozen=True, slots=True)
class Running:
    """The ``up`` that serves a root now, as its state file tells."""

    http_url: str
    redis_url: str
    pid: int
    name: str = ""
    """The root's, in that ``up``."""


def served(root: Root) -> Root:
    """The root under the name by which its ``up`` knows it, if one runs."""
    running = find_up(root)
    return Root(root.directory, running.name) if running is not None and running.name else root


def find_up(root: Root) -> Running | None:
    """The ``up`` of this root, or None: a state file whose lock nobody holds was left by one that was killed."""
    state = root.read_state(STATE)
    if state is None:
        return None
    try:
        with (root.state / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        match state:
            case {"http_url": str() as http_url, "redis_url": str() as redis_url, "pid": int() as pid}:
                return Running(http_url, redis_url, pid, str(state.get("prefix", "")).removesuffix(":"))
            case _:
                pass
    except OSError:
        pass
    return None
