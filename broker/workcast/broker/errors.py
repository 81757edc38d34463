"""The errors of roots, logs and Redis."""

from __future__ import annotations

from typing import ClassVar

from workcast.events.errors import WorkcastError


class WorkcellIdError(WorkcastError, ValueError):
    """A workcell id is malformed, so it cannot name one directory, or there is no such workcell."""

    exit_code: ClassVar[int] = 2


class SettingError(WorkcastError, ValueError):
    """An environment variable has a value that cannot be understood."""

    exit_code: ClassVar[int] = 2


class RootError(WorkcastError):
    """A root is missing, is not a directory, or cannot be written."""


class WorkcellRunningError(WorkcastError):
    """A workcell cannot be removed: a process is writing its log."""


class LogLockedError(WorkcastError, TimeoutError):
    """Another process held the log's lock for too long; nothing was written. An ``OSError``, as a full disk is."""


class BrokerError(WorkcastError):
    """Redis cannot be reached, refuses the connection, or holds an incompatible layout."""


class BrokerFullError(BrokerError):
    """Redis has reached its ``maxmemory``."""


class OriginConflictError(BrokerError):
    """The same workcell id is already published from another root."""


class EpochError(WorkcastError):
    """An offset was given in an epoch that the log no longer has."""


class EditedLogError(EpochError):
    """A line of the log is not the one that was shown at its offset: the log needs another epoch."""

    def __init__(self, workcell: str, epoch: int, offset: int) -> None:
        super().__init__(
            f"the log of {workcell} is not the one that was published (its line {offset} was edited); "
            "its relay will give it an epoch"
        )
        self.workcell = workcell
        self.epoch = epoch
        self.offset = offset
