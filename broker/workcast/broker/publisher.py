"""The writing side of the broker: publishes batches, and keeps summaries, through scripts on the server."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, cast

from workcast.broker.batch import Answer, AnswerKind, Batch, Budgets
from workcast.broker.connection import broker_errors, connect
from workcast.broker.ended_logs import EndedLog
from workcast.broker.keys import (
    LAYOUT_KEY,
    LAYOUT_VERSION,
    PARTITION,
    PARTITIONS,
    check_layout,
    edited_key,
    feed_key,
    partition,
    presence_key,
    stream_key,
    summary_key,
    wanted_key,
    window_sizes_key,
    windows_key,
    workcells_key,
)
from workcast.broker.stored_watermark import parse_watermarks, queue_watermarks
from workcast.broker.watermark import Watermark

_PRESENCE_SECONDS: Final = 15
"""A relay counts as silent so long after its last heartbeat."""


class Publisher:
    """The writing side of the broker, for a relay; blocking, one thread at a time."""

    def __init__(self, url: str, budgets: Budgets | None = None) -> None:
        self.url = url
        self.budgets = budgets or Budgets()
        self._client: Any = connect(url)  # redis-py types a reply as the union of what any protocol may answer
        self._publish_script = self._load("windows", "publish")
        self._budget_script = self._load("windows", "budget")
        self._forget_script = self._load("windows", "forget")
        self._amend_script, self._claim_script = map(self._load, ("amend", "claim"))
        self._publish_ended_script, self._compare_ended_script = map(self._load, ("publish_ended", "compare_ended"))

    def _load(self, *names: str) -> Any:
        """Register a script; the ones before the last define what it uses."""
        scripts = resources.files("workcast.broker")
        text = "".join(scripts.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in names)
        return self._client.register_script(text)

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
            queue_watermarks(pipe, workcells)
            return parse_watermarks(pipe.execute())

    def publish(self, batch: Batch, now_ms: int) -> Answer:
        """Run the script on one batch. Safe to repeat, and to run from two relays at once.

        Raises:
            BrokerError: not reachable, or it refused to write.
        """
        keys, arguments = self._call(batch, now_ms)
        with broker_errors(self.url):
            return _answer(self._publish_script(keys=keys, args=arguments))

    def publish_all(self, batches: Sequence[Batch], now_ms: int) -> list[Answer]:
        """Like :meth:`publish`, for batches of several logs in one round trip."""
        if not batches:
            return []
        with broker_errors(self.url), self._client.pipeline(transaction=False) as pipe:
            for batch in batches:
                keys, arguments = self._call(batch, now_ms)
                self._publish_script(keys=keys, args=arguments, client=pipe)
            return [_answer(reply) for reply in pipe.execute()]

    def _call(self, batch: Batch, now_ms: int) -> tuple[list[str], list[str | int | bytes]]:
        arguments: list[str | int | bytes] = [
            batch.workcell, batch.epoch, batch.origin, "" if batch.replaces is None else batch.replaces,
            "1" if batch.begins_window else "0", batch.offset, len(batch.entries), batch.base, batch.window_start,
            now_ms, self.budgets.stream_idle_ms, self.budgets.feed_entries, self.budgets.feed_bytes,
            batch.end, batch.summary, self.budgets.window_bytes,
        ]  # fmt: skip
        for entry in batch.entries:
            arguments.extend(entry)
        number = partition(batch.workcell)
        return [*_keys(batch.workcell), windows_key(number), window_sizes_key(number)], arguments

    def publish_ended(self, logs: Mapping[str, EndedLog], origin: str, now_ms: int) -> set[str]:
        """Publish the summaries of ended logs that the broker does not have; return the logs of which it has another.

        Raises:
            BrokerError: not reachable.
        """
        keys = [feed_key(PARTITION), workcells_key(PARTITION)]
        arguments: list[str | int | bytes] = [origin, now_ms, self.budgets.feed_entries]
        for workcell, log in logs.items():
            keys += (stream_key(workcell), summary_key(workcell))
            arguments += (workcell, log.epoch, log.base, log.head, log.summary)
        with broker_errors(self.url):
            answers: list[int] = self._publish_ended_script(keys=keys, args=arguments)
        return {workcell for workcell, answer in zip(logs, answers, strict=True) if not answer}

    def compare_ended(self, logs: Mapping[str, EndedLog], origin: str) -> list[str]:
        """Return the ended logs of which the broker does not have exactly this.

        Raises:
            BrokerError: not reachable.
        """
        arguments: list[str | int] = [origin]
        for log in logs.values():
            arguments += (log.epoch, log.base, log.head)
        with broker_errors(self.url):
            places: list[int] = self._compare_ended_script(keys=list(map(summary_key, logs)), args=arguments)
        names = list(logs)
        return [names[place - 1] for place in places]

    def keep_window_budget(self, budget: int | None, *, measure: bool = False, goal: int | None = None) -> Freed:
        """Keep the windows of all workcells, of all relays, within their budget in bytes.

        Args:
            budget: of all relays from now on; None: as it is.
            measure: all windows, instead of relying on what was added up.
            goal: bytes to cut the windows to now, if that is less than the budget.

        Raises:
            BrokerError: not reachable.
        """
        keys = [windows_key(PARTITION), window_sizes_key(PARTITION), workcells_key(PARTITION)]
        arguments: list[str | int] = [
            stream_key(""), "" if budget is None else budget, "1" if measure else "0", "" if goal is None else goal,
            self.budgets.window_bytes,
        ]  # fmt: skip
        with broker_errors(self.url):
            before, after, count = self._budget_script(keys=keys, args=arguments)
        return Freed(int(before), int(after), count)

    def forget(self, workcell: str, origin: str) -> bool:
        """Remove a workcell whose directory is gone; False if another root has published it, or none has.

        Raises:
            BrokerError: not reachable, or it refused to write.
        """
        with broker_errors(self.url):
            number = partition(workcell)
            keys = [*_keys(workcell), windows_key(number), window_sizes_key(number)]
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

    def edited(self) -> dict[str, tuple[int, int]]:
        """Return the logs in which gateways have found edited lines, with the epoch and offset of one of them.

        Raises:
            BrokerError: not reachable.
        """
        with broker_errors(self.url):
            found: dict[bytes, bytes] = self._client.hgetall(edited_key(PARTITION))
        pairs = ((workcell.decode(), place.split()) for workcell, place in found.items())
        return {workcell: (int(epoch), int(offset)) for workcell, (epoch, offset) in pairs}

    def remove_edited(self, workcells: Collection[str]) -> None:
        """Take back reports that were looked into.

        Raises:
            BrokerError: not reachable.
        """
        if workcells:
            with broker_errors(self.url):
                self._client.hdel(edited_key(PARTITION), *workcells)

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
        arguments: list[str | int] = [
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
class Freed:
    """The bytes of all windows before and after some were cut, and how many."""

    before: int
    after: int
    count: int


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One entry of a workcell's stream."""

    epoch: int
    offset: int
    crc: int
    data: bytes


def _answer(reply: list[bytes]) -> Answer:
    return Answer(cast("AnswerKind", reply[0].decode()), reply[1].decode() if len(reply) > 1 else "")


def _keys(workcell: str) -> list[str]:
    number = partition(workcell)
    return [feed_key(number), stream_key(workcell), summary_key(workcell), workcells_key(number)]


def _parse_id(name: bytes) -> tuple[int, int]:
    """Return epoch and offset of an entry's ID."""
    epoch, _, sequence = name.partition(b"-")
    return int(epoch), int(sequence) - 1
