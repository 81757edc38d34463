"""What can go wrong with roots, logs and Redis."""

from __future__ import annotations

from workcast.events.errors import WorkcastError


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
