"""A root: the directory whose ``.workcells/`` holds the workcells, and workcast's own state beside them."""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
from pathlib import Path
from typing import Final

from workcast.broker.errors import RootError, WorkcellIdError
from workcast.broker.json_value import as_object

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
LOG_NAME: Final = "telemetry.jsonl"


def check_workcell_id(workcell: str) -> str:
    """Return ``workcell`` if it names one directory of a root.

    Raises:
        WorkcellIdError: it holds a separator, ``..``, a control character, or has more than 128 characters.
    """
    if not _ID.fullmatch(workcell):
        raise WorkcellIdError(
            f"expected a workcell id of 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit, "
            f"got {workcell[:140]!r}"
        )
    return workcell


class Root:
    """Paths and small state files of one root; creates nothing until something is written."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.workcells = self.directory / ".workcells"
        self.state = self.workcells / ".workcast"
        self._origin = ""

    def check(self) -> None:
        """Raises:
        RootError: the root is not there, or is no directory.
        """
        if not self.directory.is_dir():
            what = "it is not a directory" if self.directory.exists() else "it does not exist"
            raise RootError(f"expected a directory as root, got {self.directory}: {what}; create it or name another")

    def prepare(self) -> None:
        """Make the workcells' directory and the state directory.

        Raises:
            RootError: the root is not there, is no directory, or cannot be written.
        """
        self.check()
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.state):
                pass
        except OSError as error:
            raise RootError(f"cannot write to {self.state}: {error.strerror}; check its permissions") from error

    def ids(self) -> list[str]:
        """The ids of all workcells there are, sorted."""
        try:
            with os.scandir(self.workcells) as entries:
                return sorted(entry.name for entry in entries if _ID.fullmatch(entry.name) and self.holds(entry.name))
        except FileNotFoundError:
            return []

    def workcell(self, workcell: str) -> Path:
        """The directory of a workcell, whether or not it exists.

        Raises:
            WorkcellIdError: the id is malformed.
        """
        return self.workcells / check_workcell_id(workcell)

    def holds(self, workcell: str) -> bool:
        """Whether the workcell's directory exists, and it and its log lie in this root even as symbolic links."""
        path = self.workcell(workcell)
        if not path.is_dir():
            return False
        links = [link for link in (path, path / LOG_NAME) if link.is_symlink()]
        return all(link.resolve().is_relative_to(self.directory.resolve()) for link in links)

    def log(self, workcell: str) -> Path:
        """The path of a workcell's log."""
        return self.workcell(workcell) / LOG_NAME

    def index(self, workcell: str) -> Path:
        """Where the line index of a workcell's log is kept."""
        return self.state / f"{check_workcell_id(workcell)}.index"

    # ── state ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def origin(self) -> str:
        """The random id that tells this root's workcells from those of other roots; made at the first call."""
        if not self._origin:
            path = self.state / "origin"
            if not path.exists():
                self._create_once(path, secrets.token_hex(8) + "\n")
            self._origin = path.read_text(encoding="ascii").strip()
        return self._origin

    def epoch(self, workcell: str, header: int | None = None) -> int | None:
        """The epoch that was written for a log because its first line no longer tells it, if any.

        With ``header``, the epoch that the log's header gives: only one that was written to take its place.
        """
        try:
            numbers = [int(word) for word in (self.state / f"{workcell}.epoch").read_text(encoding="ascii").split()]
        except (FileNotFoundError, ValueError):
            return None
        return numbers[0] if numbers and (header is None or numbers[1:] == [header]) else None

    def write_epoch(self, workcell: str, epoch: int, header: int | None = None) -> None:
        """Keep ``epoch`` for a log, durably: it must be on disk before anyone sees it.

        ``header`` is the epoch of the log's header that it takes the place of, because the log is another one.
        """
        self.write_state(f"{workcell}.epoch", f"{epoch}\n" if header is None else f"{epoch} {header}\n", durable=True)

    def mark(self, workcell: str) -> tuple[int, int, int, int] | None:
        """Epoch, head, CRC-32 of the line before it, and inode, as a relay last noted them; None if none did."""
        try:
            text = (self.state / f"{workcell}.mark").read_text(encoding="ascii")
            epoch, head, crc, inode = map(int, text.split())
        except (FileNotFoundError, ValueError):
            return None
        return epoch, head, crc, inode

    def write_mark(self, workcell: str, epoch: int, head: int, crc: int, inode: int) -> None:
        """Note how far a log is about to be published: one write in place, of one width, for it is done each batch."""
        path = self.state / f"{workcell}.mark"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:  # somebody removed the state directory
            self.state.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(descriptor, b"%15d %16d %10d %20d\n" % (epoch, head, crc, inode), 0)
        finally:
            os.close(descriptor)

    def write_state(self, name: str, text: str, *, durable: bool = False, mode: int = 0o644) -> None:
        """Replace a file of the state directory as a whole, so that no reader sees half of it."""
        self.state.mkdir(parents=True, exist_ok=True)
        temporary = self.state / f".{name}.{os.getpid()}.{secrets.token_hex(4)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(self.state / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if durable:
            sync_directory(self.state)

    def read_state(self, name: str) -> dict[str, object] | None:
        """A JSON object of the state directory; None if there is none or it cannot be read."""
        try:
            return as_object(json.loads((self.state / name).read_bytes()))
        except (OSError, ValueError):
            return None

    def _create_once(self, path: Path, text: str) -> None:
        """Make a file with all its content or leave the one that another process made first."""
        self.state.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        temporary.write_text(text, encoding="ascii")
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()


class LoneLog(Root):
    """A log that lies in no root, as a root with this one workcell; its state is kept beside it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.absolute().parent)
        self.state = self.directory / ".workcast"
        self._path = path.absolute()

    def log(self, workcell: str) -> Path:
        """The one log, under whatever id."""
        check_workcell_id(workcell)
        return self._path


def root_of(log: Path) -> Root | None:
    """The root that a log lies in: that of ``ROOT/.workcells/<id>/telemetry.jsonl``; None for any other path."""
    path = log.absolute()
    cell = path.parent
    if path.name != LOG_NAME or cell.parent.name != ".workcells" or not _ID.fullmatch(cell.name):
        return None
    return Root(cell.parent.parent)


def sync_directory(path: Path) -> None:
    """Make a rename in ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
