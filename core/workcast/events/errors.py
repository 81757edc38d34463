"""The root of all exceptions that workcast raises on purpose, and those about events."""

from __future__ import annotations


class WorkcastError(Exception):
    """Root of all errors of workcast: says what was expected, what came, and what to do."""


class EventError(WorkcastError):
    """A value does not fit its event's model; the cause holds pydantic's details."""
