"""A root: the directory whose ``.workcells/`` holds the workcells, and the state directory beside them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from workcast.broker import names
from workcast.broker.below import (
    OddFileError,
    is_directory_below,
    is_file_below,
    list_directory,
    make_directory,
    oddity,
    open_below,
    read_below,
    remove_below,
    stat_below,
)
from workcast.broker.damaged import ignore
from workcast.broker.errors import RootError, WorkcellIdError
from workcast.broker.files import check_writable, create_file_once, replace_file
from workcast.broker.log_state import LogState
from workcast.events.json_value import as_object

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_ORIGIN: Final = re.compile(rb"([0-9a-f]{16})\n(?:(\d+ \d+)\n)?")
_MAX_ORIGIN_BYTES: Final = 128
_MAX_STATE_BYTES: Final = 1 << 24
IGNORE_ALL: Final = b"# Made by workcast, which keeps its runs here. Edit it as you like.\n*\n"


logger = logging.getLogger("workcast.relay")


def check_workcell_id(workcell: str) -> str:
    """Return ``workcell`` if it names one directory of a root, with or without a root's name and a colon before it.

    Raises:
        WorkcellIdError: it holds a separator, ``..`` or a control character, or has more than 128 characters.
    """
    name, _, local = workcell.rpartition(":")
    if not _ID.fullmatch(local) or (local != workcell and not _NAME.fullmatch(name)):
        raise WorkcellIdError(
            f"expected a workcell id of 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit, "
            f"got {workcell[:140]!r}"
        )
    return workcell


class Root:
    """The paths, ids and origin of one root; creates nothing until something is written.

    Args:
        directory: the one that holds ``.workcells/``.
        name: prefix of its workcells' ids, without the colon; up to 32 letters, digits, ``.``, ``_``, ``-``.

    Raises:
        RootError: the name is malformed.
    """

    def __init__(self, directory: Path, name: str = "") -> None:
        if name and not _NAME.fullmatch(name):
            raise RootError(
                f"expected a root's name of 1 to 32 letters, digits, '.', '_' or '-', beginning with a letter or "
                f"digit, got {name[:40]!r}"
            )
        self.directory = directory.absolute()
        self.name = name
        self.workcells = self.directory / names.WORKCELLS_DIRECTORY
        self.state = self.workcells / names.STATE_DIRECTORY
        self.removed = self.state / names.REMOVED_DIRECTORY
        self._origin = self._origin_place = self._written_place = ""

    def check(self) -> None:
        """Check that the root is a directory, and that ``.workcells`` is no link.

        Raises:
            RootError: it is missing, or not a directory, or its workcells are elsewhere.
        """
        if not self.directory.is_dir():
            what = "it is not a directory" if self.directory.exists() else "it does not exist"
            raise RootError(f"expected a directory as root, got {self.directory}: {what}; create it or name another")
        if self.workcells.is_symlink():
            target = self.workcells.resolve()
            renamed = target.name == names.WORKCELLS_DIRECTORY
            first = "" if renamed else f"rename that to {names.WORKCELLS_DIRECTORY}, and "
            raise RootError(
                f"expected {self.workcells} to be a directory, got a symbolic link to {target}, which is not followed; "
                f"{first}name {target.parent} as root"
            )

    def prepare(self) -> None:
        """Create the workcells' directory and the state directory.

        Raises:
            RootError: the root is missing, not a directory, or cannot be written.
        """
        self.check()
        try:
            make_directory(self.state)
            check_writable(self.state)
        except OddFileError as error:
            raise RootError(f"cannot write to {self.state}: {error.strerror}") from error
        except OSError as error:
            raise RootError(f"cannot write to {self.state}: {error.strerror}; check its permissions") from error
        self.hide_from_git()

    def hide_from_git(self) -> None:
        """Make ``.workcells/`` ignore itself in the repository around it; an existing ``.gitignore`` is kept.

        A workcell that is a git worktree reads nothing above its own top, so an agent's files stay visible there. If
        nothing can be written, git goes on showing the directory.
        """
        path = self.workcells / names.GITIGNORE_FILE
        with suppress(OSError), os.fdopen(open_below(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(IGNORE_ALL)

    def ids(self) -> list[str]:
        """Return the ids of all workcells, sorted."""
        try:
            found = list_directory(self.workcells).directories
        except (FileNotFoundError, OddFileError):
            return []
        ids = [self.id_of(name) for name in sorted(found) if _ID.fullmatch(name)]
        marked = {self.id_of(name) for name in self.removed_names()}
        return [workcell for workcell in ids if workcell not in marked or self.removed_at(workcell) is None]

    def links(self) -> list[str]:
        """Return the ids of what would be workcells, if they were directories and not links."""
        try:
            found = list_directory(self.workcells).links
        except (FileNotFoundError, OddFileError):
            return []
        return [self.id_of(name) for name in sorted(found) if _ID.fullmatch(name)]

    def id_of(self, workcell: str) -> str:
        """Return the id of the workcell with this directory name; an id with a root's name is returned as it is."""
        return workcell if not self.name or ":" in workcell else f"{self.name}:{workcell}"

    def owns(self, workcell: str) -> bool:
        """Whether an id is one of this root's by its form; the workcell need not exist.

        Raises:
            WorkcellIdError: the id is malformed.
        """
        return check_workcell_id(workcell).rpartition(":")[0] == self.name

    def local(self, workcell: str) -> str:
        """Return the directory name of a workcell.

        Raises:
            WorkcellIdError: the id is malformed, or another root's.
        """
        if not self.owns(workcell):
            whose = f"the root named {self.name!r}" if self.name else "a root without a name"
            raise WorkcellIdError(f"expected the id of a workcell in {whose}, got {workcell[:140]!r}")
        return workcell.rpartition(":")[2]

    def workcell(self, workcell: str) -> Path:
        """Return the directory of a workcell, which need not exist.

        Raises:
            WorkcellIdError: the id is malformed, or another root's.
        """
        return self.workcells / self.local(workcell)

    def holds(self, workcell: str) -> bool:
        """Whether the workcell's directory exists, and the workcell is not removed.

        A symbolic link is not a directory, wherever it leads.
        """
        return self.owns(workcell) and is_directory_below(self.workcell(workcell)) and self.removed_at(workcell) is None

    def removed_at(self, workcell: str) -> int | None:
        """Return when workcast removed the workcell, in ns since 1970; None if it did not, or there is a log again.

        The directory may still be there, as a git worktree for example.
        """
        mark = f"{self.removed}/{self.local(workcell)}"
        if not os.path.lexists(mark):  # at once, because nearly always there is none
            return None
        found = stat_below(Path(mark))
        return None if found is None or is_file_below(self.log(workcell)) else found.st_mtime_ns

    def removed_names(self) -> list[str]:
        """Return the names of the directories of all workcells that were removed, perhaps long ago."""
        try:
            return list_directory(self.removed).files
        except (FileNotFoundError, OddFileError):
            return []

    def oddity(self, workcell: str) -> str:
        """Say why the workcell's log is not shown though something is in its place; empty if nothing is odd."""
        if what := oddity(self.log(workcell)):
            return what
        state = self.log_state(workcell).odd_file()
        return "" if state is None else f"{oddity(state)} at {state}"

    def log(self, workcell: str) -> Path:
        """Return the path of a workcell's log."""
        return self.workcell(workcell) / names.LOG_FILE

    def index(self, workcell: str) -> Path:
        """Return the path of the line index of a workcell's log."""
        return self.state / names.state_file(self.local(workcell), names.INDEX_SUFFIX)

    def log_state(self, workcell: str) -> LogState:
        """Return the state files of a workcell's log."""
        return LogState(self.state, self.local(workcell))

    # ── state ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def origin(self) -> str:
        """Return the random id that distinguishes this root from others; empty if nothing was published from it.

        An origin belongs to the place of its state directory: a copy of a root has another one, which follows from
        both, so that readers and relays of the copy agree on it before it is written.
        """
        place = _place_of(self.state)
        if place and place != self._origin_place:
            stored, its_place = self._read_origin()
            if stored:
                self._origin = stored if its_place == place else _origin_of_copy(stored, place)
                self._origin_place = place
        return self._origin

    def ensure_origin(self) -> str:
        """Return the origin; write it if it does not exist, or is that of the root that this one is a copy of.

        Raises:
            OSError: it cannot be written.
        """
        if not self._origin_place or _place_of(self.state) != self._written_place:
            make_directory(self.state)
            place, path = _place_of(self.state), self.state / names.ORIGIN_FILE
            stored, its_place = self._read_origin()
            if not stored:  # perhaps because the directory was made again while this process runs
                content = f"{self._origin or secrets.token_hex(8)}\n{place}\n".encode()
                if not create_file_once(path, content) and not self._read_origin()[0]:
                    replace_file(path, content)  # not an origin, but in its place
            elif its_place != place:
                origin = _origin_of_copy(stored, place)
                replace_file(path, f"{origin}\n{place}\n".encode())
                logger.warning(
                    "%s was cloned, copied, restored or moved to another file system: it is published under an origin "
                    "of its own, %s, not as %s", self.directory, origin, stored,
                )  # fmt: skip
            self._origin_place, self._written_place = "", place
        return self.origin()

    def _read_origin(self) -> tuple[str, str]:
        """Return the origin as it is written, and its place; empty if there is none, or its place was not recorded."""
        path = self.state / names.ORIGIN_FILE
        try:
            found = _ORIGIN.fullmatch(read_below(path, _MAX_ORIGIN_BYTES))
        except OSError as error:
            ignore(path, error)
            return "", ""
        if not found:
            ignore(path, ValueError("expected an origin and its place"))
            return "", ""
        return found[1].decode(), (found[2] or b"").decode()

    def write_state(self, name: str, text: str, *, mode: int | None = None) -> None:
        """Replace a whole file of the state directory: a reader sees the old one or the new one.

        Args:
            name: of the file.
            text: its content.
            mode: the most that the file permits; None: what the group is given too, if it shares the root.
        """
        make_directory(self.state)
        replace_file(self.state / name, text.encode(), mode=mode)

    def read_state(self, name: str) -> dict[str, object] | None:
        """Return a JSON object from the state directory; None if the file is missing, odd or malformed."""
        path = self.state / name
        try:
            state = as_object(json.loads(read_below(path, _MAX_STATE_BYTES)))
        except (OSError, ValueError, RecursionError) as error:
            ignore(path, error)
            return None
        if state is None:
            ignore(path, ValueError("expected a JSON object"))
        return state

    def remove_state(self, name: str) -> None:
        """Remove a file of the state directory, if it exists.

        Raises:
            OSError: it cannot be removed.
        """
        remove_below(self.state / name)


class LoneLog(Root):
    """A log outside any root, as a root with this one workcell; its state is kept beside it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.absolute().parent)
        self.state = self.directory / names.STATE_DIRECTORY
        self._path = path.absolute()

    def log(self, workcell: str) -> Path:
        """Return the path of the log, whatever the id."""
        check_workcell_id(workcell)
        return self._path


def root_of(log: Path) -> Root | None:
    """Return the root of a log at ``ROOT/.workcells/<id>/telemetry.jsonl``; None for any other path."""
    path = log.absolute()
    cell = path.parent
    if path.name != names.LOG_FILE or cell.parent.name != names.WORKCELLS_DIRECTORY or not _ID.fullmatch(cell.name):
        return None
    return Root(cell.parent.parent)


def _place_of(directory: Path) -> str:
    """Return device and inode of a directory; empty if it is missing."""
    found = stat_below(directory)
    return "" if found is None else f"{found.st_dev} {found.st_ino}"


def _origin_of_copy(origin: str, place: str) -> str:
    return hashlib.sha256(f"{origin} {place}".encode()).hexdigest()[:16]
