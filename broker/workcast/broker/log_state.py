"""The state files of one log: its epoch, the epochs of its predecessors, its watermark and its checkpoint."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from workcast.broker.files import lock_descriptor, replace_file
from workcast.broker.names import (
    CHECKPOINT_SUFFIX,
    EPOCH_SUFFIX,
    RETIRED_SUFFIX,
    WATERMARK_SUFFIX,
    state_file,
)  # fmt: skip
from workcast.broker.watermark import Watermark
from workcast.events.json_value import as_object

_LOCK_SECONDS: Final = 10.0
"""How long to wait for the lock of the watermark, which is held for microseconds."""
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

    def written_epoch(self) -> tuple[int, ...]:
        """Return the epoch that was written for the log, and the header's epoch it replaces; empty if none was."""
        return self._numbers(EPOCH_SUFFIX)

    def write_epoch(self, epoch: int, header_epoch: int | None = None) -> None:
        """Keep an epoch for the log, durably: it must be on disk before a line is shown under it.

        Args:
            epoch: the log's epoch from now on.
            header_epoch: the epoch in the log's header, which this one replaces.
        """
        text = f"{epoch}\n" if header_epoch is None else f"{epoch} {header_epoch}\n"
        self._directory.mkdir(parents=True, exist_ok=True)
        replace_file(self._path(EPOCH_SUFFIX), text.encode(), durable=True)

    def retired_epochs(self) -> frozenset[int]:
        """Return the epochs that earlier logs of the workcell had."""
        return frozenset(self._numbers(RETIRED_SUFFIX))

    def retire_epochs(self, epochs: frozenset[int]) -> None:
        """Record, durably, that these epochs stood for earlier logs."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._path(RETIRED_SUFFIX).open("a", encoding="ascii") as file:
            file.write("".join(f"{epoch}\n" for epoch in sorted(epochs)))
            file.flush()
            os.fsync(file.fileno())

    def watermark(self) -> Watermark | None:
        """Return how far the log was shown, and of which file; None if that was never noted."""
        try:
            return _parse_watermark(self._path(WATERMARK_SUFFIX).read_bytes())
        except OSError:
            return None

    def raise_watermark(self, shown: Watermark) -> None:
        """Note how far the log is about to be shown. Within an epoch neither head nor base go back.

        It is written in place, because that is done for each batch, and under a lock that keeps other relays out.
        """
        descriptor = self._open_watermark()
        try:
            lock_descriptor(descriptor, wait=_LOCK_SECONDS)
            before = _parse_watermark(os.pread(descriptor, 256, 0))
            if before is not None and before.epoch == shown.epoch:
                furthest = before if before.head >= shown.head else shown
                newest = before if before.base > shown.base else shown
                shown = replace(furthest, inode=newest.inode, base=newest.base)
            fields = (shown.epoch, shown.head, shown.crc or 0, shown.inode or 0, shown.base)
            os.pwrite(descriptor, _WATERMARK % fields, 0)
        finally:
            os.close(descriptor)

    def checkpoint(self) -> Checkpoint | None:
        """Return what a relay kept to save the next one work; None if nothing was kept, or it is damaged."""
        try:
            state: Any = as_object(json.loads(self._path(CHECKPOINT_SUFFIX).read_bytes()))
        except (OSError, ValueError):
            return None
        match state:
            case {"epoch": int() as epoch, "head": int() as head, "crc": int() as crc}:
                return Checkpoint(Watermark(epoch, head, crc), state.get("fold"))
            case _:
                return None

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint for the next relay."""
        shown = checkpoint.watermark
        fields = {"epoch": shown.epoch, "head": shown.head, "crc": shown.crc, "fold": checkpoint.fold}
        self._directory.mkdir(parents=True, exist_ok=True)
        replace_file(self._path(CHECKPOINT_SUFFIX), json.dumps(fields).encode())

    def _path(self, suffix: str) -> Path:
        return self._directory / state_file(self._name, suffix)

    def _numbers(self, suffix: str) -> tuple[int, ...]:
        try:
            return tuple(int(word) for word in self._path(suffix).read_text(encoding="ascii").split())
        except (OSError, ValueError):
            return ()

    def _open_watermark(self) -> int:
        path, flags = self._path(WATERMARK_SUFFIX), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o644)
        except FileNotFoundError:  # the state directory was removed
            self._directory.mkdir(parents=True, exist_ok=True)
            return os.open(path, flags, 0o644)


def _parse_watermark(text: bytes) -> Watermark | None:
    try:
        epoch, head, crc, inode, *base = map(int, text.split())
    except ValueError:
        return None
    return Watermark(epoch, head, crc, base[0] if base else 0, inode)
