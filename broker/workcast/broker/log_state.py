"""The state files of one log: its epoch, those of its predecessors, its watermark, sums and checkpoint."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from workcast.broker.below import make_directory, oddity, open_below, read_below
from workcast.broker.damaged import ignore
from workcast.broker.files import lock_descriptor, lock_file, replace_file
from workcast.broker.line_sums import LineSums
from workcast.broker.names import (
    CHECKPOINT_SUFFIX,
    EPOCH_SUFFIX,
    RETIRED_SUFFIX,
    SUMS_SUFFIX,
    WATERMARK_SUFFIX,
    state_file,
)  # fmt: skip
from workcast.broker.watermark import BASES, EPOCHS, HEADS, Watermark
from workcast.events.json_value import as_object

_LOCK_SECONDS: Final = 10.0
"""How long to wait for the lock of the watermark, which is held for microseconds."""
_NUMBERS_BYTES: Final = 1 << 20
"""Of epochs: 60,000 of them."""
_RETIRED_BYTES: Final = 1 << 16
"""Of epochs of earlier logs; they are shortened when there are more."""
_WATERMARK_BYTES: Final = 256
_CHECKPOINT_BYTES: Final = 1 << 24
"""Several times what the state of any log takes."""
_CRCS: Final = range(1 << 32)
_INODES: Final = range(1 << 64)
_WATERMARK: Final = b"%15d %16d %10d %20d %16d\n"
"""Of one width, so that a write in place leaves nothing of the earlier one."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a fold at a watermark."""

    watermark: Watermark
    fold: object
    """As :meth:`workcast.ledger.summary.Fold.to_state` returned it."""


