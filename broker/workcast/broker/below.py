"""Opening what is below a root, where an agent, a clone or another user may have put anything in place of any file.

The root is the directory that the user named: it is trusted, and so are the links on the way to it. Below it, each
component is opened relative to the one above, no symbolic link is followed, and only regular files are opened, without
waiting for the other end of a FIFO. What is written must be ours. A path without ``.workcells`` is that of a library
writer, which named the file's directory. Hard links count as the files that they are.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from workcast.broker.environment import shares_with_group
from workcast.broker.names import STATE_DIRECTORY, WORKCELLS_DIRECTORY

_FILE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_TRUSTED: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LISTED: Final = _TRUSTED | os.O_NOFOLLOW
_PASSED: Final = _LISTED | getattr(os, "O_PATH", 0)
"""A directory on the way, which need not be readable; macOS has no ``O_PATH``."""
_WRITES: Final = os.O_WRONLY | os.O_RDWR
_OURS: Final = frozenset({WORKCELLS_DIRECTORY, STATE_DIRECTORY})
"""Directories whose permissions are corrected. Not a workcell's own: ``.workcells`` above it keeps others out already,
and an orchestrator may have made it, as a worktree of its own, with the permissions that its agent needs."""
_ODD: Final = frozenset({errno.ELOOP, errno.EMLINK, errno.ENOTDIR, errno.EISDIR, errno.ENXIO})
"""What opening a link, a directory or a socket fails with; ``EMLINK`` is FreeBSD's for links."""
_PARTS: Final = f"/{WORKCELLS_DIRECTORY}/"


class OddFileError(OSError):
    """Something else is in place of a regular file, or of a directory on the way to it; or another user's file."""


# ── paths ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _split(path: Path | str, trusted: Path | None = None) -> tuple[str, list[str]]:
    """Split a path into the directory that is trusted, and the components below it."""
    name = os.fspath(path)
    if not name.startswith("/"):
        name = f"{os.getcwd()}/{name}"  # noqa: PTH109 - hooks and each open of a log come here
    top, found, below = f"{name}/".rpartition(_PARTS)
    if found:
        parts = [WORKCELLS_DIRECTORY, *below.split("/")[:-1]]
        if ".." not in parts:
            return top or "/", parts
    if trusted is not None:
        return str(trusted), list(Path(name).relative_to(trusted.absolute()).parts)
    top, _, last = name.rpartition("/")
    above, _, directory = top.rpartition("/")
    if directory == STATE_DIRECTORY:
        return above or "/", [directory, last]
    return top or "/", [last]


def is_below_root(path: Path) -> bool:
    """Whether a path leads into the workcells of a root, by its form."""
    return _split(path)[1][0] == WORKCELLS_DIRECTORY


def oddity(path: Path, trusted: Path | None = None, *, is_directory: bool = False) -> str:
    """Say what is in place of a regular file, or of a directory on the way to it; empty if nothing odd is there.

    Args:
        path: of the file.
        trusted: see :func:`directory_of`.
        is_directory: whether a directory is expected at the path itself, too.
    """
    place, parts = _split(path, trusted)
    for number, part in enumerate(parts, 1):
        place = f"{place}/{part}"
        try:
            mode = os.lstat(place).st_mode
        except OSError:
            return ""
        is_last = number == len(parts)
        is_file = is_last and not is_directory
        if (stat.S_ISREG if is_file else stat.S_ISDIR)(mode):
            continue
        what = "a regular file" if is_file else "a directory"
        return f"expected {what}, got {_kind(mode)}" + ("" if is_last else f" at {place}")
    return ""


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISLNK, "a symbolic link"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"),
        (stat.S_ISDIR, "a directory"), (stat.S_ISREG, "a regular file"),
    )  # fmt: skip
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")


def _explained(error: OSError, path: Path | str, trusted: Path | None, *, is_directory: bool = False) -> OSError:
    """Return the error to raise for one of opening a path: it names the path, and what is in its place."""
    if error.errno in _ODD and (what := oddity(Path(path), trusted, is_directory=is_directory)):
        return OddFileError(error.errno, f"{what}; remove it", os.fspath(path))
    return OSError(error.errno, error.strerror, os.fspath(path))


