"""Runs that nobody goes on with: their writer was killed, so no ``completed`` ends their log."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from workcast.broker.run_lock import is_over
from workcast.ledger.summary import Summary, WorkcellStatus

UNENDED: Final[frozenset[WorkcellStatus]] = frozenset({"new", "running"})
"""What a log's summary says of a run that goes on, or has lost its writer."""


def writer_is_gone(log: Path) -> bool:
    """Whether the run that wrote a log is gone. Ask before the log is read: then all that it wrote is read."""
    return is_over(log.parent)


def as_lost(summary: Summary) -> Summary:
    """The summary of a lost run: nothing goes on in it."""
    return summary.model_copy(update={"status": "lost", "open_calls": [], "activity": ""})
