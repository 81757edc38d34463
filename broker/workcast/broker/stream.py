"""Streams and feeds in Redis: their keys, the scripts that write them, and reads by offset."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, Literal, cast
from zlib import crc32

from workcast.broker.connection import broker_errors, connect, connect_async, mask_url
from workcast.broker.errors import BrokerError
from workcast.broker.watermark import Watermark

LAYOUT_KEY: Final = "workcast:layout"
LAYOUT_VERSION: Final = 1
PARTITIONS: Final = 1
"""One on a single server; a Cluster will have 64."""


PARTITION: Final = 0
"""The only one on a single server."""


def partition(workcell: str) -> int:
    """Return the partition that a workcell belongs to."""
    return crc32(workcell.encode()) % PARTITIONS


def feed_key(number: int) -> str:
    return f"workcast:{{{number}}}:feed"


def stream_key(workcell: str) -> str:
    return f"workcast:{{{partition(workcell)}}}:stream:{workcell}"


def summary_key(workcell: str) -> str:
    return f"workcast:{{{partition(workcell)}}}:summary:{workcell}"


def workcells_key(number: int) -> str:
    return f"workcast:{{{number}}}:workcells"


def wanted_key(number: int) -> str:
    """The set of workcells whose windows gateways have requested from relays."""
    return f"workcast:{{{number}}}:wanted"


def presence_key(number: int, origin: str) -> str:
    """Exists while a relay of the root with this origin sends heartbeats."""
    return f"workcast:{{{number}}}:relay:{origin}"


_PRESENCE_SECONDS: Final = 15
"""A relay counts as silent so long after its last heartbeat."""
_WANTED_SECONDS: Final = 60
"""A request that no relay serves expires after so long."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """What the streams may hold; older events are in the log."""

    stream_entries: int = 10_000
    stream_bytes: int = 8 << 20
    """Of one workcell, measured as bytes of its log."""
    stream_idle_ms: int = 24 * 3600 * 1000
    feed_entries: int = 100_000
    feed_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive lines of one log, to be published; none: only its summary."""

    workcell: str
    epoch: int
    origin: str
    base: int
    offset: int
    entries: Sequence[tuple[int, bytes]]
    """CRC-32 and wire bytes of each line."""
    window_start: int
    """The first offset the stream should keep."""
    begins_window: bool
    replaces: int | None = None
    """The epoch in the broker that this batch's epoch replaces."""
    summary: bytes = b""
    """The summary's JSON after the last line; empty to leave it as it is."""

    @property
    def end(self) -> int:
        return self.offset + len(self.entries)


