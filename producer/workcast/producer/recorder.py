"""The recorder of a run: each event goes to the log, the proof and the limits; ``completed`` comes last."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import IO, Final, Protocol

from workcast.events.models import BaseEvent, Completed, ErrorEvent, Unknown
from workcast.ledger.limits import Meter
from workcast.producer.changes import Changed
from workcast.producer.last_words import cut_bytes, last_words
from workcast.producer.proof import ProofKeeper
from workcast.producer.unwritten import Unwritten, is_full


class EventSink(Protocol):
    """Where events go: a :class:`~workcast.producer.writer.TelemetryWriter`."""

    def write(self, event: BaseEvent) -> None:
        """Append an event."""
        ...


class Recorder:
    """Records the events of one run.

    Args:
        agent: the adapter's name.
        writer: gets the events.
        meter: checks them against the run's limits.
        proof: gathers the proof from them.

    Events for which the disk has no room are counted.

    Raises:
        OSError: (from all methods) the log or the proof cannot be written, for another reason.
    """

    def __init__(self, agent: str, writer: EventSink, meter: Meter, proof: ProofKeeper) -> None:
        self.over_limit: Final = asyncio.Event()
        """Set once the run has exceeded a limit."""
        self._agent = agent
        self._unwritten = Unwritten(writer.write, is_full)
        self._meter = meter
        self._proof = proof
        self._longest_cut = 0
        self._has_error = False

    @property
    def unwritten(self) -> int:
        """How many events are missing from the log, for which the disk had no room."""
        return self._unwritten.total

    def write_all(self, events: Sequence[BaseEvent]) -> None:
        """Record events in their order."""
        for event in events:
            self.write(event)

    def write(self, event: BaseEvent) -> None:
        """Record an event, and an error after it if it exceeds a limit."""
        if isinstance(event, ErrorEvent) and event.retryable is False:
            self._has_error = True
        if isinstance(event, Unknown):
            self._longest_cut = max(self._longest_cut, cut_bytes(event))
        self._proof.add(event)
        self._unwritten.write(event)
        self._measure(event)

    def complete(
        self,
        ending: Sequence[BaseEvent],
        exit_code: int,
        changed: Changed,
        stderr: IO[bytes] | None,
        *,
        interrupted: bool,
    ) -> Completed:
        """Record the adapter's last events and why the run failed; return ``completed``, for :meth:`finish`.

        Args:
            ending: the adapter's last events, ``completed`` among them.
            exit_code: the agent's, as a shell reports it: 128 + N for a death by signal N.
            changed: the files that git found changed.
            stderr: all that the agent wrote there; None if it is in the log already.
            interrupted: the run timed out or was cancelled, so its limits do not decide its status.
        """
        self._proof.add_changed(changed)
        completed = next(event for event in ending if isinstance(event, Completed))
        self.write_all([event for event in ending if event is not completed])
        completed = self._judge(completed, interrupted=interrupted)
        if completed.status == "failed" and stderr is not None and not self._has_error:
            text = last_words(self._agent, exit_code, stderr, self._longest_cut)
            self.write(ErrorEvent(timestamp=completed.timestamp, error=text, retryable=False))
        return completed

    def finish(self, completed: Completed) -> bool:
        """Write the proof and ``completed``, which states how many events are missing; False if there is no room."""
        if self._unwritten.total:
            completed = completed.model_copy(update={"unwritten_events": self._unwritten.total})
        try:
            self._proof.write(completed)  # first: a reader that sees the end finds the proof
        except OSError as error:
            if is_full(error):
                return False
            self._unwritten.write(completed)
            raise
        return self._unwritten.try_write(completed)

    def _measure(self, event: BaseEvent) -> None:
        if self.over_limit.is_set():
            return
        self._meter.add(event)
        if self._meter.reason:
            self.over_limit.set()
            text = f"the run is ended because it exceeded its limit: {self._meter.reason}"
            self.write(ErrorEvent(timestamp=event.timestamp, error=text, kind=self._meter.kind, retryable=False))

    def _judge(self, completed: Completed, *, interrupted: bool) -> Completed:
        """Return ``completed`` with the status that the limits give it: a run that exceeded one has failed."""
        self._measure(completed)
        if self._meter.reason and not interrupted:
            return completed.model_copy(update={"status": "failed", "reason": self._meter.reason})
        if self._meter.is_blind and completed.status == "success":
            text = f"{self._agent} has reported neither tokens nor costs, so its limits could not be checked"
            self.write(ErrorEvent(timestamp=completed.timestamp, error=text, kind=self._meter.kind))
        return completed
