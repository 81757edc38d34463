"""``GET /api/stats`` and ``GET /api/workcells/{id}/overview``: figures of many events at once, from the index."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Final, Literal

from fastapi import FastAPI, HTTPException, Query

from workcast.broker.price_file import usable_prices
from workcast.broker.roots import Roots
from workcast.consumer.errors import StatsQueryError
from workcast.consumer.http_errors import UNKNOWN, http_errors, open_channel
from workcast.consumer.hub import Hub
from workcast.consumer.overview_page import MAX_BUCKETS, overview_page
from workcast.consumer.protocol import Overview, StatsPage
from workcast.consumer.stats_page import MAX_ROWS, parse_query, stats_page
from workcast.question.errors import QuestionError

_READ_SECONDS: Final = 10.0
"""For so long what is not indexed yet is read from the logs; a page then is not complete, and says so."""
_MALFORMED: Final[dict[int | str, dict[str, object]]] = {
    400: {"description": "A parameter is malformed; says which, what was expected and what came."}
}


def add_index(app: FastAPI, hub: Hub, roots: Roots) -> None:
    """Add the routes. A thread of its own reads index and logs, for one request at a time."""
    prices = usable_prices()
    thread = ThreadPoolExecutor(1, "workcast-index")

    @app.get("/api/stats", response_model=StatsPage, responses=_MALFORMED)
    async def get_stats(
        by: str = "agent",
        q: str = "",
        since: Annotated[str, Query(alias="from")] = "",
        until: Annotated[str, Query(alias="to")] = "",
        zone: Annotated[str, Query(alias="tz")] = "UTC",
        limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 200,
        cursor: str = "",
    ) -> StatsPage:
        """The figures of the runs that began in a time (``to`` is exclusive), of all roots of this gateway.

        ``by`` is one or two of tool, agent, model, day, workcell, issue, root, status and path. ``q`` is a question
        about runs: ``agent:claude cost:>1``.
        """
        try:
            query = parse_query(by, question=q, since=since, until=until, zone=zone, cursor=cursor, limit=limit)
        except (StatsQueryError, QuestionError) as error:
            raise HTTPException(400, str(error)) from error
        loop = asyncio.get_running_loop()
        async with http_errors(hub):
            return await loop.run_in_executor(thread, stats_page, roots, prices, query, _READ_SECONDS)

    @app.get("/api/workcells/{workcell}/overview", response_model=Overview, responses=UNKNOWN)
    async def get_overview(
        workcell: str,
        buckets: Annotated[int, Query(ge=1, le=MAX_BUCKETS)] = 400,
        by: Literal["offset", "time"] = "offset",
    ) -> Overview:
        """What happened where in a log: at most ``buckets`` buckets of one width, along its offsets or its times."""
        await open_channel(hub, workcell)
        root = await asyncio.to_thread(roots.holding, workcell)
        if root is None:
            raise HTTPException(404, f"the log of {workcell} is not on this host; use a gateway that serves its root")
        loop = asyncio.get_running_loop()
        async with http_errors(hub):
            return await loop.run_in_executor(
                thread, overview_page, root, workcell, prices, buckets, by, _READ_SECONDS
            )  # fmt: skip
