"""Turns of clients that ask for much: in order, and with others in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from support.waiting import wait_until_async
from workcast.consumer.turns import RequestTurns, Turns


async def test_callbacks_come_in_order_and_others_in_between() -> None:
    turns, loop = Turns(), asyncio.get_running_loop()
    seen: list[int | str] = []

    def other() -> None:
        seen.append("other")
        if 19 not in seen:
            loop.call_soon(other)

    loop.call_soon(other)
    for number in range(20):
        turns.call(partial(seen.append, number))
    await wait_until_async(lambda: 19 in seen)
    assert [number for number in seen if number != "other"] == list(range(20))
    between = [seen[seen.index(number) : seen.index(number + 1)] for number in range(19)]
    assert all("other" in part for part in between)


async def test_a_callback_that_fails_does_not_stop_the_others() -> None:
    turns = Turns()
    seen: list[int] = []
    failing: Callable[[], None] = partial(int, "x")  # type: ignore[assignment]
    asyncio.get_running_loop().set_exception_handler(_ignore)
    turns.call(failing)
    turns.call(partial(seen.append, 1))
    await wait_until_async(lambda: seen == [1])
    turns.call(partial(seen.append, 2))
    await wait_until_async(lambda: seen == [1, 2])


def _ignore(_: object, context: dict[str, Any]) -> None:
    assert isinstance(context["exception"], ValueError)


class Requests:
    """An application whose requests end when they are let go, and clients that do or do not read."""

    def __init__(self) -> None:
        self.working: list[str] = []
        self.go = asyncio.Event()
        self.reads = asyncio.Event()
        self.turns = RequestTurns(self._answer)
        self._tasks: list[asyncio.Task[None]] = []

    async def _answer(self, scope: Scope, _: Receive, send: Send) -> None:
        self.working.append(scope["path"])
        await self.go.wait()
        await send({"type": "http.response.start"})
        self.working.remove(scope["path"])

    def ask(self, path: str) -> asyncio.Task[None]:
        async def answer() -> None:
            await self.turns({"type": "http", "path": path}, self._receive, self._send)

        self._tasks.append(asyncio.create_task(answer()))
        return self._tasks[-1]

    async def _receive(self) -> Message:
        raise AssertionError("nothing is sent")

    async def _send(self, _: Message) -> None:
        await self.reads.wait()


async def test_two_requests_are_worked_on_at_once_and_slow_ones_are_not_waited_for() -> None:
    requests = Requests()
    tasks = [requests.ask(f"/{number}") for number in range(5)]
    tasks += [requests.ask(f"/{number}/account") for number in range(5)]
    expected = ["/0", "/1", "/0/account", "/1/account"]
    await wait_until_async(lambda: sorted(requests.working) == sorted(expected))
    requests.go.set()
    requests.reads.set()
    await asyncio.gather(*tasks)


async def test_searches_hold_no_turn_as_they_have_a_bound_of_their_own() -> None:
    requests = Requests()
    tasks = [requests.ask("/api/search") for _ in range(5)] + [requests.ask("/0")]
    await wait_until_async(lambda: len(requests.working) == 6)
    requests.go.set()
    requests.reads.set()
    await asyncio.gather(*tasks)


async def test_a_client_that_does_not_read_holds_no_turn() -> None:
    requests = Requests()
    requests.go.set()
    tasks = [requests.ask(f"/{number}") for number in range(6)]
    await wait_until_async(lambda: len(requests.working) == 6)
    requests.reads.set()
    await asyncio.gather(*tasks)


async def test_a_request_that_fails_gives_its_turn_back() -> None:
    async def fail(*_: Any) -> Any:
        raise ValueError("no answer")

    turns = RequestTurns(fail)
    for _ in range(6):
        with pytest.raises(ValueError, match="no answer"):
            await turns({"type": "http", "path": "/"}, fail, fail)
