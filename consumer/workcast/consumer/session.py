"""A session: one viewer's subscriptions, each a cursor; what it lacks is fetched when its socket has room for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from workcast.consumer.channel import Channel
from workcast.consumer.fleet import FleetCursor
from workcast.consumer.frame import Frame
from workcast.consumer.hub import Hub, origin_conflict
from workcast.consumer.protocol import (
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
    client_messages,
)
from workcast.consumer.refill import Missing
from workcast.consumer.throttle import Throttle
from workcast.consumer.transport import Transport
from workcast.events.json_value import as_object

CLOSE_MALFORMED: Final = 4400
CLOSE_TOO_MUCH: Final = 4429
_MAX_REPLIES: Final = 64
"""Replies that wait for the socket; while there are more, no further message is read from this viewer."""
_THROTTLE_SECONDS: Final = 0.25
"""Fleet changes and heads for viewers that do not follow come at most four times a second."""
_EXPECTED_FROM: Final = 'expected "start", "tail", {"last":200} or {"epoch":E,"offset":N}, whole numbers from 0 on'
_OPS: Final = frozenset(("subscribe", "unsubscribe", "follow", "ping"))


T = TypeVar("T")


@dataclass(slots=True)
class Subscription:
    """Where one viewer is in one workcell."""

    channel: Channel
    epoch: int
    cursor: int
    told_live: bool = False
    follow: bool = True
    told_head: int = -1
    throttle: Throttle = field(default_factory=lambda: Throttle(_THROTTLE_SECONDS))
    """Of its ``head`` messages."""


class Session:
    """Serves one viewer until it leaves. One task reads its messages, one writes; only the writer sends."""

    def __init__(self, transport: Transport, hub: Hub, limits: Limits) -> None:
        self._transport = transport
        self._hub = hub
        self._limits = limits
        self._subscriptions: dict[str, Subscription] = {}
        self._fleet: FleetCursor | None = None
        """None while the viewer is not subscribed to the fleet."""
        self._fleet_throttle = Throttle(_THROTTLE_SECONDS)
        self._replies: deque[BaseModel] = deque()
        self._replied = asyncio.Event()
        self._room = asyncio.Event()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Greet, then serve until the viewer closes or breaks the protocol."""
        self._hub.metrics.viewers.add(self)
        self._reply(Hello(limits=self._limits))
        writer = asyncio.create_task(self._write())
        reader = asyncio.create_task(self._read())
        try:
            await asyncio.wait((writer, reader), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writer, reader):
                task.cancel()
            results = await asyncio.gather(writer, reader, return_exceptions=True)
            for subscription in self._subscriptions.values():
                subscription.channel.unlisten(self._wake.set)
            self._leave_fleet()
            self._hub.metrics.viewers.discard(self)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                raise result

    def lags(self) -> Iterator[int]:
        """How many events each subscription is behind."""
        for subscription in self._subscriptions.values():
            yield max(0, subscription.channel.head - subscription.cursor)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _read(self) -> None:
        while (message := await self._transport.receive()) is not None:
            if not await self._take(message):
                return
            while len(self._replies) > _MAX_REPLIES:
                self._room.clear()
                await self._room.wait()

    async def _take(self, message: str | bytes) -> bool:
        """Act on one message; False if it broke the protocol and the socket was closed."""
        try:
            value = as_object(from_json(message, allow_inf_nan=False)) if isinstance(message, str) else None
        except ValueError:
            value = None
        if value is None:
            await self._transport.close(CLOSE_MALFORMED, "expected a text message with a JSON object")
            return False
        workcell = value.get("workcell")
        workcell = workcell if isinstance(workcell, str) else None
        op = value.get("op")
        if not isinstance(op, str) or op not in _OPS:
            self._error(
                "unknown_op", f"expected one of the ops {', '.join(sorted(_OPS))}, got {str(op)[:80]!r}", workcell
            )
            return True
        try:
            await self._act(client_messages.validate_python(value))
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            if "from" in problem["loc"]:
                code: ErrorCode = "bad_cursor" if isinstance(value.get("from"), dict) else "bad_message"
                self._error(code, f"{op}: from: {_EXPECTED_FROM}", workcell)
            else:
                where = ".".join(str(part) for part in problem["loc"][1:])
                self._error("bad_message", f"{op}: {where or 'message'}: {problem['msg']}", workcell)
        return True

    async def _act(self, message: object) -> None:
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
            case _:
                raise TypeError(f"no rule for {type(message).__name__}")

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
        # From here on nothing is awaited: the answer and the new cursor belong together.
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
            subscription.follow, subscription.told_head = False, -1
            self._wake.set()
        elif message.epoch is None or message.offset is None:
            self._error("bad_cursor", "follow: true needs the epoch and offset of the next event", message.workcell)
        else:
            await self._subscribe(message.workcell, Cursor(epoch=message.epoch, offset=message.offset))

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _write(self) -> None:
        """Send whatever there is, one message at a time in turn over the workcells, then wait to be woken."""
        while True:
            self._wake.clear()
            busy = False
            for workcell in tuple(self._subscriptions):
                # Before each: it may have been replaced while another's turn was on, and the answer goes first.
                busy |= await self._flush()
                busy |= await self._advance(workcell)
            busy |= await self._send_fleet()
            busy |= await self._flush()
            if not busy:
                await self._wake.wait()

    async def _flush(self) -> bool:
        """Send the replies that wait."""
        sent = False
        while self._replies:
            reply = self._replies.popleft()
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
        """Send the next message of one subscription; False if there is none for now."""
        subscription = self._subscriptions.get(workcell)
        if subscription is None:
            return False
        channel = subscription.channel
        if not channel.loaded:
            await self._reply_until(self._hub.channels.load(channel))
            if self._subscriptions.get(workcell) is not subscription:
                return True
        if channel.epoch != subscription.epoch:
            subscription.epoch, subscription.cursor, subscription.told_live = channel.epoch, channel.base, False
            subscription.told_head = channel.head
            self._reply(Reset(workcell=workcell, epoch=channel.epoch, offset=channel.base, head=channel.head))
            return await self._flush()
        if not subscription.follow:
            return self._tell_head(workcell, subscription)
        if subscription.cursor < channel.head:
            return await self._send_events(workcell, subscription)
        if not subscription.told_live:
            subscription.told_live = True
            self._reply(Live(workcell=workcell, epoch=subscription.epoch, offset=subscription.cursor))
            return await self._flush()
        return False

    async def _send_events(self, workcell: str, subscription: Subscription) -> bool:
        found: Frame | Missing | None = self._hub.refill.in_memory(subscription.channel, subscription.cursor)
        if found is None:
            found = await self._reply_until(self._hub.refill.fetch(subscription.channel, subscription.cursor))
        stale = subscription.epoch != subscription.channel.epoch or not subscription.follow
        if stale or self._subscriptions.get(workcell) is not subscription:
            return True  # reset, paused, replaced or gone while it was fetched: look again
        match found:
            case Frame():
                subscription.cursor = found.end
                self._hub.metrics.frames_out.inc()
                self._hub.metrics.events_out.inc(found.end - found.offset)
                # What was asked for meanwhile is answered after this frame, which was due before.
                await self._transport.send_frame(found)
            case Missing():
                subscription.cursor = found.until
                gap = Gap(
                    workcell=workcell, epoch=subscription.epoch, offset=found.offset, until=found.until,
                    reason=found.reason,
                )  # fmt: skip
                await self._transport.send(gap.model_dump_json())
            case None:
                pass
        return True

    def _tell_head(self, workcell: str, subscription: Subscription) -> bool:
        """Tell a viewer that reads history how far the log has come, four times a second at most."""
        head = subscription.channel.head
        if head == subscription.told_head:
            return False
        if subscription.throttle.ready(self._wake.set):
            subscription.told_head = head
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
