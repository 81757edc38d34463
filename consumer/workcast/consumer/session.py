"""A session: the subscriptions of one viewer, each a cursor; events are fetched when its socket has room for them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeVar, cast

from pydantic import BaseModel

from workcast.consumer.channel import Channel
from workcast.consumer.flag import Flag
from workcast.consumer.fleet import FleetCursor
from workcast.consumer.frame import Frame
from workcast.consumer.hub import Hub, origin_conflict
from workcast.consumer.protocol import (
    ClientMessage,
    Cursor,
    Error,
    ErrorCode,
    Follow,
    From,
    Gap,
    Head,
    Hello,
    LastEvents,
    Limits,
    Live,
    Ping,
    Pong,
    Reset,
    Subscribe,
    Subscribed,
    SubscribeFleet,
    Unsubscribe,
    UnsubscribeFleet,
)
from workcast.consumer.refill import Missing, Pending
from workcast.consumer.request import parse_request
from workcast.consumer.throttle import Throttle
from workcast.consumer.transport import Transport

CLOSE_MALFORMED: Final = 4400
_MAX_REPLIES: Final = 64
"""Replies that wait for the socket; while there are more, no message is read from the viewer."""
_THROTTLE_SECONDS: Final = 0.25
"""Between two messages about the fleet, or with a head for a viewer that does not follow."""


T = TypeVar("T")


@dataclass(slots=True)
class Subscription:
    """The place of one viewer in one workcell."""

    channel: Channel
    epoch: int
    cursor: int
    live_sent: bool = False
    follow: bool = True
    head_sent: int = -1
    throttle: Throttle = field(default_factory=lambda: Throttle(_THROTTLE_SECONDS))
    """Of its ``head`` messages."""
    window: asyncio.Task[None] | None = None
    """What its next events wait for, if they were not available."""


class Session:
    """Serves one viewer until it leaves. One task reads its messages; another one sends everything."""

    __slots__ = (
        "__weakref__", "_fleet", "_fleet_throttle", "_hub", "_is_reading", "_limits", "_reader", "_replied", "_replies",
        "_room", "_subscriptions", "_transport", "_used", "_wake",
    )  # fmt: skip

    def __init__(self, transport: Transport, hub: Hub, limits: Limits) -> None:
        self._transport = transport
        self._hub = hub
        self._limits = limits
        self._subscriptions: dict[str, Subscription] = {}
        self._fleet: FleetCursor | None = None
        """None while the viewer is not subscribed to the fleet."""
        self._fleet_throttle = Throttle(_THROTTLE_SECONDS)
        self._replies: list[BaseModel] = []
        self._replied = Flag()
        self._room = Flag()
        self._wake = Flag()
        self._is_reading = True
        self._used = False
        """Whether there is any subscription."""

    async def run(self) -> None:
        """Send ``hello``, then serve until the viewer closes or breaks the protocol."""
        self._hub.metrics.viewers.add(self)
        self._reply(Hello(limits=self._limits))
        self._reader = cast("asyncio.Task[None]", asyncio.current_task())
        writer = asyncio.create_task(self._write())
        writer.add_done_callback(self._end_reading)
        try:
            # Not a coroutine of its own: each takes a quarter of a KB for as long as the viewer stays.
            while (message := await self._transport.receive()) is not None and await self._handle(message):
                while len(self._replies) > _MAX_REPLIES:
                    self._room.clear()
                    await self._room.wait()
        except asyncio.CancelledError:
            if not writer.done() or self._reader.uncancel():
                raise
        finally:
            self._is_reading = False  # the writer's callback may be due already
            writer.cancel()
            (result,) = await asyncio.gather(writer, return_exceptions=True)
            for subscription in self._subscriptions.values():
                subscription.channel.unlisten(self._wake.set)
            self._leave_fleet()
            self._hub.metrics.viewers.discard(self)
            del self._reader  # it refers to this session
        if isinstance(result, Exception) and not isinstance(result, ConnectionError):
            raise result

    def _end_reading(self, _: asyncio.Task[None]) -> None:
        if self._is_reading:
            self._reader.cancel()

    def lags(self) -> Iterator[int]:
        """Yield how many events each subscription is behind."""
        for subscription in self._subscriptions.values():
            yield max(0, subscription.channel.head - subscription.cursor)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _handle(self, message: str | bytes) -> bool:
        """Act on one message; False if it broke the protocol and the socket was closed."""
        request = parse_request(message)
        match request:
            case None:
                await self._transport.close(CLOSE_MALFORMED, "expected a text message with a JSON object")
                return False
            case Error():
                self._reply(request)
            case _:
                await self._act(request)
                if self._used != (used := bool(self._subscriptions) or self._fleet is not None):
                    self._used = used
                    self._transport.note_use(used=used)
        return True

    async def _act(self, message: ClientMessage) -> None:
        match message:
            case Subscribe():
                await self._subscribe(message.workcell, message.from_)
            case SubscribeFleet():
                self._leave_fleet()
                self._fleet = self._hub.fleet.open(self._wake.set)
                self._wake.set()
            case Unsubscribe():
                subscription = self._subscriptions.pop(message.workcell, None)
                if subscription is not None:
                    subscription.channel.unlisten(self._wake.set)
            case UnsubscribeFleet():
                self._leave_fleet()
            case Follow():
                await self._follow(message)
            case Ping():
                self._reply(Pong())

    async def _subscribe(self, workcell: str, start: From) -> None:
        if workcell not in self._subscriptions and len(self._subscriptions) >= self._limits.max_subscriptions:
            self._error(
                "too_many_subscriptions",
                f"at most {self._limits.max_subscriptions} workcells a connection; unsubscribe from one first",
                workcell,
            )
            return
        channel = await self._hub.channels.open(workcell)
        if channel is None:
            self._error(
                "unknown_workcell", f"no workcell {workcell[:140]!r} here; ask again when the fleet shows it", workcell
            )
            return
        if channel.foreign:
            self._error("origin_conflict", origin_conflict(workcell), workcell)
            return
        # Nothing is awaited from here on: the answer and the new cursor belong together.
        epoch, base, head = channel.epoch, channel.base, channel.head
        match start:
            case "start":
                offset = base
            case "tail":
                offset = head
            case LastEvents(last=last):
                offset = max(base, head - last)
            case Cursor(offset=offset):
                pass
        if isinstance(start, Cursor) and start.epoch != epoch:
            offset = base
            self._reply(Reset(workcell=workcell, epoch=epoch, offset=offset, head=head))
        else:
            self._reply(Subscribed(workcell=workcell, epoch=epoch, offset=offset, head=head))
        self._subscriptions[workcell] = Subscription(channel, epoch, offset)
        channel.listen(self._wake.set)

    async def _follow(self, message: Follow) -> None:
        subscription = self._subscriptions.get(message.workcell)
        if subscription is None:
            self._error("bad_message", "follow: subscribe to the workcell first", message.workcell)
        elif not message.follow:
            subscription.follow, subscription.head_sent = False, -1
            self._wake.set()
        elif message.epoch is None or message.offset is None:
            self._error("bad_cursor", "follow: true needs the epoch and offset of the next event", message.workcell)
        else:
            await self._subscribe(message.workcell, Cursor(epoch=message.epoch, offset=message.offset))

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _write(self) -> None:
        """Send one message for each workcell in turn, until there is nothing to send; then wait to be woken."""
        await self._flush()  # hello comes first
        while True:
            self._wake.clear()
            busy = False
            for workcell in tuple(self._subscriptions):
                # First the replies: the subscription may have been replaced meanwhile, and its answer precedes it.
                busy |= await self._flush()
                busy |= await self._advance(workcell)
            busy |= await self._send_fleet()
            busy |= await self._flush()
            if not busy:
                await self._wake.wait()

    async def _flush(self) -> bool:
        """Send the waiting replies; False if there is none."""
        sent = False
        while self._replies:
            reply = self._replies.pop(0)
            if len(self._replies) <= _MAX_REPLIES:
                self._room.set()
            await self._transport.send(reply.model_dump_json(exclude_none=True))
            sent = True
        return sent

    async def _reply_until(self, question: Coroutine[object, object, T]) -> T:
        """Return the answer to ``question``; send replies while it is awaited, so that a ``pong`` does not wait."""
        task = asyncio.create_task(question)
        try:
            while not task.done():
                self._replied.clear()
                if await self._flush():
                    continue
                replied = asyncio.create_task(self._replied.wait())
                try:
                    await asyncio.wait((task, replied), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    replied.cancel()
            return task.result()
        finally:
            task.cancel()

    async def _advance(self, workcell: str) -> bool:
        """Send the next message of one subscription; False if there is nothing to send."""
        subscription = self._subscriptions.get(workcell)
        if subscription is None:
            return False
        channel = subscription.channel
        if channel.gone:
            del self._subscriptions[workcell]
            channel.unlisten(self._wake.set)
            self._error("unknown_workcell", f"{workcell} was removed; ask again when the fleet shows it", workcell)
            return await self._flush()
        if not channel.loaded:
            await self._reply_until(self._hub.channels.load(channel))
            if self._subscriptions.get(workcell) is not subscription:
                return True
        if channel.epoch != subscription.epoch:
            subscription.epoch, subscription.cursor, subscription.live_sent = channel.epoch, channel.base, False
            subscription.head_sent = channel.head
            self._reply(Reset(workcell=workcell, epoch=channel.epoch, offset=channel.base, head=channel.head))
            return await self._flush()
        if not subscription.follow:
            return self._send_head(workcell, subscription)
        if subscription.cursor < channel.head:
            return await self._send_events(workcell, subscription)
        if not subscription.live_sent:
            subscription.live_sent = True
            self._reply(Live(workcell=workcell, epoch=subscription.epoch, offset=subscription.cursor))
            return await self._flush()
        return False

    async def _send_events(self, workcell: str, subscription: Subscription) -> bool:
        found: Frame | Missing | Pending | None
        found = self._hub.refill.in_memory(subscription.channel, subscription.cursor)
        if found is None:
            if subscription.window is not None and not subscription.window.done():
                return False
            found = await self._reply_until(self._hub.refill.try_fetch(subscription.channel, subscription.cursor))
        stale = subscription.epoch != subscription.channel.epoch or not subscription.follow
        if stale or self._subscriptions.get(workcell) is not subscription:
            return True  # reset, paused, replaced or gone meanwhile
        match found:
            case Frame():
                subscription.cursor = found.end
                self._hub.metrics.frames_out.inc()
                self._hub.metrics.events_out.inc(found.end - found.offset)
                # Requests that come meanwhile are answered after this frame.
                await self._transport.send_frame(found)
            case Missing():
                subscription.cursor = found.until
                gap = Gap(
                    workcell=workcell, epoch=subscription.epoch, offset=found.offset, until=found.until,
                    reason=found.reason,
                )  # fmt: skip
                await self._transport.send(gap.model_dump_json())
            case Pending():  # meanwhile the other workcells have their turn
                subscription.window = found.window
                found.window.add_done_callback(lambda _: self._wake.set())
                return False
            case None:
                pass
        return True

    def _send_head(self, workcell: str, subscription: Subscription) -> bool:
        """Send the head to a viewer that does not follow, at most four times a second."""
        head = subscription.channel.head
        if head == subscription.head_sent:
            return False
        if subscription.throttle.ready(self._wake.set):
            subscription.head_sent = head
            self._reply(Head(workcell=workcell, epoch=subscription.epoch, head=head))
            return True
        return False

    async def _send_fleet(self) -> bool:
        """Send the next page of the fleet; after the last, what changed, at most four times a second."""
        cursor = self._fleet
        if cursor is None or not self._hub.fleet.has_news(cursor):
            return False
        if not self._fleet_throttle.ready(self._wake.set) and cursor.complete:
            return False
        message = self._hub.fleet.read(cursor)
        if message is not None:
            await self._transport.send_frame(message.frame)
        return message is not None

    def _leave_fleet(self) -> None:
        if self._fleet is not None:
            self._hub.fleet.close(self._fleet)
            self._fleet = None

    def _reply(self, message: BaseModel) -> None:
        self._replies.append(message)
        self._replied.set()
        self._wake.set()

    def _error(self, code: ErrorCode, message: str, workcell: str | None = None) -> None:
        self._reply(Error(code=code, message=message, workcell=workcell))
