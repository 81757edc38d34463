"""The base class of all errors that workcast raises on purpose, and the error about events."""

from __future__ import annotations

from typing import ClassVar


class WorkcastError(Exception):
    """Base class of workcast's errors; the message says what was expected, what came, and what to do."""

    exit_code: ClassVar[int] = 1
    """Of the command line program: 2 for wrong usage, 127 for an agent that is not installed."""


class EventError(WorkcastError):
    """A value does not fit the model of its event type; ``__cause__`` has pydantic's details."""