# ── directories ──────────────────────────────────────────────────────────────────────────────────────────────────────
def _enter(top: str, parts: list[str], flags: int, *, writes: bool = False, makes: bool = False) -> int:
    """Open the directory ``parts`` below ``top``."""
    if not parts:
        return os.open(top, _TRUSTED)
    directory = -1
    try:
        for part in parts:
            above, name = (directory, part) if directory >= 0 else (None, f"{top}/{part}")
            is_new = False
            try:
                entered = os.open(name, flags, dir_fd=above)
            except FileNotFoundError:
                if not makes:
                    raise
                with suppress(FileExistsError):  # another process has just made it
                    os.mkdir(name, 0o700, dir_fd=above)
                    is_new = True
                entered = os.open(name, flags, dir_fd=above)
            if directory >= 0:
                os.close(directory)
            directory = entered
            if is_new or (writes and part in _OURS):
                _correct(directory, os.fstat(directory), top, 0o770)
    except BaseException:
        if directory >= 0:
            os.close(directory)
        raise
    return directory


@contextmanager
def directory_of(path: Path, *, writes: bool = False, trusted: Path | None = None) -> Generator[tuple[int, str]]:
    """Open the directory that a path is in; yields its descriptor, for ``dir_fd``, and the last component.

    Args:
        path: of something in the directory.
        writes: whether the directory is changed, or synced; its permissions are then corrected.
        trusted: the directory to trust, if there is no ``.workcells`` in the path; None: the one that the path is in.

    Raises:
        OddFileError: a component on the way is not a directory.
        OSError: a component is missing, or cannot be opened.
    """
    top, parts = _split(path, trusted)
    try:
        directory = _enter(top, parts[:-1], _LISTED if writes else _PASSED, writes=writes)
    except OSError as error:
        raise _explained(error, path, trusted) from None
    try:
        yield directory, parts[-1]
    finally:
        os.close(directory)


def make_directory(path: Path, *, trusted: Path | None = None) -> None:
    """Make a directory and those above it, as far as they are missing.

    Raises:
        OddFileError: something else is in the place of one of them.
        OSError: one cannot be made.
    """
    top, parts = _split(path, trusted)
    os.makedirs(top, 0o700, exist_ok=True)  # noqa: PTH103 - a string, and trusted
    try:
        os.close(_enter(top, parts, _LISTED, writes=True, makes=True))
    except OSError as error:
        raise _explained(error, path, trusted, is_directory=True) from None


class Listing(NamedTuple):
    """The names in a directory, by what they are; the names of all else are left out."""

    directories: list[str]
    links: list[str]
    files: list[str]


def list_directory(path: Path) -> Listing:
    """List a directory.

    Raises:
        OddFileError: it, or a component on the way, is not a directory.
        OSError: it is missing, or cannot be read.
    """
    top, parts = _split(path)
    try:
        directory = _enter(top, parts, _LISTED)
    except OSError as error:
        raise _explained(error, path, None, is_directory=True) from None
    try:
        with os.scandir(directory) as found:
            entries = list(found)
        return Listing(
            [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)],
            [entry.name for entry in entries if entry.is_symlink()],
            [entry.name for entry in entries if entry.is_file(follow_symlinks=False)],
        )
    finally:
        os.close(directory)


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def open_below(path: Path | str, flags: int, *, mode: int | None = None, trusted: Path | None = None) -> int:
    """Open a regular file; return its descriptor. Never waits for a FIFO or a device.

    A file that is opened for writing must be ours, or the root's group's if the group shares the root; its permissions
    are corrected.

    Args:
        path: the file.
        flags: of ``os.open``.
        mode: the most that a file of ours permits; None: what the group is given too, if it shares the root.
        trusted: see :func:`directory_of`.

    Raises:
        OddFileError: it is not a regular file or not ours, or a component on the way is not a directory.
        OSError: it is missing, or cannot be opened.
    """
    return _open(path, flags, mode, trusted)[0]


def _open(path: Path | str, flags: int, mode: int | None, trusted: Path | None) -> tuple[int, os.stat_result]:
    top, parts = _split(path, trusted)
    writes = bool(flags & _WRITES)
    most = 0o660 if mode is None else mode
    directory = -1
    try:
        directory = _enter(top, parts[:-1], _PASSED, writes=writes)
        descriptor = os.open(parts[-1], flags | _FILE, most & 0o700, dir_fd=directory)
    except OSError as error:
        raise _explained(error, path, trusted) from None
    finally:
        if directory >= 0:
            os.close(directory)
    try:
        found = os.fstat(descriptor)
        _check(found, path, top, writes=writes)
        if writes:
            _correct(descriptor, found, top, most)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, found


