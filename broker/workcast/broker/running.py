"""Finding the ``up`` that serves a root: its lock says that it runs, its state file where.

Apart from ``up`` itself, because loading all that it serves with takes longer than most verbs do.
"""

from __future__ import annotations

from dataclasses import dataclass

from workcast.broker.files import is_locked
from workcast.broker.names import UP_LOCK_FILE, UP_STATE_FILE
from workcast.broker.root import Root


@dataclass(frozen=True, slots=True)
class Running:
    """The ``up`` that serves a root now, as its state file describes it."""

    http_url: str
    redis_url: str
    pid: int
    name: str = ""
    """The root's, in that ``up``."""


def served(root: Root) -> Root:
    """Return the root under the name that its ``up`` gives it, if one runs."""
    running = find_up(root)
    return Root(root.directory, running.name) if running is not None and running.name else root


def find_up(root: Root) -> Running | None:
    """Return the ``up`` of this root, or None; a state file without a held lock is left from one that was killed."""
    state = root.read_state(UP_STATE_FILE)
    if state is None or not is_locked(root.state / UP_LOCK_FILE):
        return None
    match state:
        case {"http_url": str() as http_url, "redis_url": str() as redis_url, "pid": int() as pid}:
            return Running(http_url, redis_url, pid, str(state.get("prefix", "")).removesuffix(":"))
        case _:
            return None
