"""The index's file: an SQLite database in the state directory that can be deleted at any time.

SQLite opens files by their paths and follows links, also for the files that it keeps beside the database. So before it
does, everything in those places that is not a plain file of this user with a single name is refused, or by a writer
removed; and afterwards the database must be the file that was checked. What is in the index is in the logs, so a file
that is damaged, foreign or of another layout is simply made again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from workcast.broker.below import is_file_below, open_below, remove_below, stat_below
from workcast.broker.names import INDEX_FILE
from workcast.index.errors import IndexUnusableError

_APPLICATION: Final = 0x77636978
"""Marks the file as ours: ``wcix``."""
LAYOUT: Final = 1
"""To be raised with each change of the tables, or of what is in them."""
_BESIDE: Final = ("", "-wal", "-shm", "-journal")
_BUSY_S: Final = 5.0
_CACHE_KIB: Final = 8192
_WAL_BYTES: Final = 16 << 20
"""What is kept of the write-ahead log once it has been carried over."""

_TABLES: Final = """
CREATE TABLE origin (prices TEXT NOT NULL);
CREATE TABLE logs (
    log INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again, so that no row is taken for one of another log
    name TEXT NOT NULL UNIQUE,              -- the workcell's directory
    epoch INTEGER NOT NULL, head INTEGER NOT NULL, crc INTEGER, base INTEGER NOT NULL, inode INTEGER,
    -- the log's inode, bytes and time once it was read to its end; zeros until then
    file INTEGER NOT NULL, size INTEGER NOT NULL, modified INTEGER NOT NULL,
    figures BLOB NOT NULL
);
CREATE TABLE runs (
    log INTEGER NOT NULL, run INTEGER NOT NULL, figures BLOB NOT NULL, PRIMARY KEY (log, run)
) WITHOUT ROWID;
CREATE TABLE changes (
    log INTEGER NOT NULL, offset INTEGER NOT NULL, run INTEGER NOT NULL, path TEXT NOT NULL,
    lines_added INTEGER NOT NULL, lines_removed INTEGER NOT NULL, PRIMARY KEY (log, offset)
) WITHOUT ROWID;
"""


def index_path(state: Path) -> Path:
    """Return where the index of a root with this state directory is."""
    return state / INDEX_FILE


def open_to_write(state: Path, prices: str) -> tuple[sqlite3.Connection, str]:
    """Open the index, and make it anew unless it is one of this layout and price table.

    Args:
        state: the root's state directory.
        prices: the fingerprint of the price table.

    Returns:
        The database, and why it was made anew: empty if it was not, or if there was none.

    Raises:
        OSError: it cannot be made.
        sqlite3.Error: likewise.
    """
    path = index_path(state)
    reason = _clear_place(path)
    if is_file_below(path):
        connection, problem = _open_usable(path, prices)
        if connection is not None:
            _prepare(connection)
            return connection, reason
        reason = problem
    remove(state)
    place = _create(path)
    connection = _connect(path, "rw")
    try:
        _prepare(connection)
        with transaction(connection):
            for statement in _TABLES.split(";\n"):
                connection.execute(statement)
            connection.execute("INSERT INTO origin VALUES (?)", (prices,))
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {LAYOUT}")
        _check_place(path, place)
    except BaseException:
        connection.close()
        raise
    return connection, reason


def open_to_read(state: Path, prices: str) -> sqlite3.Connection | None:
    """Open the index without changing it; None if there is none of this layout and price table."""
    path = index_path(state)
    try:
        if not is_file_below(path) or any(_is_odd(beside) for beside in _places(path)):
            return None
        connection, _ = _open_usable(path, prices, "ro")
    except (OSError, sqlite3.Error):
        return None
    return connection


def remove(state: Path) -> None:
    """Remove the index.

    Raises:
        OSError: it cannot be removed.
    """
    for path in _places(index_path(state)):
        remove_below(path)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Write all or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # some errors, as of a full disk, have rolled it back already
            connection.execute("ROLLBACK")
        raise


def _open_usable(path: Path, prices: str, mode: str = "rw") -> tuple[sqlite3.Connection | None, str]:
    """Open a database; None, and why, if it is not an index as it is made here."""
    place = place_of(path)
    connection = _connect(path, mode)
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        layout = connection.execute("PRAGMA user_version").fetchone()[0]
        found = connection.execute("SELECT prices FROM origin").fetchone() if application == _APPLICATION else None
        connection.execute("SELECT count(*) FROM logs").fetchone() if found else None
    except sqlite3.OperationalError as error:
        if not is_damage(error):
            connection.close()
            raise
        problem = f"it cannot be read: {error}"
    except sqlite3.DatabaseError as error:
        problem = f"it cannot be read: {error}"
    else:
        if place_of(path) != place:
            problem = "it was replaced"
        elif application != _APPLICATION or layout != LAYOUT:
            problem = "it is not one of this version"
        elif found is None or found[0] != prices:
            problem = "its costs were computed with another price table"
        else:
            return connection, ""
    connection.close()
    return None, problem


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the database is damaged, not that it is busy or that the disk is full."""
    name = getattr(error, "sqlite_errorname", "") or ""
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_SCHEMA")) or name == "SQLITE_ERROR"


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}", uri=True, isolation_level=None, timeout=_BUSY_S,
        check_same_thread=False,
    )  # fmt: skip
    # The file may be anyone's: nothing in it may call functions, and its pages are checked as they are read.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")  # a lost commit is read from the logs again
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")


def _create(path: Path) -> tuple[int, int]:
    """Create an empty file that only this user may read; what SQLite puts beside it gets the same mode."""
    descriptor = open_below(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode=0o600)
    found = os.fstat(descriptor)
    os.close(descriptor)  # before SQLite opens it: closing a file drops the locks that this process has on it
    return found.st_dev, found.st_ino


def _check_place(path: Path, place: tuple[int, int]) -> None:
    if place_of(path) != place:
        raise IndexUnusableError(f"{path} was replaced while it was made; it is tried again")


def _clear_place(path: Path) -> str:
    """Remove what is no file of ours, and make the rest readable for its owner alone; return what was removed."""
    reason = ""
    for beside in _places(path):
        if _is_odd(beside):
            remove_below(beside)
            reason = reason or f"{beside.name} was a link, or not a file of this user"
    with contextlib.suppress(FileNotFoundError):
        os.close(open_below(path, os.O_RDWR, mode=0o600))
    return reason


def _is_odd(path: Path) -> bool:
    """Whether something else than a plain file of this user with one name is in a place."""
    found = stat_below(path)
    if found is None:
        return False
    return not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1


def _places(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in _BESIDE]


def place_of(path: Path) -> tuple[int, int]:
    """Return device and inode of a file; zeros if there is none."""
    found = stat_below(path)
    return (0, 0) if found is None else (found.st_dev, found.st_ino)
