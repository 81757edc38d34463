"""The rows of an account in bounded memory: the newest as objects, the others in a temporary SQLite database.

The database is a file that SQLite deletes with its connection. So an account of a million calls takes a few megabytes
of memory and omits no row.
"""

from __future__ import annotations

import sqlite3
import weakref
from itertools import islice
from typing import Final

from pydantic import TypeAdapter

from workcast.ledger.row_store import Row, RowStore

_CACHE_KIB: Final = 1024
_MAX_FRESH: Final = 1024
"""Rows that are kept as objects before they are written."""


class RowFile(RowStore[Row]):
    """Rows of one kind; not safe for several threads at once."""

    def __init__(self, kind: type[Row]) -> None:
        self._adapter: TypeAdapter[Row] = TypeAdapter(kind)
        self._database: sqlite3.Connection | None = None
        self._fresh: dict[str, tuple[int, Row]] = {}
        self._count = 0

    @property
    def count(self) -> int:
        return self._count

    def get(self, key: str) -> Row | None:
        fresh = self._fresh.get(key)
        if fresh is not None:
            return fresh[1]
        if self._database is None:
            return None
        found = self._database.execute("SELECT number, data FROM rows WHERE key = ?", (key,)).fetchone()
        if found is None:
            return None
        row = self._adapter.validate_json(found[1])
        self._keep(key, found[0], row)
        return row

    def put(self, key: str, row: Row) -> None:
        if key in self._fresh or self.get(key) is not None:
            self._fresh[key] = (self._fresh[key][0], row)
        else:
            self.add(key, row)

    def add(self, key: str, row: Row) -> None:
        self._keep(key, self._count, row)
        self._count += 1

    def page(self, start: int, limit: int) -> list[bytes]:
        if self._database is None:  # all rows are fresh, in their order
            return [self._adapter.dump_json(row) for _, row in islice(self._fresh.values(), start, start + limit)]
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
        rows = [(key, number, self._adapter.dump_json(row)) for key, (number, row) in self._fresh.items()]
        database.execute("BEGIN")
        database.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", rows)
        database.execute("COMMIT")
        self._fresh.clear()


def _temporary_database() -> sqlite3.Connection:
    # An empty name is a file of this connection alone, which SQLite creates once the cache is full.
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    database.executescript(f"""
        PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{_CACHE_KIB};
        CREATE TABLE rows (key TEXT UNIQUE, number INTEGER PRIMARY KEY, data BLOB);
    """)
    return database