class LogState:
    """Reads and writes the state files of one log; reading creates nothing.

    Args:
        directory: the state directory; created by the first write.
        name: the workcell's directory name.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name

    def odd_file(self) -> Path | None:
        """Return a state file that cannot be written, as something else is in its place; None if there is none.

        The other ones are replaced as a whole, whatever is there, unless it is a directory.
        """
        paths = map(self._path, (WATERMARK_SUFFIX, RETIRED_SUFFIX))
        return next((path for path in paths if oddity(path)), None)

    @property
    def sums(self) -> LineSums:
        """The checksums of the log's lines."""
        return LineSums(self._path(SUMS_SUFFIX))

    def written_epoch(self) -> tuple[int, ...]:
        """Return the epoch that was written for the log, and the header's epoch it replaces; empty if none was."""
        numbers = self._numbers(EPOCH_SUFFIX)
        return numbers if len(numbers) <= 2 else ()

    def write_epoch(self, epoch: int, header_epoch: int | None = None) -> None:
        """Keep an epoch for the log, durably: it must be on disk before a line is shown under it.

        Args:
            epoch: the log's epoch from now on.
            header_epoch: the epoch in the log's header, which this one replaces.
        """
        text = f"{epoch}\n" if header_epoch is None else f"{epoch} {header_epoch}\n"
        make_directory(self._directory)
        replace_file(self._path(EPOCH_SUFFIX), text.encode(), durable=True)

    def retired_epochs(self) -> frozenset[int]:
        """Return the epochs that earlier logs of the workcell had."""
        return frozenset(self._numbers(RETIRED_SUFFIX))

    def retire_epochs(self, epochs: frozenset[int]) -> None:
        """Record, durably, that these epochs stood for earlier logs.

        Of more than some 4,000, the oldest are dropped: one of them would have to come back after thousands of others.
        """
        make_directory(self._directory)
        path, new = self._path(RETIRED_SUFFIX), "".join(f"{epoch}\n" for epoch in sorted(epochs)).encode()
        with lock_file(path, wait=_LOCK_SECONDS) as descriptor:
            size = os.fstat(descriptor).st_size
            if size > _RETIRED_BYTES:
                kept = os.pread(descriptor, _RETIRED_BYTES // 2, size - _RETIRED_BYTES // 2).partition(b"\n")[2]
                replace_file(path, kept + new, durable=True)
                return
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                new = b"\n" + new  # a writer was killed in the middle of a line
            os.pwrite(descriptor, new, size)
            os.fsync(descriptor)

    def watermark(self) -> Watermark | None:
        """Return how far the log was shown, and of which file; None if that was never noted."""
        path = self._path(WATERMARK_SUFFIX)
        try:
            return _parse_watermark(read_below(path, _WATERMARK_BYTES))
        except (OSError, ValueError) as error:
            ignore(path, error)
            return None

    def raise_watermark(self, shown: Watermark) -> None:
        """Note how far the log is about to be shown. Within an epoch neither head nor base go back.

        It is written in place, because that is done for each batch, and under a lock that keeps other relays out.
        """
        descriptor = self._open_watermark()
        try:
            lock_descriptor(descriptor, wait=_LOCK_SECONDS)
            there = os.pread(descriptor, _WATERMARK_BYTES + 1, 0)
            before = None
            with suppress(ValueError):  # as of a new file
                before = _parse_watermark(there)
            if before is not None and before.epoch == shown.epoch:
                furthest = before if before.head >= shown.head else shown
                newest = before if before.base > shown.base else shown
                shown = replace(furthest, inode=newest.inode, base=newest.base)
            line = _WATERMARK % (shown.epoch, shown.head, shown.crc or 0, shown.inode or 0, shown.base)
            os.pwrite(descriptor, line, 0)
            if len(there) > len(line):
                os.ftruncate(descriptor, len(line))  # what was there was not a watermark
        finally:
            os.close(descriptor)

    def checkpoint(self) -> Checkpoint | None:
        """Return what a relay kept to save the next one work; None if nothing was kept, or it is damaged."""
        path = self._path(CHECKPOINT_SUFFIX)
        try:
            return _parse_checkpoint(read_below(path, _CHECKPOINT_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            ignore(path, error)
            return None

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint for the next relay."""
        shown = checkpoint.watermark
        fields = {
            "epoch": shown.epoch, "head": shown.head, "crc": shown.crc, "inode": shown.inode, "fold": checkpoint.fold,
        }  # fmt: skip
        make_directory(self._directory)
        replace_file(self._path(CHECKPOINT_SUFFIX), json.dumps(fields).encode())

    def _path(self, suffix: str) -> Path:
        return self._directory / state_file(self._name, suffix)

    def _numbers(self, suffix: str) -> tuple[int, ...]:
        path = self._path(suffix)
        try:
            numbers = [_number(word) for word in read_below(path, _NUMBERS_BYTES).split()]
        except OSError as error:
            ignore(path, error)
            return ()
        if not all(numbers):
            ignore(path, ValueError("expected epochs from 1 to below 2^48"))
        return tuple(filter(None, numbers))

    def _open_watermark(self) -> int:
        path, flags = self._path(WATERMARK_SUFFIX), os.O_RDWR | os.O_CREAT
        try:
            return open_below(path, flags)
        except FileNotFoundError:  # the state directory was removed
            make_directory(self._directory)
            return open_below(path, flags)


def _number(word: bytes) -> int:
    """Return the epoch in a word; 0 if it is none."""
    number = int(word) if word.isdigit() and len(word) < 16 else 0
    return number if number in EPOCHS else 0


def _parse_watermark(text: bytes) -> Watermark:
    """Parse a line that :meth:`LogState.raise_watermark` wrote, or an earlier version, which left out the base.

    Raises:
        ValueError: it is something else.
    """
    epoch, head, crc, inode, *base = map(int, text.split())
    return _checked(Watermark(epoch, head, crc, base[0] if base else 0, inode))


def _parse_checkpoint(text: bytes) -> Checkpoint:
    match as_object(json.loads(text)):
        case {"epoch": int() as epoch, "head": int() as head, "crc": int() as crc, **rest}:
            inode = rest.get("inode")
            shown = Watermark(int(epoch), int(head), int(crc), inode=inode if type(inode) is int else None)
            return Checkpoint(_checked(shown), rest.get("fold"))
        case _:
            raise ValueError("expected an object with epoch, head and crc")


def _checked(shown: Watermark) -> Watermark:
    fields = ((shown.epoch, EPOCHS), (shown.head, HEADS), (shown.crc, _CRCS), (shown.base, BASES))
    for value, allowed in (*fields, (shown.inode or 0, _INODES)):
        if value not in allowed:
            raise ValueError(f"expected a number below {allowed.stop}, got {value}")
    return shown
