"""How a run ended and what it used: what the agent printed about it, together with its exit code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any, Final

from workcast.events.models import Completed, Status
from workcast.producer.adapters.base import Exit

STOPPED_EXIT_CODES: Final = frozenset({128 + 2, 128 + 15})
"""What a program exits with after SIGINT or SIGTERM."""
SUCCESS_EXIT_CODES: Final = frozenset({0, None})
"""The exit code of a success; None if it is unknown."""


class Outcome(ABC):
    """Collects what a run prints about its own end, and decides the last event.

    Neither the output nor the exit code is reliable alone: agents exit with 0 after an interrupt, or print a success
    and exit with 1.
    """

    def completed(self, exit: Exit, at: datetime) -> Completed:  # noqa: A002
        """Return the last event of the run."""
        return Completed(
            timestamp=at,
            status=self._status(exit),
            exit_code=exit.exit_code,
            duration_ms=exit.duration_ms,
            **self._spent(),
        )

    def _status(self, exit: Exit) -> Status:  # noqa: A002
        if exit.how != "exited":
            return exit.how
        if exit.exit_code in STOPPED_EXIT_CODES or self._interrupted(exit.exit_code):
            return "cancelled"
        return "success" if self._succeeded(exit.exit_code) else "failed"

    @abstractmethod
    def _succeeded(self, exit_code: int | None) -> bool:
        """Whether a run that ended by itself with this exit code did what it was asked to."""

    def _interrupted(self, exit_code: int | None) -> bool:
        """Whether output and exit code mean that the user interrupted the agent."""
        _ = exit_code
        return False

    def _spent(self) -> dict[str, Any]:
        """Return the fields of ``completed`` for tokens and costs; without them, they are unknown."""
        return {}
