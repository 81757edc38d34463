"""The hub: everything that viewers read from, kept up to date by three tasks that try again whatever fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from workcast.broker.errors import BrokerError
from workcast.consumer.archive import Archive
from workcast.consumer.channels import Channels
from workcast.consumer.feed import FeedReader
from workcast.consumer.fleet import Fleet
from workcast.consumer.fleet_keeper import FleetKeeper
from workcast.consumer.heartbeats import Heartbeats
from workcast.consumer.metrics import Metrics
from workcast.consumer.refill import Refill
from workcast.consumer.source import Source, TimedSource

_SWEEP_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 10.0
"""After so long without an answer, the broker counts as away."""
_MAX_BACKOFF_SECONDS: Final = 1.0

logger = logging.getLogger("workcast.hub")


class Hub:
    """Fleet, channels, heartbeats and metrics of one gateway, in one event loop."""

    def __init__(
        self,
        source: Source,
        archive: Archive,
        ring_bytes: int,
        frame_bytes: int,
        *,
        sweep_seconds: float = _SWEEP_SECONDS,
        answer_seconds: float = _ANSWER_SECONDS,
    ) -> None:
        timed = TimedSource(source, answer_seconds)
        self.fleet = Fleet()
        self.metrics = Metrics()
        self.heartbeats = Heartbeats()
        self.channels = Channels(timed, archive, ring_bytes, frame_bytes)
        self.refill = Refill(timed, archive, self.channels, self.metrics, frame_bytes)
        self._keeper = FleetKeeper(self.fleet, timed, archive, self.channels.end)
        self._feed = FeedReader(timed, self.channels, self._keeper, self.heartbeats, self.metrics)
        self._sweep_seconds = sweep_seconds
        self._troubles: dict[str, str] = {"feed": "not connected yet"}
        """What fails now, by the task in which it fails."""

    @property
    def broker_error(self) -> str | None:
        """Why events do not reach the gateway now; None while they do."""
        return next(iter(self._troubles.values()), None)

    async def complete_fleet(self, workcell: str | None = None) -> None:
        """Add to the fleet what it would have after its next turns, unless the broker is away."""
        if self.broker_error is None:
            await self._keeper.complete(workcell)

    async def run(self) -> None:
        """Read the feed, compare heads, and keep the fleet, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._repeat("feed", self._feed.turn))
                tasks.create_task(self._repeat("heads", self._sweep))
                tasks.create_task(self._repeat("fleet", self._keeper.turn))
        finally:
            await self.refill.close()
            await self.channels.close()
            await self._keeper.close()

    async def _repeat(self, name: str, turn: Callable[[], Awaitable[None]]) -> None:
        """Repeat ``turn``, after a pause if it failed: no error may leave a gateway running without events."""
        backoff = 0.0
        while True:
            try:
                await turn()
            except Exception as error:
                known = isinstance(error, BrokerError)
                reason = str(error) if known else f"{type(error).__name__}: {error}"
                if reason not in self._troubles.values():
                    logger.warning("%s", reason, exc_info=None if known else error)
                self._troubles[name] = reason
                backoff = min(max(2 * backoff, 0.05), _MAX_BACKOFF_SECONDS)
                await asyncio.sleep(backoff)
            else:
                backoff = 0.0
                self._troubles.pop(name, None)

    async def _sweep(self) -> None:
        if "heads" not in self._troubles:  # else the pause between two attempts is over
            await asyncio.sleep(self._sweep_seconds)
        self.channels.sweep()
        await self.channels.compare_heads()
        await self._keeper.sweep()


def origin_conflict(workcell: str) -> str:
    """Return the message for a workcell id that another root has published."""
    return f"{workcell!r} of another root is published here; rename one of the two"
