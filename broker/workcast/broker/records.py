"""The records of a workcell: the files that workcast wrote for it, found and removed without following a link.

Everything is opened relative to the descriptor of its directory, so whatever becomes a link meanwhile, nothing outside
of the root is touched. Names that workcast uses are not enough: only regular files count as its own.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Literal

from workcast.broker import names
from workcast.broker.below import directory_of
from workcast.broker.root import Root

_OUTPUT: Final = re.compile(r"[a-z0-9_-]+-\d{8}T\d{6}\.\d{6}Z\.(stdout|stderr)")
"""The files of a run in the output directory, as :mod:`workcast.producer.runner` names them."""
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CELL_FILES: Final = tuple(name for name in names.WORKCELL_FILES if name != names.RUN_LOCK_FILE)
_STATE_SUFFIXES: Final = tuple(
    suffix for suffix in names.STATE_SUFFIXES if suffix not in {names.SESSION_LOCK_SUFFIX, names.RETIRED_SUFFIX}
)
"""Without the retired epochs, which stay: with them, a later log of the same name is not taken for the removed one."""
_MAX_KEPT: Final = 20

Where = Literal["cell", "output", "state"]


@dataclass(frozen=True, slots=True)
class Record:
    """One file of a workcell."""

    where: Where
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Records:
    """What workcast wrote for a workcell, and what else is in its directory."""

    files: tuple[Record, ...] = ()
    """The log is the first of them, the locks are the last."""
    others: tuple[str, ...] = ()
    """The names of what workcast did not write; of more than 20, the rest is counted in the last one."""
    has_directory: bool = False

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(record.size for record in self.files)

    def paths(self, local: str) -> list[str]:
        """Return the paths of the files in the workcells' directory, given the name of the workcell's."""
        prefix = {"cell": local, "output": f"{local}/{names.OUTPUT_DIRECTORY}", "state": names.STATE_DIRECTORY}
        return [f"{prefix[record.where]}/{record.name}" for record in self.files]


class Place:
    """The open directories of one workcell; a directory that is missing, or a link, has no descriptor.

    Args:
        local: the name of the workcell's directory.
        spared: names in it that are not workcast's, whatever they are: ``prompt.md``, ``logs/readme``.
    """

    def __init__(self, local: str, cells: int, stack: ExitStack, spared: Collection[str] = ()) -> None:
        self.local = local
        self.spared = spared
        self.cells = cells
        found: dict[Where, int | None] = {"cell": _open(local, cells, stack), "output": None}
        found["state"] = _open(names.STATE_DIRECTORY, cells, stack)
        if (cell := found["cell"]) is not None:
            found["output"] = _open(names.OUTPUT_DIRECTORY, cell, stack)
        self.directories = found

    def find(self) -> Records:
        """Find the records, and what else is there."""
        cell, output = self.directories["cell"], self.directories["output"]
        outputs = _names_in(output)
        files = [
            *self._regular("cell", _CELL_FILES),
            *self._regular("output", filter(_is_output, outputs)),
            *self._regular("state", (names.state_file(self.local, suffix) for suffix in _STATE_SUFFIXES)),
            *self._regular("cell", [names.RUN_LOCK_FILE]),
            *self._regular("state", [names.state_file(self.local, names.SESSION_LOCK_SUFFIX)]),
        ]
        mine = {record.name for record in files if record.where == "cell"}
        if output is not None and {record.name for record in files if record.where == "output"}.issuperset(outputs):
            mine.add(names.OUTPUT_DIRECTORY)
        others = [name for name in _names_in(cell) if name not in mine]
        return Records(tuple(files), _shortened(others), cell is not None)

    def is_left(self) -> bool:
        """Whether anything is there that a removal would remove: a file, or an empty directory."""
        found = self.find()
        is_empty = found.has_directory and not found.others
        has_output = self.directories["output"] is not None and names.OUTPUT_DIRECTORY not in found.others
        return bool(found.files) or is_empty or has_output

    def has_log(self) -> bool:
        """Whether there is a log."""
        return self._size("cell", names.LOG_FILE) is not None

    def remove(self, records: Iterable[Record]) -> list[Record]:
        """Remove files; return those that this call removed."""
        return [record for record in records if self._unlink(record)]

    def remove_directories(self) -> None:
        """Remove the output directory and the workcell's own, if they are empty."""
        cell = self.directories["cell"]
        if cell is not None:
            with suppress(OSError):  # not empty, or not there
                os.rmdir(names.OUTPUT_DIRECTORY, dir_fd=cell)
            with suppress(OSError):
                os.rmdir(self.local, dir_fd=self.cells)

    def has_directory(self) -> bool:
        """Whether the workcell's directory is there, or anything of its name."""
        with suppress(FileNotFoundError):
            os.stat(self.local, dir_fd=self.cells, follow_symlinks=False)
            return True
        return False

    def _unlink(self, record: Record) -> bool:
        directory = self.directories[record.where]
        if directory is None or self._size(record.where, record.name) is None:
            return False
        with suppress(FileNotFoundError):
            os.unlink(record.name, dir_fd=directory)
            return True
        return False

    def _regular(self, where: Where, candidates: Iterable[str]) -> Iterator[Record]:
        for name in candidates:
            if (size := self._size(where, name)) is not None:
                yield Record(where, name, size)

    def _size(self, where: Where, name: str) -> int | None:
        """Return the size of a file that workcast may have written; None for anything else."""
        directory = self.directories[where]
        spared = {"cell": name, "output": f"{names.OUTPUT_DIRECTORY}/{name}"}.get(where)
        if directory is None or spared in self.spared:
            return None
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None


@contextmanager
def open_place(root: Root, workcell: str, spared: Collection[str] = ()) -> Generator[Place]:
    """Open the directories of a workcell, which need not exist.

    Args:
        root: whose workcell.
        workcell: its id.
        spared: see :class:`Place`.

    Raises:
        OSError: the workcells' directory is missing, a link, or cannot be opened.
    """
    with directory_of(root.workcell(workcell)) as (cells, local), ExitStack() as stack:
        yield Place(local, cells, stack, spared)


def find_records(root: Root, workcell: str, spared: Collection[str] = ()) -> Records:
    """Find what workcast wrote for a workcell; changes nothing.

    Raises:
        OSError: the workcells' directory is a link, or cannot be opened.
    """
    with suppress(FileNotFoundError), open_place(root, workcell, spared) as place:
        return place.find()
    return Records()


def _open(name: str, parent: int, stack: ExitStack) -> int | None:
    with suppress(OSError):
        descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
        stack.callback(os.close, descriptor)
        return descriptor
    return None


def _names_in(directory: int | None) -> list[str]:
    return [] if directory is None else sorted(os.listdir(directory))  # noqa: PTH208 - of a descriptor


def _is_output(name: str) -> bool:
    return name == names.IGNORED_FILE or _OUTPUT.fullmatch(name) is not None


def _shortened(others: list[str]) -> tuple[str, ...]:
    if len(others) <= _MAX_KEPT:
        return tuple(others)
    return (*others[: _MAX_KEPT - 1], f"{len(others) - _MAX_KEPT + 1} more")
