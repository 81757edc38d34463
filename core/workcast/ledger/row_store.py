"""Where the rows of an account are kept."""

from __future__ import annotations

from itertools import islice
from typing import Protocol, TypeVar

from pydantic import TypeAdapter

from workcast.ledger.rows import CallRow, MessageRow, RunRow, SubagentRow

Row = TypeVar("Row", RunRow, MessageRow, CallRow, SubagentRow)


class RowStore(Protocol[Row]):
    """The rows of one kind, by key, numbered from 0 in the order in which they were added."""

    @property
    def count(self) -> int:
        """How many rows there are."""
        ...

    def get(self, key: str) -> Row | None:
        """Return the row of a key. After a change to it, :meth:`put` it again."""
        ...

    def put(self, key: str, row: Row) -> None:
        """Add a row, or replace the one with the same key, which keeps its number."""
        ...

    def add(self, key: str, row: Row) -> None:
        """Add a row whose key is new."""
        ...

    def page(self, start: int, limit: int) -> list[bytes]:
        """Return at most ``limit`` rows from number ``start``, as JSON."""
        ...


class RowStoreFactory(Protocol):
    """Makes an empty store for each kind of row."""

    def __call__(self, kind: type[Row], /) -> RowStore[Row]: ...


class MemoryRows(RowStore[Row]):
    """Rows in memory."""

    def __init__(self, kind: type[Row]) -> None:
        self._adapter: TypeAdapter[Row] = TypeAdapter(kind)
        self._rows: dict[str, Row] = {}

    @property
    def count(self) -> int:
        return len(self._rows)

    def get(self, key: str) -> Row | None:
        return self._rows.get(key)

    def put(self, key: str, row: Row) -> None:
        self._rows[key] = row

    def add(self, key: str, row: Row) -> None:
        self._rows[key] = row

    def page(self, start: int, limit: int) -> list[bytes]:
        return [self._adapter.dump_json(row) for row in islice(self._rows.values(), start, start + limit)]
