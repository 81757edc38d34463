"""Where the rows of an account lie: in memory while they are few, then in a temporary database of SQLite.

It spills to disk and is gone with us; so an account of a million calls takes some megabytes of memory, and no row has
to be left out.
"""

from __future__ import annotations

import sqlite3
import weakref
from itertools import islice
from typing import Final, Generic, TypeVar

from pydantic import TypeAdapter

from workcast.ledger.rows import CallRow, MessageRow, RunRow, SubagentRow

_CACHE_KIB: Final = 1024
_MAX_FRESH: Final = 1024
"""Rows that are kept as objects until they are written."""

Row = TypeVar("Row", RunRow, MessageRow, CallRow, SubagentRow)


class RowStore(Generic[Row]):
    """The rows of one kind, numbered from 0 in the order in which they came; not safe for several threads at once."""

    def __init__(self, kind: type[Row]) -> None:
        self._rows: TypeAdapter[Row] = TypeAdapter(kind)
        self._database: sqlite3.Connection | None = None
        self._fresh: dict[str, tuple[int, Row]] = {}
        self.count = 0

    def get(self, key: str) -> Row | None:
        """The row under a key. After a change to it, :meth:`put` it again."""
        fresh = self._fresh.get(key)
        if fresh is not None:
            return fresh[1]
        if self._database is None:
            return None
        found = self._database.execute("SELECT number, data FROM rows WHERE key = ?", (key,)).fetchone()
        if found is None:
            return None
        row = self._rows.validate_json(found[1])
        self._keep(key, found[0], row)
        return row

    def put(self, key: str, row: Row) -> None:
        """Add a row, or change the one under the same key, which keeps its number."""
        if key in self._fresh or self.get(key) is not None:
            self._fresh[key] = (self._fresh[key][0], row)
        else:
            self.add(key, row)

    def add(self, key: str, row: Row) -> None:
        """Add a row under a key that has none."""
        self._keep(key, self.count, row)
        self.count += 1

    def page(self, start: int, limit: int) -> list[bytes]:
        """At most ``limit`` rows from number ``start`` on, as JSON."""
        if self._database is None:  # all of them are fresh, in the order in which they came
            return [self._rows.dump_json(row) for _, row in islice(self._fresh.values(), start, start + limit)]
        self._flush(self._database)
        found = self._database.execute(
            "SELECT data FROM rows WHERE number >= ? ORDER BY number LIMIT ?", (start, limit)
        )
        return [data for (data,) in found]

    def _keep(self, key: str, number: int, row: Row) -> None:
        if len(self._fresh) >= _MAX_FRESH:
            if self._database is None:
                self._database = _temporary_database()
                weakref.finalize(self, self._database.close)
            self._flush(self._database)
        self._fresh[key] = (number, row)

    def _flush(self, database: sqlite3.Connection) -> None:
        rows = [(key, number, self._rows.dump_json(row)) for key, (number, row) in self._fresh.items()]
        database.execute("BEGIN")
        database.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", rows)
        database.execute("COMMIT")
        self._fresh.clear()


def _temporary_database() -> sqlite3.Connection:
    # An empty name is a file of its own that only this connection sees; it is there once the cache is full.
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    database.executescript(f"""
        PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{_CACHE_KIB};
        CREATE TABLE rows (key TEXT UNIQUE, number INTEGER PRIMARY KEY, data BLOB);
    """)
    return database
