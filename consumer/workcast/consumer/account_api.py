"""``GET /api/workcells/{id}/account``: what a workcell's runs used, in tokens, money and time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Final

from fastapi import FastAPI, HTTPException, Query, Response

from workcast.broker.accounts import Accounts
from workcast.broker.history import History
from workcast.broker.price_file import usable_prices
from workcast.consumer.account_page import MAX_ROWS, account_page
from workcast.consumer.http_errors import UNKNOWN, http_errors, open_channel
from workcast.consumer.hub import Hub
from workcast.consumer.protocol import AccountPage
from workcast.ledger.account import Rows

_TURN_SECONDS: Final = 0.1
"""A long log is read in turns of this length, so that the account of a short one need not wait for it."""


def add_account(app: FastAPI, hub: Hub, history: History) -> None:
    """Add the route. A thread of its own folds the accounts, one at a time."""
    accounts = Accounts(history, usable_prices())
    thread = ThreadPoolExecutor(1, "workcast-account")

    @app.get("/api/workcells/{workcell}/account", response_model=AccountPage, responses=UNKNOWN)
    async def get_account(
        workcell: str,
        rows: Rows = "runs",
        offset: Annotated[int, Query(ge=0, lt=2**53)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 200,
    ) -> Response:
        """The totals of a workcell, and its runs, messages, calls or sub-agents from number ``offset`` on.

        Rows are numbered in the order of their first events and keep their numbers while the log grows. The first
        answer about a log takes as long as reading it.
        """
        channel = await open_channel(hub, workcell)
        epoch, base, head = channel.epoch, channel.base, channel.head
        if await asyncio.to_thread(history.extent, workcell) is None:
            raise HTTPException(404, f"the log of {workcell} is not on this host; use a gateway that serves its root")
        loop = asyncio.get_running_loop()
        async with http_errors(hub):
            page = None
            while page is None:
                page = await loop.run_in_executor(thread, turn, workcell, epoch, base, head, rows, offset, limit)
        return Response(page, media_type="application/json")

    def turn(workcell: str, epoch: int, base: int, head: int, rows: Rows, offset: int, limit: int) -> bytes | None:
        account = accounts.advance(workcell, epoch, base, head, _TURN_SECONDS)
        return None if account is None else account_page(account, epoch, rows, offset, limit)
