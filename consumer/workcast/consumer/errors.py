"""Errors of the gateway."""

from __future__ import annotations

from typing import ClassVar

from workcast.events.errors import WorkcastError


class ServeError(WorkcastError):
    """A gateway cannot start: its root or its port is in use."""


class StatsQueryError(WorkcastError):
    """A request for figures is malformed; the message says what was expected and what came."""

    exit_code: ClassVar[int] = 2
