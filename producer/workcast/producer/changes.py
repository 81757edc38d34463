"""The files that changed in a git repository while an agent worked there, by any means, shell commands included.

The repository may be dirty at the start: dirty files are compared by content. Files that git ignores are left out, and
so are workcast's own.
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

from workcast.broker.below import read_below
from workcast.producer.git import git
from workcast.producer.workcell import OUR_FILES, WORKCELLS

SCAN_S: Final = 3.0
"""How long one scan may take; a run has two. A huge repository must not hold up the agent."""
HASHED_BYTES: Final = 16 << 20
"""A larger file is compared by size and time instead of content."""

_FIELDS_BEFORE_PATH: Final = {"1": 8, "u": 10, "?": 1}
"""Of an entry of ``git status --porcelain=v2``, by its kind."""
_NO_COMMIT: Final = "(initial)"

Content = tuple[int, int, bytes] | None
"""A file's type, its time if it is large, and its digest; None: the file is missing."""


class _ScanError(Exception):
    """Git reports nothing; the message says why."""


@dataclass(frozen=True, slots=True)
class _Scan:
    """A repository at one moment."""

    top: Path
    commit: str
    dirty: Mapping[str, Content]
    """Files that differ from the commit, and new ones, by their path below ``top``."""


@dataclass(frozen=True, slots=True)
class Changed:
    """The files that an agent changed."""

    paths: tuple[str, ...] = ()
    """Absolute; below the working directory as it was named, its links not resolved."""
    note: str | None = None
    """Why git could not find them, if it could not."""


class Changes:
    """Scans the repository around a working directory at the start of a run, and again at its end.

    Args:
        cwd: where the agent works.
        workcell_dir: contains workcast's own files.
        seconds: how long each of the two scans may take.
    """

    def __init__(self, cwd: Path, workcell_dir: Path, seconds: float = SCAN_S) -> None:
        self._cwd = cwd.absolute()
        self._workcell_dir = workcell_dir.absolute()
        self._seconds = seconds
        self._before: _Scan | None = None
        self._note: str | None = None

    def begin(self) -> None:
        """Scan for the first time; outside of a repository, and without git, there is nothing to do.

        Raises nothing. Waits for git, up to ``seconds``.
        """
        real = self._cwd.resolve()
        if shutil.which("git") is None or not any((above / ".git").exists() for above in (real, *real.parents)):
            return
        try:
            self._before = self._scan(real, time.monotonic() + self._seconds)
        except _ScanError as error:
            self._note = _note(error)

    def end(self) -> Changed:
        """Scan again, and return what changed. Raises nothing, and takes up to ``seconds``."""
        before = self._before
        if before is None:
            return Changed(note=self._note)
        deadline = time.monotonic() + self._seconds
        try:
            after = self._scan(before.top, deadline)
            committed = _between(before, after, deadline)
            changed = {
                path for path in {*after.dirty, *committed} - before.dirty.keys() if not self._is_ours(after, path)
            }
            changed |= {path for path, was in before.dirty.items() if was != _content(before.top / path, deadline)}
        except _ScanError as error:
            return Changed(note=_note(error))
        return Changed(tuple(sorted(self._name(before.top / path) for path in changed)))

    def _scan(self, directory: Path, deadline: float) -> _Scan:
        top = Path(os.fsdecode(_run_git(directory, deadline, "rev-parse", "--show-toplevel").removesuffix(b"\n")))
        output = _run_git(
            top, deadline, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames"
        )
        commit, dirty = _NO_COMMIT, set[str]()
        for entry in os.fsdecode(output).split("\0"):
            kind, _, rest = entry.partition(" ")
            if kind == "#" and rest.startswith("branch.oid "):
                commit = rest.removeprefix("branch.oid ")
            elif kind in _FIELDS_BEFORE_PATH:
                dirty.add(entry.split(" ", _FIELDS_BEFORE_PATH[kind])[-1])
        clean = _Scan(top, commit, {})
        found = {path: _content(top / path, deadline) for path in dirty if not self._is_ours(clean, path)}
        return _Scan(top, commit, found)

    def _is_ours(self, scan: _Scan, path: str) -> bool:
        """Whether workcast wrote a file, and not the agent."""
        if f"/{WORKCELLS}" in f"/{path}":
            return True
        base = self._workcell_dir.resolve()
        whole = scan.top / path
        return any(
            whole == base / name or (name.endswith("/") and whole.is_relative_to(base / name)) for name in OUR_FILES
        )

    def _name(self, path: Path) -> str:
        real = self._cwd.resolve()
        return str(self._cwd / path.relative_to(real) if path.is_relative_to(real) else path)


def _note(error: _ScanError) -> str:
    return f"{error}: what was changed without a file_write event is missing"


def _between(before: _Scan, after: _Scan, deadline: float) -> set[str]:
    """Return the paths that differ between the commits: what an agent has committed is clean in the second scan."""
    if before.commit == after.commit:
        return set()
    if _NO_COMMIT in (before.commit, after.commit):
        one = after.commit if before.commit == _NO_COMMIT else before.commit
        output = _run_git(after.top, deadline, "ls-tree", "-r", "-z", "--name-only", one)
    else:
        trees = (before.commit, after.commit)
        output = _run_git(after.top, deadline, "diff-tree", "-r", "-z", "--name-only", "--no-renames", *trees)
    return set(os.fsdecode(output).split("\0")) - {""}


def _run_git(directory: Path, deadline: float, *arguments: str) -> bytes:
    # No lock on the index, which another git may need; no file system monitor, which an agent could configure.
    quiet = ("--no-optional-locks", "-c", "core.fsmonitor=false", *arguments)
    try:
        done = git(directory, *quiet, timeout=max(0.01, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _ScanError("git took too long") from None
    except OSError as error:
        raise _ScanError(f"git cannot be run ({error.strerror})") from error
    if done.returncode != 0:
        message = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise _ScanError(f"git refused ({message})")
    return done.stdout


def _content(path: Path, deadline: float) -> Content:
    """Return what shows whether a file has changed; of a directory (a nested repository) only that it exists."""
    if time.monotonic() > deadline:
        raise _ScanError("reading what differs from the commit took too long")
    try:
        found = path.lstat()
        kind = found.st_mode & (stat.S_IFMT(found.st_mode) | stat.S_IXUSR)
        if stat.S_ISLNK(found.st_mode):
            return kind, 0, os.fsencode(path.readlink())
        if not stat.S_ISREG(found.st_mode):
            return kind, 0, b""
        if found.st_size > HASHED_BYTES:
            return kind, found.st_mtime_ns, str(found.st_size).encode()
        return kind, 0, hashlib.blake2b(read_below(path, HASHED_BYTES)).digest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return 0, 0, str(error.errno).encode()
