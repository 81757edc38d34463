"""What changed in a git repository while an agent worked there, however it was changed: by a shell command too.

A repository that was dirty at the start is no matter: what was dirty is compared by its content. What git ignores is
not looked at, nor are workcast's own files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from workcast.producer.git import git
from workcast.producer.workcell import OUR_FILES, WORKCELLS

LOOK_S: Final = 3.0
"""How long one look may take; there are two in a run. A huge repository is not to hold the agent up."""
HASHED_BYTES: Final = 16 << 20
"""A larger file is known by its size and time instead of its content."""

_FIELDS_BEFORE_PATH: Final = {"1": 8, "u": 10, "?": 1}
"""Of an entry of ``git status --porcelain=v2``, by its kind."""
_NO_COMMIT: Final = "(initial)"

Content = tuple[int, int, bytes] | None
"""A file's type, its time if it is large, and its digest; None: there is none."""


class _CannotLookError(Exception):
    """Git says nothing; the message says why."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A repository as it was in one moment."""

    top: Path
    commit: str
    dirty: Mapping[str, Content]
    """By its path below ``top``, whatever differs from the commit, and new files."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What an agent changed."""

    paths: tuple[str, ...] = ()
    """Absolute; in the working directory as that was named, without following its links."""
    note: str | None = None
    """Why git could not be asked, if it could not."""


class Changes:
    """Looks at the repository around a working directory at the start of a run, and again at its end.

    Args:
        cwd: where the agent works.
        workcell_dir: where workcast's own files lie.
        seconds: how long each of the two looks may take.
    """

    def __init__(self, cwd: Path, workcell_dir: Path, seconds: float = LOOK_S) -> None:
        self._cwd = cwd.absolute()
        self._workcell_dir = workcell_dir.absolute()
        self._seconds = seconds
        self._before: _Look | None = None
        self._note: str | None = None

    def begin(self) -> None:
        """Look for the first time. Raises nothing: outside of a repository, and without git, there is nothing to see.

        Takes up to some seconds, in which it waits for git.
        """
        real = self._cwd.resolve()
        if shutil.which("git") is None or not any((above / ".git").exists() for above in (real, *real.parents)):
            return
        try:
            self._before = self._look(real, time.monotonic() + self._seconds)
        except _CannotLookError as error:
            self._note = _note(error)

    def end(self) -> Changed:
        """Look again, and tell what is not as it was. Raises nothing, and takes as long as the first look."""
        before = self._before
        if before is None:
            return Changed(note=self._note)
        deadline = time.monotonic() + self._seconds
        try:
            after = self._look(before.top, deadline)
            committed = _between(before, after, deadline)
            changed = {
                path for path in {*after.dirty, *committed} - before.dirty.keys() if not self._is_ours(after, path)
            }
            changed |= {path for path, was in before.dirty.items() if was != _content(before.top / path, deadline)}
        except _CannotLookError as error:
            return Changed(note=_note(error))
        return Changed(tuple(sorted(self._name(before.top / path) for path in changed)))

    def _look(self, directory: Path, deadline: float) -> _Look:
        top = Path(os.fsdecode(_ask(directory, deadline, "rev-parse", "--show-toplevel").removesuffix(b"\n")))
        said = _ask(
            top, deadline, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames"
        )
        commit, dirty = _NO_COMMIT, set[str]()
        for entry in os.fsdecode(said).split("\0"):
            kind, _, rest = entry.partition(" ")
            if kind == "#" and rest.startswith("branch.oid "):
                commit = rest.removeprefix("branch.oid ")
            elif kind in _FIELDS_BEFORE_PATH:
                dirty.add(entry.split(" ", _FIELDS_BEFORE_PATH[kind])[-1])
        seen = _Look(top, commit, {})
        found = {path: _content(top / path, deadline) for path in dirty if not self._is_ours(seen, path)}
        return _Look(top, commit, found)

    def _is_ours(self, look: _Look, path: str) -> bool:
        """Whether workcast wrote it, and not the agent."""
        if f"/{WORKCELLS}" in f"/{path}":
            return True
        base = self._workcell_dir.resolve()
        whole = look.top / path
        return any(
            whole == base / name or (name.endswith("/") and whole.is_relative_to(base / name)) for name in OUR_FILES
        )

    def _name(self, path: Path) -> str:
        real = self._cwd.resolve()
        return str(self._cwd / path.relative_to(real) if path.is_relative_to(real) else path)


def _note(error: _CannotLookError) -> str:
    return f"{error}: what was changed without a file_write event is missing"


def _between(before: _Look, after: _Look, deadline: float) -> set[str]:
    """What differs between the commits: agents commit, and what they did is clean then."""
    if before.commit == after.commit:
        return set()
    if _NO_COMMIT in (before.commit, after.commit):
        one = after.commit if before.commit == _NO_COMMIT else before.commit
        said = _ask(after.top, deadline, "ls-tree", "-r", "-z", "--name-only", one)
    else:
        trees = (before.commit, after.commit)
        said = _ask(after.top, deadline, "diff-tree", "-r", "-z", "--name-only", "--no-renames", *trees)
    return set(os.fsdecode(said).split("\0")) - {""}


def _ask(directory: Path, deadline: float, *arguments: str) -> bytes:
    # No lock of the index, which another git may want; no monitor, which is a program that an agent could name.
    quiet = ("--no-optional-locks", "-c", "core.fsmonitor=false", *arguments)
    try:
        done = git(directory, *quiet, timeout=max(0.01, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _CannotLookError("git took too long") from None
    except OSError as error:
        raise _CannotLookError(f"git cannot be run ({error.strerror})") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise _CannotLookError(f"git refused ({said})")
    return done.stdout


def _content(path: Path, deadline: float) -> Content:
    """What tells whether a file has changed; of a directory (a repository within) only that it is there."""
    if time.monotonic() > deadline:
        raise _CannotLookError("reading what differs from the commit took too long")
    try:
        found = path.lstat()
        kind = found.st_mode & (stat.S_IFMT(found.st_mode) | stat.S_IXUSR)
        if stat.S_ISLNK(found.st_mode):
            return kind, 0, os.fsencode(path.readlink())
        if not stat.S_ISREG(found.st_mode):
            return kind, 0, b""
        if found.st_size > HASHED_BYTES:
            return kind, found.st_mtime_ns, str(found.st_size).encode()
        return kind, 0, hashlib.blake2b(path.read_bytes()).digest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return 0, 0, str(error.errno).encode()
