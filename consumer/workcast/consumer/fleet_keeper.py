"""The fleet's keeper: fetches the summaries that changed, and removes workcells that are gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Final

from pydantic import ValidationError

from workcast.broker.errors import BrokerError, WorkcellIdError
from workcast.broker.root import check_workcell_id
from workcast.consumer.archive import Archive
from workcast.consumer.fleet import Fleet
from workcast.consumer.source import Source
from workcast.ledger.summary import Summary

_TURN_SECONDS: Final = 0.25
_LIST_SECONDS: Final = 1.0
"""How long a list of all workcells waits for those that the fleet lacks."""
_PIECE: Final = 256
"""Summaries that are fetched and taken in one go: those of a large fleet would hold up the viewers for a second."""

_IN_TURN: Final = 1024
"""Workcells without a new event whose summaries a sweep fetches all the same: a notice may have been missed."""

logger = logging.getLogger("workcast.hub")


class FleetKeeper:
    """Keeps the fleet up to date with the broker and the directories.

    Args:
        fleet: what is kept.
        source: the broker.
        archive: the directories.
        end: called with each workcell of which a notice said that it is gone.
    """

    def __init__(self, fleet: Fleet, source: Source, archive: Archive, end: Callable[[str], None]) -> None:
        self._fleet = fleet
        self._source = source
        self._archive = archive
        self._end = end
        self._dirty: set[str] = set()
        self._noticed: set[str] = set()
        """Workcells that a notice named: their summary changed or is gone."""
        self._raw: dict[str, bytes] = {}
        """The JSON of each summary in the fleet: the same is not decoded again."""
        self._present: frozenset[str] = frozenset()
        """Workcells that had a directory, or were in the broker's list, when the last listing was made."""
        self._active: dict[str, float] = {}
        """The time of each workcell's last event, as the broker had it at the last listing."""
        self._swept: dict[str, float] = {}
        """The same, as of the last sweep."""
        self._in_turn: list[str] = []
        """The workcells that the next sweeps fetch."""
        self._listing: asyncio.Task[frozenset[str]] | None = None
        """The listing that is being made."""
        self._missed: set[str] = set()
        """Workcells of the fleet that the last sweep did not find."""

    def mark(self, workcell: str) -> None:
        """Note that a workcell has a new event."""
        self._dirty.add(workcell)

    def notice(self, workcell: str) -> None:
        """Note that the summary of a workcell changed without an event, or that the workcell is gone."""
        self._dirty.add(workcell)
        self._noticed.add(workcell)

    async def turn(self) -> None:
        """Fetch the summaries of the workcells that changed, at most four times a second.

        Raises:
            BrokerError: the broker does not answer; the next turn tries again.
        """
        if not self._fleet.ids():
            self._dirty.update(await self._ids())
        dirty, self._dirty = self._dirty, set()
        noticed, self._noticed = self._noticed, set()
        if dirty:
            try:
                await self._fetch(dirty, noticed)
            except BrokerError:
                self._dirty |= dirty
                self._noticed |= noticed
                raise
        await asyncio.sleep(_TURN_SECONDS)

    async def sweep(self) -> None:
        """Fetch, at the next turn, what may have changed; remove the workcells that two sweeps have not found.

        That is every workcell with a new event, and about a thousand of the others, in turn.

        Not at the first one: after a flush, the relay takes a few seconds to publish its workcells again.
        """
        ids = await self._ids()
        self._dirty.update(workcell for workcell, at in self._active.items() if self._swept.get(workcell) != at)
        self._swept = self._active
        self._in_turn = self._in_turn or sorted(ids)
        self._dirty.update(ids.intersection(self._in_turn[:_IN_TURN]), ids.difference(self._fleet.ids()))
        del self._in_turn[:_IN_TURN]
        gone = set(self._fleet.ids()) - ids
        self._update({}, gone & self._missed)
        self._missed = gone

    async def complete(self, workcell: str | None = None) -> None:
        """Add to the fleet what its next turns would add: all workcells, or one.

        So a client that was sent events of a workcell finds it there. Returns early if the broker does not answer.
        """
        with contextlib.suppress(BrokerError, TimeoutError, WorkcellIdError):
            async with asyncio.timeout(_LIST_SECONDS):
                wanted = await self._ids() if workcell is None else {check_workcell_id(workcell)}
                if new := set(wanted) - set(self._fleet.ids()):
                    await self._fetch(new)
                    self._dirty |= new  # the answer may be outdated by now

    async def close(self) -> None:
        """Cancel the listing whose callers have left."""
        if self._listing is not None:
            self._listing.cancel()
            await asyncio.gather(self._listing, return_exceptions=True)

    async def _fetch(self, workcells: set[str], noticed: Collection[str] = ()) -> None:
        names = sorted(workcells)
        for start in range(0, len(names), _PIECE):
            piece = names[start : start + _PIECE]
            found = await self._source.summaries(piece)
            lost = [name for name in piece if name in noticed and name not in found]
            gone = await asyncio.to_thread(self._without_directory, lost) if lost else set[str]()
            self._present -= gone
            # A workcell without a summary must have been in the last listing: what is gone by now must not come back.
            there = [name for name in piece if name in found or name in self._present]
            unread = [name for name in there if name not in found]
            odd = await asyncio.to_thread(self._oddities, unread) if unread else dict[str, str]()
            self._update({name: self._summary(name, found.get(name), odd.get(name, "")) for name in there}, gone)
            for name in gone:
                self._end(name)

    def _oddities(self, workcells: list[str]) -> dict[str, str]:
        return {workcell: self._archive.oddity(workcell) for workcell in workcells}

    def _without_directory(self, workcells: list[str]) -> set[str]:
        return {workcell for workcell in workcells if not self._archive.has(workcell)}

    def _update(self, summaries: dict[str, Summary], gone: Iterable[str] = ()) -> None:
        self._fleet.update(summaries, gone)
        for workcell in gone:
            self._raw.pop(workcell, None)

    def _summary(self, workcell: str, data: bytes | None, odd: str = "") -> Summary:
        known = self._fleet.get(workcell)
        if data is not None and (known is None or self._raw.get(workcell) != data):
            self._raw[workcell] = data
            try:
                summary = Summary.model_validate_json(data)
            except ValidationError as error:
                logger.warning("the summary of %s in the broker is malformed: %s", workcell, error.errors()[0]["msg"])
            else:
                return summary if summary.id == workcell else summary.model_copy(update={"id": workcell})
        if odd:
            return (known or Summary(id=workcell)).model_copy(update={"activity": odd})
        return known or Summary(id=workcell)  # the broker has lost it; the relay will publish it again

    async def _ids(self) -> frozenset[str]:
        """List all directories and what the broker has, as of now: not by a listing that began before.

        Callers during a listing share the next one.
        """
        if self._listing is not None:
            await asyncio.wait({self._listing})
        if self._listing is None:
            self._listing = asyncio.create_task(self._list())
            self._listing.add_done_callback(self._end_listing)
        return await asyncio.shield(self._listing)

    async def _list(self) -> frozenset[str]:
        here = await asyncio.to_thread(self._archive.ids)
        self._active = await self._source.workcells()
        self._present = frozenset((*here, *self._active))
        return self._present

    def _end_listing(self, listing: asyncio.Task[frozenset[str]]) -> None:
        self._listing = None
        if not listing.cancelled():
            listing.exception()  # retrieved, in case all callers have left
