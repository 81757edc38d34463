"""When a run is lost: its writer is gone, and its log does not say how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from workcast.ledger.summary import Summary, WorkcellStatus

STALE_S: Final = 10.0
"""Age of a heartbeat from which a writer without its lock is taken for gone."""
OPEN: Final[frozenset[WorkcellStatus]] = frozenset({"new", "running"})
"""Statuses of a log whose last run has no end."""


@dataclass(frozen=True, slots=True)
class WriterSigns:
    """What shows whether a run's writer is alive."""

    lock_is_held: bool
    heartbeat_age_s: float
    """Seconds since its lock file was last touched; negative if the clock was set back since."""


def writer_is_gone(signs: WriterSigns | None) -> bool:
    """Whether a run began and its writer is gone; False without signs, since any process may then be the writer.

    The lock alone would do on one host. A container's file system may not share it, so the heartbeat must be stale
    too: a run that is merely quiet, stopped or on a busy machine is never taken for lost.
    """
    return signs is not None and not signs.lock_is_held and abs(signs.heartbeat_age_s) >= STALE_S


def is_lost(status: WorkcellStatus, signs: WriterSigns | None) -> bool:
    """Whether the last run of a log with this status is lost."""
    return status in OPEN and writer_is_gone(signs)


def as_lost(summary: Summary) -> Summary:
    """Return the summary of a lost run: no open calls and no activity."""
    return summary.model_copy(update={"status": "lost", "open_calls": [], "activity": ""})