def read_below(path: Path, limit: int, *, trusted: Path | None = None) -> bytes:
    """Read a whole file.

    Raises:
        OddFileError: see :func:`open_below`.
        OSError: the file cannot be read, or has more than ``limit`` bytes.
    """
    descriptor, found = _open(path, os.O_RDONLY, None, trusted)
    try:
        data = b""
        if found.st_size <= limit:
            data = os.read(descriptor, found.st_size + 1)
            while data and len(data) <= limit and (more := os.read(descriptor, limit + 1 - len(data))):
                data += more
        if max(found.st_size, len(data)) > limit:
            raise OSError(errno.EFBIG, f"expected at most {limit} bytes", str(path))
        return data
    finally:
        os.close(descriptor)


def create_in(directory: int, name: str, path: Path, *, mode: int | None = None, trusted: Path | None = None) -> int:
    """Create a file, relative to the descriptor of the directory that ``path`` is in; return its descriptor.

    Raises:
        FileExistsError: something has this name already.
        OSError: it cannot be created.
    """
    most = 0o660 if mode is None else mode
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, most & 0o700, dir_fd=directory)
    try:
        _correct(descriptor, os.fstat(descriptor), _split(path, trusted)[0], most)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def stat_below(path: Path, *, trusted: Path | None = None) -> os.stat_result | None:
    """Return the status of whatever is at a path, of a link its own; None if nothing can be found there."""
    try:
        with directory_of(path, trusted=trusted) as (directory, name):
            return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None


def is_file_below(path: Path) -> bool:
    """Whether a regular file is at a path, to which no link leads."""
    found = stat_below(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def is_directory_below(path: Path) -> bool:
    """Whether a directory is at a path, to which no link leads."""
    found = stat_below(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def remove_below(path: Path, *, trusted: Path | None = None) -> None:
    """Remove a file, or a link itself; nothing happens if it is missing.

    Raises:
        OddFileError: a component on the way is not a directory.
        OSError: it is a directory, or cannot be removed.
    """
    with suppress(FileNotFoundError), directory_of(path, trusted=trusted) as (directory, name):
        try:
            os.unlink(name, dir_fd=directory)
        except OSError as error:
            raise _explained(error, path, trusted) from None


# ── kinds, owners and permissions ───────────────────────────────────────────────────────────────────────────────────
def _check(found: os.stat_result, path: Path | str, top: str, *, writes: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        text = f"expected a regular file, got {_kind(found.st_mode)}; remove it"
        raise OddFileError(errno.EINVAL, text, os.fspath(path))
    if not writes or found.st_uid == os.geteuid():
        return
    if not shares_with_group() or found.st_gid != os.stat(top).st_gid:  # noqa: PTH116 - its name is a string
        text = f"expected a file of this user, got one of user {found.st_uid}; remove it, or run as that user"
        raise OddFileError(errno.EPERM, text, os.fspath(path))


def _correct(descriptor: int, found: os.stat_result, top: str, most: int) -> None:
    """Take from what is ours the permissions of others; give them to the root's group if it shares the root."""
    if found.st_uid != os.geteuid():
        return
    permitted = stat.S_IMODE(found.st_mode)
    if not shares_with_group():
        if permitted & 0o077:
            with suppress(OSError):  # the file system has no permissions to change
                _change_mode(descriptor, found, permitted & ~0o077)
        return
    group = os.stat(top).st_gid  # noqa: PTH116
    if found.st_gid != group:
        os.chown(descriptor, -1, group)
    if (wanted := permitted & ~0o077 | most & 0o770) != permitted:
        _change_mode(descriptor, found, wanted)


def _change_mode(descriptor: int, found: os.stat_result, mode: int) -> None:
    if not stat.S_ISDIR(found.st_mode):
        os.fchmod(descriptor, mode)
        return
    directory = os.open(".", _LISTED, dir_fd=descriptor)  # a descriptor of O_PATH can change nothing
    try:
        os.fchmod(directory, mode)
    finally:
        os.close(directory)