AnswerKind = Literal["ok", "empty", "gap", "epoch", "origin"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The script's answer: ``ok`` and ``gap`` with the stream's head, ``epoch`` and ``origin`` with the stored ones."""

    kind: AnswerKind
    value: str = ""


def _watermark(summary: Sequence[bytes | None], last: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> Watermark:
    """Take the later of the summary's head and the stream's last entry."""
    epoch, head, crc = int(summary[0] or 0), int(summary[1] or 0), None
    if last:
        entry_epoch, _, sequence = last[0][0].partition(b"-")
        epoch = epoch or int(entry_epoch)
        if int(entry_epoch) == epoch and int(sequence) >= head:
            head, crc = int(sequence), int(last[0][1][b"c"])
    return Watermark(epoch, head, crc, int(summary[2] or 0), origin=(summary[3] or b"").decode())


class Publisher:
    """The writing side of the broker, for a relay; blocking, one thread at a time."""

    def __init__(self, url: str, budgets: Budgets | None = None) -> None:
        self.url = url
        self.budgets = budgets or Budgets()
        self._client: Any = connect(url)  # redis-py types a reply as the union of what any protocol may answer
        scripts = resources.files("workcast.broker")
        self._script = self._client.register_script(scripts.joinpath("publish.lua").read_text(encoding="utf-8"))
        self._amend_script = self._client.register_script(scripts.joinpath("amend.lua").read_text(encoding="utf-8"))
        self._claim_script = self._client.register_script(scripts.joinpath("claim.lua").read_text(encoding="utf-8"))
        self._forget_script = self._client.register_script(scripts.joinpath("forget.lua").read_text(encoding="utf-8"))

    def prepare(self) -> str:
        """Check the layout, or set it in a new server; return the server's run id.

        Raises:
            BrokerError: not reachable, or another version wrote what is there.
        """
        with broker_errors(self.url):
            stored = self._client.get(LAYOUT_KEY)
            if stored is None:
                layout = json.dumps({"version": LAYOUT_VERSION, "partitions": PARTITIONS}, separators=(",", ":"))
                self._client.set(LAYOUT_KEY, layout, nx=True)
                stored = self._client.get(LAYOUT_KEY)
            check_layout(self.url, stored)
            return str(self._client.info("server")["run_id"])

    def workcells(self) -> list[str]:
        """Return all workcells in the broker.

        Raises:
            BrokerError: not reachable.
        """
        with broker_errors(self.url):
            found: list[bytes] = self._client.zrange(workcells_key(PARTITION), 0, -1)
        return [name.decode() for name in found]

    def watermarks(self, workcells: Sequence[str]) -> list[Watermark]:
        """Return how far each workcell is published, in one round trip.

        Raises:
            BrokerError: not reachable.
        """
        with broker_errors(self.url), self._client.pipeline(transaction=False) as pipe:
            for workcell in workcells:
                pipe.hmget(summary_key(workcell), ["epoch", "head", "base", "origin"])
                pipe.xrevrange(stream_key(workcell), count=1)
            replies = pipe.execute()
        return [_watermark(replies[i], replies[i + 1]) for i in range(0, len(replies), 2)]

    def publish(self, batch: Batch, now_ms: int) -> Answer:
        """Run the script on one batch. Safe to repeat, and to run from two relays at once.

        Raises:
            BrokerError: not reachable, or it refused to write.
        """
        keys, arguments = self._call(batch, now_ms)
        with broker_errors(self.url):
            return _answer(self._script(keys=keys, args=arguments))

    def publish_all(self, batches: Sequence[Batch], now_ms: int) -> list[Answer]:
        """Like :meth:`publish`, for batches of several logs in one round trip."""
        if not batches:
            return []
        with broker_errors(self.url), self._client.pipeline(transaction=False) as pipe:
            for batch in batches:
                keys, arguments = self._call(batch, now_ms)
                self._script(keys=keys, args=arguments, client=pipe)
            return [_answer(reply) for reply in pipe.execute()]

    def _call(self, batch: Batch, now_ms: int) -> tuple[list[str], list[str | int | bytes]]:
        number = partition(batch.workcell)
        arguments: list[str | int | bytes] = [
            batch.workcell, batch.epoch, batch.origin, "" if batch.replaces is None else batch.replaces,
            "1" if batch.begins_window else "0", batch.offset, len(batch.entries), batch.base, batch.window_start,
            now_ms, self.budgets.stream_idle_ms, self.budgets.feed_entries, self.budgets.feed_bytes,
            batch.end, batch.summary,
        ]  # fmt: skip
        for entry in batch.entries:
            arguments.extend(entry)
        return [
            feed_key(number),
            stream_key(batch.workcell),
            summary_key(batch.workcell),
            workcells_key(number),
        ], arguments

    def forget(self, workcell: str, origin: str) -> bool:
        """Remove a workcell whose directory is gone; False if another root has published it, or none has.

        Raises:
            BrokerError: not reachable, or it refused to write.
        """
        number = partition(workcell)
        keys = [feed_key(number), stream_key(workcell), summary_key(workcell), workcells_key(number)]
        with broker_errors(self.url):
            return bool(self._forget_script(keys=keys, args=[workcell, origin, self.budgets.feed_entries]))

    def wanted(self) -> set[str]:
        """Return the workcells whose windows gateways have requested.

        Raises:
            BrokerError: not reachable.
        """
        with broker_errors(self.url):
            found: set[bytes] = self._client.smembers(wanted_key(PARTITION))
        return {workcell.decode() for workcell in found}

    def remove_wanted(self, workcells: Collection[str]) -> None:
        """Take back requests that are being served.

        Raises:
            BrokerError: not reachable.
        """
        if workcells:
            with broker_errors(self.url):
                self._client.srem(wanted_key(PARTITION), *workcells)

    def amend(self, workcell: str, epoch: int, origin: str, head: int, base: int, summary: bytes) -> bool:
        """Change base and summary at the same head; False if the broker has both, or another head or a later base.

        Safe to repeat, and to run from two relays at once.

        Raises:
            BrokerError: not reachable, or it refused to write.
        """
        keys = [feed_key(partition(workcell)), summary_key(workcell)]
        arguments: list[str | int | bytes] = [workcell, epoch, origin, head, base, summary, self.budgets.feed_entries]
        with broker_errors(self.url):
            return bool(self._amend_script(keys=keys, args=arguments))

    def send_heartbeat(self, name: str) -> None:
        """Write a relay's heartbeat to the feed. A gateway that receives it would have received events as well.

        Args:
            name: the origin of the relay's root, which counts as present for some seconds.

        Raises:
            BrokerError: not reachable.
        """
        fields: dict[str | bytes, str | int] = {"w": "", "e": 0, "o": 0, "d": name}
        with broker_errors(self.url), self._client.pipeline(transaction=False) as pipe:
            pipe.xadd(feed_key(PARTITION), fields, maxlen=self.budgets.feed_entries, approximate=True)
            pipe.set(presence_key(PARTITION, name), "", ex=_PRESENCE_SECONDS)
            pipe.execute()

    def claim(self, workcell: str, stored: Watermark, origin: str) -> bool:
        """Make a workcell of another root this one's; False if that root has a relay, or the watermark has changed.

        Raises:
            BrokerError: not reachable, or it refused to write.
        """
        number = partition(workcell)
        keys = [feed_key(number), summary_key(workcell), presence_key(number, stored.origin)]
        arguments: list[str | int | bytes] = [
            workcell,
            stored.origin,
            stored.epoch,
            stored.head,
            origin,
            self.budgets.feed_entries,
        ]
        with broker_errors(self.url):
            return bool(self._claim_script(keys=keys, args=arguments))

    def entries(self, workcell: str, last: int | None = None) -> list[StreamEntry]:
        """Return all entries of a workcell's stream, or its last ones; its budget bounds them.

        Raises:
            BrokerError: not reachable.
        """
        with broker_errors(self.url):
            found: list[tuple[bytes, dict[bytes, bytes]]] = (
                self._client.xrange(stream_key(workcell))
                if last is None
                else self._client.xrevrange(stream_key(workcell), count=last)[::-1]
            )
        return [StreamEntry(*_parse_id(name), crc=int(fields[b"c"]), data=fields[b"d"]) for name, fields in found]

    def abort(self) -> None:
        """Close the connections, so that a call that waits in another thread fails."""
        self._client.connection_pool.disconnect()

    def close(self) -> None:
        self._client.close()


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One entry of a workcell's stream."""

    epoch: int
    offset: int
    crc: int
    data: bytes


def _answer(reply: list[bytes]) -> Answer:
    return Answer(cast("AnswerKind", reply[0].decode()), reply[1].decode() if len(reply) > 1 else "")


def _parse_id(name: bytes) -> tuple[int, int]:
    """Return epoch and offset of an entry's ID."""
    epoch, _, sequence = name.partition(b"-")
    return int(epoch), int(sequence) - 1


def check_layout(url: str, stored: bytes | None) -> None:
    """Refuse a server whose keys have another layout.

    Raises:
        BrokerError: the layout differs; says how to rebuild.
    """
    if stored is None:
        return
    try:
        layout = json.loads(stored)
    except ValueError:
        layout = stored
    if layout != {"version": LAYOUT_VERSION, "partitions": PARTITIONS}:
        raise BrokerError(
            f"expected layout version {LAYOUT_VERSION} with {PARTITIONS} partition(s) at {mask_url(url)}, "
            f"got {layout!r}; delete the keys 'workcast:*' there (the logs rebuild them) or use another server"
        )


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """An entry of the feed: an event; without a workcell, a relay's heartbeat, with its name in ``data``; without an
    epoch, a notice that the workcell's summary changed or is gone.
    """

    workcell: str
    epoch: int
    offset: int
    data: bytes


class Subscriber:
    """The reading side of the broker, for a gateway; asyncio."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client: Any = connect_async(url)

    async def check(self) -> None:
        """Check that the server answers and has this layout.

        Raises:
            BrokerError: not reachable, or another layout.
        """
        with broker_errors(self.url):
            check_layout(self.url, await self._client.get(LAYOUT_KEY))

    async def feed_end(self) -> str:
        """Return the ID of the feed's newest entry: unlike ``$``, a fixed position to read on from."""
        with broker_errors(self.url):
            last = await self._client.xrevrange(feed_key(0), count=1)
        return last[0][0].decode() if last else "0-0"

    async def read_feed(self, after: str, count: int, block_ms: int) -> tuple[str, list[FeedEntry]]:
        """Read entries after an ID, waiting for the first; return the ID to read on from, and the entries."""
        with broker_errors(self.url):
            reply = await self._client.xread({feed_key(0): after}, count=count, block=block_ms)
        if not reply:
            return after, []
        entries = reply[0][1]
        return entries[-1][0].decode(), [
            FeedEntry(fields[b"w"].decode(), int(fields[b"e"]), int(fields[b"o"]), fields[b"d"])
            for _, fields in entries
        ]

    async def read_stream(self, workcell: str, epoch: int, offset: int, count: int) -> tuple[int, list[bytes]]:
        """Read consecutive events at or after ``offset``; return the first one's offset, and their wire bytes.

        The first may lie past ``offset``, since the stream keeps only the tail. Empty if the stream has no such event.
        """
        with broker_errors(self.url):
            entries = await self._client.xrange(
                stream_key(workcell), min=f"{epoch}-{offset + 1}", max=f"{epoch}-{2**63 - 1}", count=count
            )
        if not entries:
            return offset, []
        first = int(entries[0][0].partition(b"-")[2]) - 1
        return first, [fields[b"d"] for _, fields in entries]

    async def watermarks(self, workcells: Sequence[str]) -> list[Watermark]:
        """Return how far each workcell is published, in one round trip."""
        with broker_errors(self.url):
            async with self._client.pipeline(transaction=False) as pipe:
                for workcell in workcells:
                    pipe.hmget(summary_key(workcell), ["epoch", "head", "base", "origin"])
                    pipe.xrevrange(stream_key(workcell), count=1)
                replies = await pipe.execute()
        return [_watermark(replies[i], replies[i + 1]) for i in range(0, len(replies), 2)]

    async def workcells(self) -> list[str]:
        """Return all workcells in the broker, the most recently active one first."""
        with broker_errors(self.url):
            names: list[bytes] = await self._client.zrange(workcells_key(PARTITION), 0, -1, desc=True)
        return [name.decode() for name in names]

    async def summaries(self, workcells: Sequence[str]) -> dict[str, bytes]:
        """Return the JSON of the summaries that exist, in one round trip."""
        with broker_errors(self.url):
            async with self._client.pipeline(transaction=False) as pipe:
                for workcell in workcells:
                    pipe.hget(summary_key(workcell), "json")
                replies = await pipe.execute()
        return {workcell: reply for workcell, reply in zip(workcells, replies, strict=True) if reply is not None}

    async def request_window(self, workcell: str) -> None:
        """Ask the relay that carries a workcell to publish its window: an ended log may have no stream."""
        with broker_errors(self.url):
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.sadd(wanted_key(partition(workcell)), workcell)
                pipe.expire(wanted_key(partition(workcell)), _WANTED_SECONDS)
                await pipe.execute()

    async def aclose(self) -> None:
        await self._client.aclose()


__all__ = [
    "Answer", "Batch", "BrokerError", "Budgets", "FeedEntry", "Publisher", "Subscriber", "check_layout", "feed_key",
    "partition", "stream_key", "summary_key", "wanted_key", "workcells_key",
]  # fmt: skip
