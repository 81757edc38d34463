"""The root of all exceptions that workcast raises on purpose, and those about events."""

from __future__ import annotations

from typing import ClassVar


class WorkcastError(Exception):
    """Root of all errors of workcast; the message says what was expected, what came, and what to do."""

    exit_code: ClassVar[int] = 1
    """Of the command line program: 2 for wrong usage, 127 for an agent that is not installed."""


class EventError(WorkcastError):
    """A value does not fit its event's model; the cause holds pydantic's details."""
