"""``GET /api/search``: what in all logs answers a question, as a page or as a stream of lines."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Final

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from workcast.broker.history import History
from workcast.broker.log_summary import read_summary
from workcast.broker.price_file import usable_prices
from workcast.broker.roots import Roots
from workcast.consumer.hub import Hub
from workcast.consumer.protocol import SearchEnd, SearchPage
from workcast.consumer.search_page import MAX_HITS, MAX_STREAMED, hit_line, search_page
from workcast.index.hit import Hit
from workcast.index.log_scan import SearchedLog
from workcast.index.place import BEGINNING, Cursor, CursorError
from workcast.index.search import Search, Starts
from workcast.ledger.summary import Summary
from workcast.question.errors import QuestionError
from workcast.question.parse import parse_question
from workcast.question.run_filter import RunFilter

_TURN_SECONDS: Final = 0.02
"""All searches share a thread in turns of this length, and the event loop has its own between them."""
_PAGE_SECONDS: Final = 10.0
"""After so long a page ends with what was found, and its cursor goes on."""
_MAX_SEARCHES: Final = 16
"""At a time; one more is refused."""
_NDJSON: Final = "application/x-ndjson"


def add_search(app: FastAPI, hub: Hub, roots: Roots) -> None:
    """Add the route. A thread of its own reads the logs."""
    searches = _Searches(hub, History(roots), roots)

    @app.get(
        "/api/search",
        response_model=SearchPage,
        responses={
            200: {"content": {_NDJSON: {}}, "description": "A page; as NDJSON, a line a hit, and a `SearchEnd`."},
            400: {"description": "The question or the cursor is malformed: `{detail, position}`."},
            503: {"description": "Too many searches are running."},
        },
    )
    async def search(
        request: Request,
        q: Annotated[str, Query(description="The question.")] = "",
        limit: Annotated[int | None, Query(ge=1, le=MAX_HITS)] = None,
        cursor: str | None = None,
        accept: Annotated[str, Header()] = "",
    ) -> Response:
        """Items of all logs that answer the question, the newest log first.

        A page has at most `limit` hits (default 50); a stream has all of them, unless it is given.
        """
        try:
            found = await searches.begin(q, cursor)
        except QuestionError as error:
            return JSONResponse({"detail": str(error), "position": error.position}, 400)
        except CursorError as error:
            return JSONResponse({"detail": str(error), "position": None}, 400)
        if found is None:
            busy = f"{_MAX_SEARCHES} searches are running already; try again"
            return JSONResponse({"detail": busy}, 503, headers={"retry-after": "1"})
        if _NDJSON in accept:
            return StreamingResponse(found.lines(request, limit), media_type=_NDJSON)
        return Response(await found.page(request, limit or 50), media_type="application/json")


class _Searches:
    """The searches of a gateway: what they share, and how many there are."""

    def __init__(self, hub: Hub, history: History, roots: Roots) -> None:
        self.hub = hub
        self.history = history
        self.roots = roots
        self.starts = Starts(history)
        self.prices = usable_prices()
        self.thread = ThreadPoolExecutor(1, "workcast-search")
        self.running = 0

    async def begin(self, text: str, cursor: str | None) -> _Running | None:
        """Begin a search, or go on with one; None if too many are running.

        Raises:
            QuestionError: the question is malformed.
            CursorError: the cursor is.
        """
        place = Cursor(datetime.now(UTC), BEGINNING) if cursor is None else Cursor.parse(cursor, text)
        question = parse_question(text, place.now)
        if self.running >= _MAX_SEARCHES:
            return None
        with self.counted():
            logs, left_out = await self._logs(RunFilter(question))
        search = Search(question, logs, self.history, self.starts, self._summary, place.place)
        search.skipped = left_out
        return _Running(self, search, text, place.now)

    @contextlib.contextmanager
    def counted(self) -> Generator[None]:
        """Count a search while it runs."""
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    async def _logs(self, run_filter: RunFilter) -> tuple[list[SearchedLog], int]:
        """Return the logs that are asked for and may be shown, and the number of those that are left out."""
        names = await asyncio.to_thread(self._root_names, run_filter)
        # Not the history of the viewers: it keeps a bounded number of logs open, those that they read.
        shown, left_out = await self.hub.channels.shown(list(names), self.history.synced_extent)
        logs = [
            SearchedLog(workcell, names[workcell], extent.epoch, extent.base, extent.end)
            for workcell, extent in shown.items()
        ]
        return logs, left_out

    def _root_names(self, run_filter: RunFilter) -> dict[str, str]:
        """Return the workcells that are asked for, with the names of their roots."""
        names: dict[str, str] = {}
        for root in self.roots.each:
            name = root.name or root.directory.name
            for workcell in root.ids():
                if run_filter.admits_place(workcell, name):
                    names.setdefault(workcell, name)
        return names

    def _summary(self, workcell: str) -> Summary:
        summary = self.hub.fleet.get(workcell)
        if summary is not None:
            return summary
        root = self.roots.holding(workcell)
        return Summary(id=workcell) if root is None else read_summary(root, workcell, self.prices)


class _Running:
    """One search that is running, until its answer is complete or its client has left."""

    def __init__(self, searches: _Searches, search: Search, question: str, now: datetime) -> None:
        self._searches = searches
        self._search = search
        self._question = question
        self._now = now
        self._until = time.monotonic() + _PAGE_SECONDS

    async def page(self, request: Request, limit: int) -> bytes:
        """Return a :class:`SearchPage`."""
        hits: list[Hit] = []
        with self._searches.counted():
            while not self._is_over(hits, limit) and not await request.is_disconnected():
                hits += await self._turn(limit - len(hits))
        return search_page(hits, self._end(len(hits)))

    def _is_over(self, hits: list[Hit], limit: int) -> bool:
        if self._search.is_done or len(hits) >= limit:
            return True
        return time.monotonic() >= self._until and self._search.has_progressed

    async def lines(self, request: Request, limit: int | None) -> AsyncGenerator[bytes]:
        """Yield hits as they are found, and a :class:`SearchEnd`."""
        total, most = 0, limit or MAX_STREAMED
        with self._searches.counted():
            while not self._search.is_done and total < most and not await request.is_disconnected():
                hits = await self._turn(min(most - total, MAX_HITS))
                total += len(hits)
                if hits:
                    yield b"".join(map(hit_line, hits))
            yield self._end(total).model_dump_json().encode() + b"\n"

    async def _turn(self, limit: int) -> list[Hit]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._searches.thread, partial(self._search.advance, _TURN_SECONDS, limit))

    def _end(self, total: int) -> SearchEnd:
        search = self._search
        cursor = None if search.is_done else Cursor(self._now, search.place or BEGINNING).write(self._question)
        return SearchEnd(
            total=total, next=cursor, complete=search.is_done and not search.skipped, scanned=search.scanned,
            skipped=search.skipped,
        )  # fmt: skip
