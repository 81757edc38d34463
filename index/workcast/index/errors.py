"""The error of an index that cannot be used."""

from __future__ import annotations

from workcast.events.errors import WorkcastError


class IndexUnusableError(WorkcastError):
    """The index cannot be opened, or is being written by another process; nothing else suffers."""
