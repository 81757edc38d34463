"""A tool call. Apart from their collection, because a hook has to load fast."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class OpenCall(NamedTuple):
    """A tool call that waits for its result."""

    call_id: str
    tool: str
    at: datetime
    parent: str | None = None
    """The call that started the sub-agent whose call this is."""
    path: str | None = None
    """The file that the call is about."""
