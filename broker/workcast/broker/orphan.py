"""Ends an embedded server whose ``up`` was killed, and removes the server's directory.

The state file that names both is in the root, where a clone or an agent can put any file. So only a server of this
root is ended, and only the files of such a server are removed, whatever the state file says.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

import psutil

DIRECTORY_PREFIX: Final = "workcast-"
SOCKET_FILE: Final = "valkey.sock"
LOG_FILE: Final = "valkey.log"
ROOT_FILE: Final = "root"
"""In the server's directory: the path of the root that it serves."""
_FILES: Final = frozenset({SOCKET_FILE, LOG_FILE, ROOT_FILE})
_PROGRAM: Final = "valkey-server"
_KILL_SECONDS: Final = 5.0
_MAX_PATH_BYTES: Final = 1 << 16


def end_orphan(state: dict[str, object], root: Path) -> None:
    """End the server that a state file names, and remove its directory, as far as both are those of ``root``."""
    pid, started, named = state.get("pid"), state.get("started"), state.get("directory")
    if not isinstance(named, str) or not is_server_directory(directory := Path(named), root):
        return
    if isinstance(pid, int) and isinstance(started, int | float):
        with contextlib.suppress(psutil.Error, OSError, ValueError, OverflowError):
            process = psutil.Process(pid)
            if abs(process.create_time() - started) < 0.1 and _serves(process, directory):
                process.kill()
                process.wait(_KILL_SECONDS)
    with contextlib.suppress(OSError):
        remove_server_directory(directory)


def is_server_directory(directory: Path, root: Path) -> bool:
    """Whether this user's server for ``root`` ran in a directory: by owner, mode, place and content."""
    try:
        found = directory.lstat()
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == 0o700
        return (
            ours
            and directory.is_absolute()
            and directory.name.startswith(DIRECTORY_PREFIX)
            and {path.name for path in directory.iterdir()} <= _FILES
            and _read_root(directory) == os.fsencode(root)
        )
    except (OSError, ValueError):
        return False


def remove_server_directory(directory: Path) -> None:
    """Remove a server's directory and the files that a server makes; a directory with any other file stays.

    Raises:
        OSError: it is not empty then, or cannot be removed.
    """
    for name in _FILES:
        (directory / name).unlink(missing_ok=True)
    directory.rmdir()


def _read_root(directory: Path) -> bytes:
    descriptor = os.open(directory / ROOT_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(_MAX_PATH_BYTES)


def _serves(process: psutil.Process, directory: Path) -> bool:
    return (
        process.uids().real == os.getuid()
        and Path(process.exe()).name == _PROGRAM
        and Path(process.cwd()) == directory.resolve()
    )
