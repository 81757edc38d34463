"""Hubs over a real broker, and viewers of them with an in-memory transport that records its messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Self

from support.history_checker import Connected, Entry, Requested
from support.waiting import wait_until_async
from workcast.broker.batch import Budgets
from workcast.broker.history import History
from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.broker.subscriber import Subscriber
from workcast.consumer.archive import RootArchive
from workcast.consumer.hub import Hub
from workcast.consumer.prepared import PreparedFrame
from workcast.consumer.protocol import Limits
from workcast.consumer.session import Session

LIMITS = Limits(max_message_bytes=65536, max_subscriptions=4, max_frame_bytes=65536)
Message = dict[str, Any]


@contextlib.contextmanager
def running_relay(root: Root, url: str, budgets: Budgets | None = None) -> Generator[Relay]:
    """A relay that compares heads ten times a second."""
    relay = Relay(root, url, budgets, sweep_seconds=0.1)
    relay.start()
    try:
        yield relay
    finally:
        relay.close()


@contextlib.asynccontextmanager
async def running_hub(
    root: Root,
    url: str,
    *,
    ring_bytes: int = 1 << 20,
    frame_bytes: int = 65536,
    answer_seconds: float = 10.0,
    connected: bool = True,
) -> AsyncGenerator[Hub]:
    """A hub that compares heads ten times a second; with ``connected``, wait until it is connected to the broker."""
    subscriber = Subscriber(url)
    hub = Hub(
        subscriber,
        RootArchive(Roots(root), History(Roots(root))),
        ring_bytes,
        frame_bytes,
        sweep_seconds=0.1,
        answer_seconds=answer_seconds,
    )
    task = asyncio.create_task(hub.run())
    try:
        if connected:
            await wait_until_async(lambda: hub.broker_error is None)
        yield hub
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await subscriber.aclose()


class MemoryTransport:
    """A transport whose messages go into a list. While ``draining`` is cleared it is full."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.closed: tuple[int, str] | None = None
        self.draining = asyncio.Event()
        self.draining.set()
        self.inbox: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.used = False

    async def send(self, text: str) -> None:
        await self.draining.wait()
        self.sent.append(text)

    async def send_frame(self, frame: PreparedFrame) -> None:
        await self.send(frame.text)

    async def receive(self) -> str | bytes | None:
        return await self.inbox.get()

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def note_use(self, *, used: bool) -> None:
        self.used = used


class Viewer:
    """One session, and the history of its socket. A given ``history`` is continued."""

    def __init__(self, hub: Hub, limits: Limits = LIMITS, history: list[Entry] | None = None) -> None:
        self.transport = MemoryTransport()
        self.history: list[Entry] = [] if history is None else history
        self.history.append(Connected())
        self._recorded = 0
        self.task = asyncio.create_task(Session(self.transport, hub, limits).run())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    @property
    def got(self) -> list[Message]:
        """All messages received so far."""
        return [json.loads(text) for text in self.transport.sent]

    def record(self) -> None:
        """Move received messages into the history."""
        self.history += self.transport.sent[self._recorded :]
        self._recorded = len(self.transport.sent)

    def say(self, message: object) -> None:
        """Send a message: text or bytes unchanged, anything else as JSON."""
        self.transport.inbox.put_nowait(message if isinstance(message, str | bytes) else json.dumps(message))

    def subscribe(self, workcell: str, place: object = "start") -> None:
        self.record()
        self.history.append(Requested(workcell, place))
        self.say({"op": "subscribe", "workcell": workcell, "from": place})

    def follow(self, workcell: str, cursor: object) -> None:
        """Follow again from a cursor, after receiving only heads."""
        self.record()
        self.history.append(Requested(workcell, cursor))
        self.say({"op": "follow", "workcell": workcell, "follow": True, **_fields(cursor)})

    async def reconnect(self, hub: Hub, workcell: str, place: object) -> None:
        """Connect to the same or another gateway, with the cursor that the client kept."""
        self.transport = MemoryTransport()
        self.history.append(Connected())
        self._recorded = 0
        self.task = asyncio.create_task(Session(self.transport, hub, LIMITS).run())
        self.subscribe(workcell, place)

    async def until(self, condition: Callable[[Message], bool], what: str = "") -> Message:
        """Wait for the first message that fulfils the condition."""
        return await wait_until_async(
            lambda: next(filter(condition, self.got), Message()), what=what or f"{self.got[-3:]} came last"
        )

    async def until_op(self, op: str, count: int = 1) -> Message:
        """Wait for the ``count``-th message with this op."""
        return await wait_until_async(
            lambda: next(iter([m for m in self.got if m["op"] == op][count - 1 : count]), Message()),
            what=f"{count} {op}",
        )

    def ops(self) -> list[str]:
        return [message["op"] for message in self.got]

    async def leave(self) -> None:
        """Close the socket."""
        self.record()
        self.transport.draining.set()
        self.transport.inbox.put_nowait(None)
        await self.task


def _fields(cursor: object) -> Message:
    assert isinstance(cursor, dict)
    return {"epoch": cursor["epoch"], "offset": cursor["offset"]}


def head_of(hub: Hub, workcell: str) -> int | None:
    """The head in the fleet's summary of a workcell; None if the fleet lacks it."""
    summary = hub.fleet.get(workcell)
    return None if summary is None else summary.head


def status_of(hub: Hub, workcell: str) -> str | None:
    """The status in the fleet's summary of a workcell; None if the fleet lacks it."""
    summary = hub.fleet.get(workcell)
    return None if summary is None else summary.status


def events_of(messages: list[Message], workcell: str) -> list[Message]:
    """Return the events of all ``events`` messages, in order."""
    return [event for m in messages if m["op"] == "events" and m["workcell"] == workcell for event in m["events"]]
