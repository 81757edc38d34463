"""The one tree of exceptions that workcast raises on purpose."""

from __future__ import annotations


class WorkcastError(Exception):
    """Root of all errors of workcast: says what was expected, what came, and what to do."""


class EventError(WorkcastError):
    """A value does not fit its event's model; the cause holds pydantic's details."""


class LineError(WorkcastError):
    """A line of a log is no event. ``raw`` keeps the line, without its newline."""

    def __init__(self, message: str, raw: bytes) -> None:
        super().__init__(message)
        self.raw = raw


class WorkcellIdError(WorkcastError, ValueError):
    """A workcell id has a form that could not name one directory, or nobody knows the workcell."""


class RootError(WorkcastError):
    """A root is missing, not a directory, or cannot be written."""


class BrokerError(WorkcastError):
    """Redis cannot be reached, refuses us, or holds another layout."""


class OriginConflictError(BrokerError):
    """The same workcell id is already published from another root."""


class EpochError(WorkcastError):
    """An offset was asked for in an epoch that the log no longer has."""
