"""A root: the directory whose ``.workcells/`` holds the workcells, and workcast's own state beside them."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from workcast.broker.errors import RootError, WorkcellIdError
from workcast.broker.watermark import Watermark
from workcast.events.json_value import as_object

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
LOG_NAME: Final = "telemetry.jsonl"
IGNORE_ALL: Final = b"# Made by workcast, which keeps its runs here. Edit it as you like.\n*\n"


def check_workcell_id(workcell: str) -> str:
    """Return ``workcell`` if it names one directory of a root, be it with the root's name and a colon before it.

    Raises:
        WorkcellIdError: it holds a separator, ``..``, a control character, or has more than 128 characters.
    """
    name, _, local = workcell.rpartition(":")
    if not _ID.fullmatch(local) or (local != workcell and not _NAME.fullmatch(name)):
        raise WorkcellIdError(
            f"expected a workcell id of 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit, "
            f"got {workcell[:140]!r}"
        )
    return workcell


def _parse_mark(text: bytes) -> Watermark | None:
    try:
        epoch, head, crc, inode, *base = map(int, text.split())
    except ValueError:
        return None
    return Watermark(epoch, head, crc, base[0] if base else 0, inode)


class Root:
    """Paths and small state files of one root; creates nothing until something is written.

    Args:
        directory: the one that holds ``.workcells/``.
        name: what is put, with a colon, before the ids of its workcells; up to 32 letters, digits, ``.``, ``_``, ``-``.

    Raises:
        RootError: the name has another form.
    """

    def __init__(self, directory: Path, name: str = "") -> None:
        if name and not _NAME.fullmatch(name):
            raise RootError(
                f"expected a root's name of 1 to 32 letters, digits, '.', '_' or '-', beginning with a letter or "
                f"digit, got {name[:40]!r}"
            )
        self.directory = directory.absolute()
        self.name = name
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
        self.hide_from_git()

    def hide_from_git(self) -> None:
        """Let ``.workcells/`` ignore itself: the repository that it may lie in, now or later, is the user's.

        A file that is there already is left alone. A workcell that is a git worktree reads nothing above its own top,
        so what an agent makes there is seen. Where nothing can be written, git goes on showing the directory.
        """
        with suppress(OSError), (self.workcells / ".gitignore").open("xb") as file:
            file.write(IGNORE_ALL)

    def ids(self) -> list[str]:
        """The ids of all workcells there are, sorted."""
        try:
            with os.scandir(self.workcells) as entries:
                names = sorted(entry.name for entry in entries if _ID.fullmatch(entry.name))
        except FileNotFoundError:
            return []
        return [workcell for workcell in map(self.id_of, names) if self.holds(workcell)]

    def id_of(self, workcell: str) -> str:
        """The id of the workcell in this directory of ``.workcells/``; one that has a root's name already is itself."""
        return workcell if not self.name or ":" in workcell else f"{self.name}:{workcell}"

    def owns(self, workcell: str) -> bool:
        """Whether an id is one of this root's, by its form: the workcell need not exist.

        Raises:
            WorkcellIdError: the id is malformed.
        """
        return check_workcell_id(workcell).rpartition(":")[0] == self.name

    def local(self, workcell: str) -> str:
        """The directory's name of a workcell.

        Raises:
            WorkcellIdError: the id is malformed, or another root's.
        """
        if not self.owns(workcell):
            whose = f"the root named {self.name!r}" if self.name else "a root without a name"
            raise WorkcellIdError(f"expected the id of a workcell in {whose}, got {workcell[:140]!r}")
        return workcell.rpartition(":")[2]

    def workcell(self, workcell: str) -> Path:
        """The directory of a workcell, whether or not it exists.

        Raises:
            WorkcellIdError: the id is malformed, or another root's.
        """
        return self.workcells / self.local(workcell)

    def holds(self, workcell: str) -> bool:
        """Whether the workcell's directory exists, and neither it nor its log leads out of this root.

        To be asked again before each look: either may become a symbolic link at any time.
        """
        return self.owns(workcell) and self.workcell(workcell).is_dir() and not self.leads_out(workcell)

    def leads_out(self, workcell: str) -> bool:
        """Whether the workcell's directory, or its log, is a symbolic link out of this root.

        A log that is a link inside the root is only not there: :class:`~workcast.broker.log.LogReader` follows none.
        """
        path = self.workcell(workcell)
        links = [link for link in (path, path / LOG_NAME) if link.is_symlink()]
        return not all(link.resolve().is_relative_to(self.directory.resolve()) for link in links)

    def log(self, workcell: str) -> Path:
        """The path of a workcell's log."""
        return self.workcell(workcell) / LOG_NAME

    def index(self, workcell: str) -> Path:
        """Where the line index of a workcell's log is kept."""
        return self._kept(workcell, "index")

    def _kept(self, workcell: str, kind: str) -> Path:
        """Where something about a workcell is kept."""
        return self.state / f"{self.local(workcell)}.{kind}"

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
            numbers = [int(word) for word in self._kept(workcell, "epoch").read_text(encoding="ascii").split()]
        except (FileNotFoundError, ValueError):
            return None
        return numbers[0] if numbers and (header is None or numbers[1:] == [header]) else None

    def write_epoch(self, workcell: str, epoch: int, header: int | None = None) -> None:
        """Keep ``epoch`` for a log, durably: it must be on disk before anyone sees it.

        ``header`` is the epoch of the log's header that it takes the place of, because the log is another one.
        """
        text = f"{epoch}\n" if header is None else f"{epoch} {header}\n"
        self.write_state(self._kept(workcell, "epoch").name, text, durable=True)

    def retired_epochs(self, workcell: str) -> set[int]:
        """The epochs that logs of this workcell had before: what they stand for was shown, and no other log is that."""
        try:
            return {int(word) for word in self._kept(workcell, "retired").read_text(encoding="ascii").split()}
        except (FileNotFoundError, ValueError):
            return set()

    def retire_epochs(self, workcell: str, epochs: set[int]) -> None:
        """Keep, durably, that these epochs have stood for a log that is gone."""
        self.state.mkdir(parents=True, exist_ok=True)
        with self._kept(workcell, "retired").open("a", encoding="ascii") as file:
            file.write("".join(f"{epoch}\n" for epoch in sorted(epochs)))
            file.flush()
            os.fsync(file.fileno())

    def mark(self, workcell: str) -> Watermark | None:
        """How far a log was shown, as it was last noted; None if nobody did."""
        try:
            return _parse_mark(self._kept(workcell, "mark").read_bytes())
        except FileNotFoundError:
            return None

    def note(self, workcell: str, shown: Watermark) -> None:
        """Note how far a log is about to be shown. Within an epoch neither head nor base ever go back.

        One write in place, of one width, for it is done each batch; a lock keeps whoever else notes out meanwhile.
        """
        path = self._kept(workcell, "mark")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:  # somebody removed the state directory
            self.state.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            before = _parse_mark(os.pread(descriptor, 256, 0))
            if before is not None and before.epoch == shown.epoch:
                furthest = before if before.head >= shown.head else shown
                newest = before if before.base > shown.base else shown
                shown = replace(furthest, inode=newest.inode, base=newest.base)
            fields = (shown.epoch, shown.head, shown.crc or 0, shown.inode or 0, shown.base)
            os.pwrite(descriptor, b"%15d %16d %10d %20d %16d\n" % fields, 0)
        finally:
            os.close(descriptor)

    def checkpoint(self, workcell: str) -> dict[str, object] | None:
        """What a relay kept of a workcell; None if there is nothing, or it cannot be read."""
        return self.read_state(self._kept(workcell, "checkpoint").name)

    def write_checkpoint(self, workcell: str, text: str) -> None:
        """Keep what saves the next start work: a JSON object."""
        self.write_state(self._kept(workcell, "checkpoint").name, text)

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
        self._path = path.resolve()

    def log(self, workcell: str) -> Path:
        """The one log, under whatever id."""
        check_workcell_id(workcell)
        return self._path

    def leads_out(self, workcell: str) -> bool:  # noqa: ARG002 - a root's question
        """No: there is nothing around it, and who named the path meant what it leads to."""
        return False


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
