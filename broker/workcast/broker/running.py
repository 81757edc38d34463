"""Finding the ``up`` that serves a root: its lock says that it runs, its state file where.

A clone or an agent can put any state file into a root, and commands send events to the URLs in it. So it is believed
only if it names a running process of this user by pid and time of start, which no file from elsewhere can foresee.
Apart from ``up`` itself, because loading all that it serves with takes longer than most verbs do.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

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


_HTTP_SCHEMES: Final = frozenset({"http", "https"})
_REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})


def announce_up(root: Root, http_url: str, redis_url: str) -> None:
    """Write the state file of the ``up`` that this process is.

    Raises:
        OSError: it cannot be written.
    """
    state = {
        "redis_url": redis_url, "http_url": http_url, "pid": os.getpid(),
        "started": _start_of(os.getpid()), "prefix": root.id_of(""),
    }  # fmt: skip
    root.write_state(UP_STATE_FILE, json.dumps(state), mode=0o600)


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
        case {
            "http_url": str() as http_url, "redis_url": str() as redis_url,
            "pid": int() as pid, "started": str() as started,
        }:  # fmt: skip
            name = str(state.get("prefix", "")).removesuffix(":")
        case _:
            return None
    is_sound = _has_scheme(http_url, _HTTP_SCHEMES) and _has_scheme(redis_url, _REDIS_SCHEMES)
    return Running(http_url, redis_url, pid, name) if is_sound and _is_ours(pid, started) else None


def _is_ours(pid: int, started: str) -> bool:
    """Whether a process of this user that has this pid started at this time."""
    return bool(started) and _start_of(pid) == started


def _start_of(pid: int) -> str:
    """Return when a process of this user started, in the system's own terms; empty if there is no such process."""
    if sys.platform == "linux":  # in ticks since the boot: unlike a time of day, a clock that is set does not change it
        with suppress(OSError, IndexError):
            process = Path(f"/proc/{pid}")
            if process.stat().st_uid == os.getuid():
                return (process / "stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    else:
        import psutil

        with suppress(psutil.Error, ValueError, OverflowError):
            found = psutil.Process(pid)
            if found.uids().real == os.getuid():
                return str(found.create_time())
    return ""


def _has_scheme(url: str, schemes: frozenset[str]) -> bool:
    try:
        return urlsplit(url).scheme in schemes
    except ValueError:
        return False
