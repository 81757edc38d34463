"""``GET /api/workcells`` and below: the workcells, their events, and single lines of their logs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from fastapi import FastAPI, HTTPException, Query, Response

from workcast.broker.history import History
from workcast.broker.roots import Roots
from workcast.consumer.description import describe, root_holding
from workcast.consumer.http_errors import UNKNOWN, http_errors, open_channel, unknown_workcell
from workcast.consumer.hub import Hub
from workcast.consumer.protocol import EventPage, Workcell, Workcells
from workcast.events.cut_line import CutLine
from workcast.events.wire import inspect, wire

MAX_PAGE: Final = 1000


def add_workcells(app: FastAPI, hub: Hub, history: History, roots: Roots) -> None:
    """Add the routes."""

    @app.get("/api/workcells", response_model=Workcells)
    async def list_workcells() -> Workcells:
        """Every workcell that has a directory here or is known to the broker."""
        await hub.complete_fleet()
        here = await asyncio.to_thread(roots.ids)
        names = sorted({*here, *hub.fleet.ids()})
        return Workcells(workcells=await asyncio.to_thread(lambda: [describe(hub, roots, name) for name in names]))

    @app.get("/api/workcells/{workcell}", response_model=Workcell, responses=UNKNOWN)
    async def get_workcell(workcell: str) -> Workcell:
        """One workcell."""
        if hub.fleet.get(workcell) is None:
            await hub.complete_fleet(workcell)
        if hub.fleet.get(workcell) is None and await asyncio.to_thread(root_holding, roots, workcell) is None:
            raise unknown_workcell(workcell)
        return await asyncio.to_thread(describe, hub, roots, workcell)

    @app.get("/api/workcells/{workcell}/events", response_model=EventPage, responses=UNKNOWN)
    async def list_events(
        workcell: str,
        offset: Annotated[int, Query(ge=0, lt=2**53)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 200,
    ) -> Response:
        """Consecutive events from ``offset`` on; fewer than ``limit`` at the head, or if they are large.

        The answer's ``offset`` is that of its first event, greater than the requested one if that is not available.
        """
        channel = await open_channel(hub, workcell)
        epoch, head = channel.epoch, channel.head
        async with http_errors(hub):
            offset, lines = await hub.refill.page(channel, offset, limit)
        if channel.epoch != epoch:
            raise HTTPException(409, f"the log of {workcell} was replaced; ask again")
        body = b'{"epoch":%d,"base":%d,"head":%d,"offset":%d,"events":[%s]}' % (
            epoch, channel.base, head, offset, b",".join(lines),
        )  # fmt: skip
        return Response(body, media_type="application/json")

    @app.get("/api/workcells/{workcell}/events/{offset}", responses=UNKNOWN)
    async def get_event(workcell: str, offset: int) -> Response:
        """One line of the log, whole; of one over 32 MiB, which is malformed, what the wire has."""
        channel = await open_channel(hub, workcell)
        if not channel.base <= offset < channel.head:
            raise HTTPException(404, f"expected an offset from {channel.base} to below {channel.head}, got {offset}")
        lines: list[bytes] = []
        async with http_errors(hub):
            extent = await asyncio.to_thread(history.extent, workcell)
            if extent is not None and extent.epoch:
                lines = await asyncio.to_thread(history.read_lines, workcell, channel.epoch, offset, 1)
        if not lines:
            raise HTTPException(404, f"the log of {workcell} is not here; its stream holds the newest events")
        line = wire(lines[0]) if isinstance(lines[0], CutLine) else lines[0]
        media_type = "application/octet-stream" if inspect(line)[1] is None else "application/json"
        return Response(line, media_type=media_type)
