"""Errors of the gateway."""

from __future__ import annotations

from workcast.events.errors import WorkcastError


class ServeError(WorkcastError):
    """A gateway cannot start: its root or its port is in use."""
