"""What an index holds of each log: how far it is indexed, its runs, and the changes of files that they report."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from workcast.broker.watermark import Watermark
from workcast.index.followed_log import FileState, Progress
from workcast.index.run_record import decode_run, encode_run
from workcast.ledger.figures import Change, RunFigures

_PROGRESS: Final = "SELECT log, name, epoch, head, crc, base, inode, file, size, modified, figures FROM logs"


class StoredLog(NamedTuple):
    """A log that is indexed, up to its ``progress``."""

    log: int
    """Its number, in this index alone."""
    name: str
    """The workcell's directory."""
    progress: Progress


class FileChanges(NamedTuple):
    """What one run changed in one file, by its events."""

    log: int
    run: int
    path: str
    changes: int
    lines_added: int
    lines_removed: int


class Store:
    """The tables of an open index. All methods raise ``sqlite3.Error``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def names(self) -> set[str]:
        """Return the directories of all workcells in the index."""
        return {name for (name,) in self.connection.execute("SELECT name FROM logs")}

    def log(self, name: str) -> StoredLog | None:
        """Return how far a log is indexed; None if it is not."""
        found = self.connection.execute(_PROGRESS + " WHERE name = ?", (name,)).fetchone()
        return None if found is None else _stored(found)

    def file_state(self, name: str) -> FileState | None:
        """Return the state of a log's files when it was last read to its end; None if the log is not indexed."""
        found = self.connection.execute("SELECT file, size, modified FROM logs WHERE name = ?", (name,)).fetchone()
        return None if found is None else FileState(*found)

    def logs(self) -> list[StoredLog]:
        """Return how far each log is indexed, without the states of their folds, which would be most of the index."""
        return list(map(_stored, self.connection.execute(_PROGRESS.replace("figures", "x''"))))

    def heads(self) -> dict[str, tuple[int, int]]:
        """Return the epoch of each log in the index, and the offset after its last indexed line."""
        found = self.connection.execute("SELECT name, epoch, head FROM logs")
        return {name: (epoch, head) for name, epoch, head in found}

    def runs(self) -> Iterator[tuple[int, RunFigures]]:
        """Yield the runs of all logs in their order, each with the log's number.

        Raises:
            ValueError: one is damaged.
        """
        for log, data in self.connection.execute("SELECT log, figures FROM runs ORDER BY log, run"):
            yield log, decode_run(data)

    def file_changes(self) -> Iterator[FileChanges]:
        """Yield the changes of each file in each run."""
        found = self.connection.execute(
            "SELECT log, run, path, count(*), sum(lines_added), sum(lines_removed) FROM changes GROUP BY log, run, path"
        )
        return map(FileChanges._make, found)

    def changes(self, log: int) -> Iterator[Change]:
        """Yield the changes that a log reports, in its order."""
        found = self.connection.execute(
            "SELECT offset, run, path, lines_added, lines_removed FROM changes WHERE log = ? ORDER BY offset", (log,)
        )
        return (Change(*row) for row in found)

    def put(self, name: str, progress: Progress, runs: Iterable[RunFigures], changes: Iterable[Change]) -> None:
        """Keep what was folded of a log since the last time, and how far."""
        mark, file = progress.watermark, progress.file
        self.connection.execute(
            "INSERT INTO logs (name, epoch, head, crc, base, inode, file, size, modified, figures)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch,"
            " head = excluded.head, crc = excluded.crc, base = excluded.base, inode = excluded.inode,"
            " file = excluded.file, size = excluded.size, modified = excluded.modified, figures = excluded.figures",
            (
                name, mark.epoch, mark.head, mark.crc, mark.base, mark.inode,
                file.inode, file.size, file.modified, progress.figures,
            ),
        )  # fmt: skip
        log = self.connection.execute("SELECT log FROM logs WHERE name = ?", (name,)).fetchone()[0]
        # The lines that had no run, if there were any, are those of the first one now.
        self.connection.execute("DELETE FROM runs WHERE log = ? AND run = 0", (log,))
        self.connection.executemany(
            "INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", ((log, run.run, encode_run(run)) for run in runs)
        )
        self.connection.executemany(
            "INSERT OR REPLACE INTO changes VALUES (?, ?, ?, ?, ?, ?)",
            (
                (log, change.offset, change.run, change.path, change.lines_added, change.lines_removed)
                for change in changes
            ),
        )

    def remove(self, name: str) -> None:
        """Forget all of a log."""
        found = self.connection.execute("SELECT log FROM logs WHERE name = ?", (name,)).fetchone()
        if found is None:
            return
        for table in ("logs", "runs", "changes"):
            self.connection.execute(f"DELETE FROM {table} WHERE log = ?", found)  # noqa: S608 - of these tables


def _stored(row: tuple[int, str, int, int, int | None, int, int, int, int, int, bytes]) -> StoredLog:
    log, name, epoch, head, crc, base, inode, file, size, modified, figures = row
    watermark = Watermark(epoch, head, crc, base, inode)
    return StoredLog(log, name, Progress(watermark, figures, FileState(file, size, modified)))
