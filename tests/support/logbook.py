"""Every version of a workcell's log, kept beside it while it is written, cut and replaced."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from support.history_checker import Log
from workcast.broker.appender import Appender
from workcast.broker.log import parse_header
from workcast.broker.root import Root
from workcast.events.wire import wire


class Logbook:
    """One workcell's log. Other processes may append to it; only the logbook replaces it."""

    def __init__(self, root: Root, workcell: str, kept: Path) -> None:
        self.workcell = workcell
        self.path = root.log(workcell)
        self.path.parent.mkdir(parents=True)
        kept.mkdir()
        self._kept = kept
        self._count = 0
        self._appender = Appender(self.path)

    def append(self, lines: Sequence[bytes]) -> None:
        """Append complete lines as a writer does."""
        self._appender.append(b"".join(line + b"\n" for line in lines))

    def tear(self, part: bytes) -> None:
        """Append part of a line, as a dying writer does."""
        with self.path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(part)

    def replace(self, lines: Sequence[bytes]) -> None:
        """Replace the log in one step. A concurrent append goes to the old or to the new file."""
        self._count += 1
        new, temporary = self._newest(), self.path.with_name("new")
        new.write_bytes(b"".join(line + b"\n" for line in lines))
        os.link(new, temporary)
        temporary.replace(self.path)

    def cut(self, keep: int, lines: Sequence[bytes]) -> None:
        """Cut the log to its first ``keep`` lines, in place, and append ``lines``."""
        with self.path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            before = self._newest()
            copy = before.with_suffix(".copy")
            shutil.copyfile(self.path, copy)
            copy.replace(before)
            kept = file.read().split(b"\n")[:-1][:keep]
            self._count += 1
            os.link(self.path, self._newest())
            file.truncate(sum(len(line) + 1 for line in kept))
            file.seek(0, os.SEEK_END)
            file.write(b"".join(line + b"\n" for line in lines))

    def unlink(self) -> None:
        """Unlink the log. No process may append until it is replaced."""
        self.path.unlink()

    def first_lines(self, count: int, which: float) -> list[bytes]:
        """Return the first lines of an earlier version; ``which`` from 0 (the first) to nearly 1 (the current one)."""
        path = self._kept / str(1 + int(which * self._count))
        return path.read_bytes().split(b"\n")[:-1][:count]

    def logs(self) -> list[Log]:
        """Return every version of the log, the newest last, as it should be on the wire."""
        return [_read(self._kept / str(number)) for number in range(1, self._count + 1)]

    @property
    def end(self) -> int:
        """The offset after the current last line."""
        return _read(self._newest()).end

    def close(self) -> None:
        self._appender.close()

    def _newest(self) -> Path:
        return self._kept / str(self._count)


def _read(path: Path) -> Log:
    lines = path.read_bytes().split(b"\n")[:-1]
    header = parse_header(lines[0]) if lines else None
    if header is not None:
        return Log([wire(line) for line in lines[1:]], header.base)
    return Log([wire(line) for line in lines])
