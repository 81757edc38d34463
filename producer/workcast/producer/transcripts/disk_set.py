"""A set that does not fill the memory."""

from __future__ import annotations

import sqlite3
from typing import Final

IN_MEMORY: Final = 5_000
"""Members that are kept in memory, some 0.5 MB; a larger set moves to a temporary file."""


class DiskSet:
    """A set of strings of any size in bounded memory, exact; for one thread.

    The file has no name, so it is gone with the object or the process.
    """

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._in_memory = in_memory
        self._few: set[str] = set()
        self._many: sqlite3.Connection | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count if self._many else len(self._few)

    def __contains__(self, member: str) -> bool:
        if self._many is None:
            return member in self._few
        return self._many.execute("SELECT 1 FROM members WHERE member = ?", (_key(member),)).fetchone() is not None

    def add(self, member: str) -> bool:
        """Add a member; return whether it was new."""
        few = self._few
        if self._many is None and (member in few or len(few) < self._in_memory):
            new = member not in few
            few.add(member)
            return new
        added = self._file().execute("INSERT OR IGNORE INTO members VALUES (?)", (_key(member),)).rowcount
        self._count += added
        return added > 0

    def discard(self, member: str) -> bool:
        """Remove a member; return whether the set contained it."""
        if self._many is None:
            before = len(self._few)
            self._few.discard(member)
            return len(self._few) < before
        removed = self._many.execute("DELETE FROM members WHERE member = ?", (_key(member),)).rowcount
        self._count -= removed
        return removed > 0

    def __del__(self) -> None:
        if self._many is not None:
            self._many.close()

    def _file(self) -> sqlite3.Connection:
        if self._many is None:
            many = sqlite3.connect("", isolation_level=None)  # a temporary file without a name
            for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -256"):
                many.execute(f"PRAGMA {setting}")
            many.execute("CREATE TABLE members (member BLOB PRIMARY KEY) WITHOUT ROWID")
            many.executemany("INSERT INTO members VALUES (?)", ((_key(member),) for member in self._few))
            many.execute("BEGIN")  # never committed: nothing but this object reads it
            self._many, self._count = many, len(self._few)
            self._few = set()
        return self._many


def _key(member: str) -> bytes:
    return member.encode("utf-8", "surrogatepass")
