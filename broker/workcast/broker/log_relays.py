"""The relays of all logs of a root: which logs there are, which have lines to publish, and which are gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from workcast.broker.batch import Batch
from workcast.broker.below import is_directory_below
from workcast.broker.ended_logs import EndedLogs
from workcast.broker.errors import BrokerError, OriginConflictError, WorkcellIdError
from workcast.broker.log_relay import LogRelay
from workcast.broker.price_file import usable_prices
from workcast.broker.publisher import Publisher
from workcast.broker.root import Root
from workcast.broker.warn_once import WarnOnce

_CHUNK: Final = 256
"""Workcells that share a round trip."""
_COVER_SECONDS: Final = 0.005
"""For so long, lines that have no checksums get theirs before it is checked whether any log has changed."""
_VOUCH_SECONDS: Final = 0.5
"""For so long, large logs are vouched for before the broker is tried again."""

logger = logging.getLogger("workcast.relay")


class LogRelays:
    """Relays the logs of one root, a batch of each in turn. Not safe for several threads.

    Args:
        root: whose logs.
        publisher: to the broker.
        warnings: for what is wrong with a log, which never stops the others.
        only: the only workcell to relay; None: all.
        pause: called between two logs, for what must not wait until all had their turn.
    """

    def __init__(
        self, root: Root, publisher: Publisher, warnings: WarnOnce, only: str | None, pause: Callable[[], None]
    ) -> None:
        self._root = root
        self._publisher = publisher
        self._warnings = warnings
        self._only = only
        self._pause = pause
        self._relays: dict[str, LogRelay] = {}
        """Of the logs that are not among the ended ones."""
        self._ended: EndedLogs | None = None
        """None: not loaded yet; a writer that relays its own log has none."""
        self._changed: set[str] = set()
        self._uncovered: set[str] = set()
        """Logs whose shown lines may lack checksums."""
        self._unvouched: set[str] | None = None
        """Logs that changed since they were vouched for; None: all of them."""
        self._missing: set[str] = set()
        """Workcells in the broker that the last sweep found no directory of."""
        self._links: set[str] = set()
        """Links in place of workcells, of which the last sweep has warned."""
        self._foreign: set[str] = set()
        """Workcells in the broker that other roots have published."""

    @property
    def has_changed(self) -> bool:
        """Whether any log may have lines to publish."""
        return bool(self._changed)

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do at once."""
        return self.has_changed or bool(self._uncovered)

    def ids(self) -> list[str]:
        """Return the workcells to relay."""
        return self._root.ids() if self._only is None else [self._only]

    def mark_changed(self, workcells: Iterable[str]) -> None:
        """Record that logs may have lines to publish."""
        new = set(workcells)
        self._changed |= new
        if self._unvouched is not None:
            self._unvouched |= new

    def publish(self, until: Callable[[], bool]) -> None:
        """Publish one batch of each changed log, or fewer when ``until`` returns True.

        Raises:
            BrokerError: Redis is away.
        """
        for workcell in sorted(self._changed):
            if until():
                return
            self._pause()
            if not self._pump(workcell):
                self._changed.discard(workcell)

    def cover(self, until: Callable[[], bool]) -> None:
        """Give shown lines that have no checksums theirs: a piece of one log, or more if no log has changed.

        An older version showed them, or a loss of power took the sums.

        Raises:
            BrokerError: Redis is away.
        """
        deadline = time.monotonic() + _COVER_SECONDS
        while self._uncovered and not until():
            workcell = next(iter(self._uncovered))
            has_more, relay = False, self._relays.get(workcell)
            with self._guarding(workcell):
                has_more = relay is not None and relay.cover()
            if not has_more:
                self._uncovered.discard(workcell)
                if relay is not None and not relay.is_attached:
                    self._changed.add(workcell)  # it was edited or replaced
                elif relay is not None:
                    with self._guarding(workcell):
                        self._end(workcell, relay)
            if self._changed or time.monotonic() >= deadline:
                return

    def attach(self, until: Callable[[], bool]) -> None:
        """Compare all logs with the broker, which may have forgotten everything; publish the summaries it lacks.

        The windows of ended logs wait until they are requested.

        Raises:
            BrokerError: Redis is away.
        """
        self._foreign.clear()
        present = self.ids()
        for relay in self._relays.values():
            relay.detach()
        ended = self._publish_ended(self._unchanged(present), until)
        others = [workcell for workcell in present if workcell not in ended]
        self._changed.update(others)
        self._attach(others, until)

    def _ended_logs(self) -> EndedLogs:
        if self._ended is None:
            self._ended = EndedLogs(self._root, usable_prices().fingerprint)
            if self._only is None:
                self._ended.load()
        return self._ended

    def _unchanged(self, workcells: Iterable[str]) -> set[str]:
        """Return the ended logs that are what they were when they were published."""
        ended, found = self._ended_logs(), set[str]()
        for workcell in workcells:
            if ended.has_unchanged(workcell):
                found.add(workcell)
        return found

    def _publish_ended(self, workcells: Collection[str], until: Callable[[], bool] = lambda: False) -> set[str]:
        """Publish summaries of ended logs that the broker lacks; return the logs of which it has all now."""
        ended, names = self._ended_logs(), sorted(workcells)
        published = set[str]()
        for start in range(0, len(names), _CHUNK):
            if until():
                break
            self._pause()
            chunk = {workcell: ended[workcell] for workcell in names[start : start + _CHUNK]}
            other = self._publisher.publish_ended(chunk, self._root.ensure_origin(), time.time_ns() // 1_000_000)
            published |= chunk.keys() - other
        for workcell in set(names) - published:
            ended.discard(workcell)
        return published

    def _attach(self, workcells: Sequence[str], until: Callable[[], bool] = lambda: False) -> None:
        for start in range(0, len(workcells), _CHUNK):
            chunk = workcells[start : start + _CHUNK]
            stored = self._publisher.watermarks(chunk)
            summaries: list[tuple[LogRelay, Batch]] = []
            for workcell, watermark in zip(chunk, stored, strict=True):
                if until():
                    return
                self._pause()
                with self._guarding(workcell):
                    relay = self._relay(workcell)
                    if not relay.attach_briefly(watermark):
                        continue
                    batch = relay.summary_alone()
                    if batch is not None:
                        summaries.append((relay, batch))
            answers = self._publisher.publish_all([batch for _, batch in summaries], time.time_ns() // 1_000_000)
            for (relay, batch), answer in zip(summaries, answers, strict=True):
                with self._guarding(relay.workcell):
                    relay.take(answer, batch)
                    self._pause()
                    self._keep_checkpoint(relay.workcell, relay)
                    if relay.cover():
                        self._uncovered.add(relay.workcell)
                    self._end(relay.workcell, relay)

    def _end(self, workcell: str, relay: LogRelay) -> None:
        """Keep only the summary of a log that has ended."""
        log = relay.as_ended() if self._only is None else None
        if log is not None:
            self._ended_logs().add(workcell, log)
            del self._relays[workcell]
            self._changed.discard(workcell)

    def publish_windows(self) -> None:
        """Publish the windows that gateways have requested, of the logs that are relayed here.

        Raises:
            BrokerError: Redis is away.
        """
        ended = self._ended_logs()
        wanted = {one for one in self._publisher.wanted() if one in self._relays or one in ended}
        for workcell in wanted:
            ended.discard(workcell)
            self._relay(workcell).rewind()
        self._changed |= wanted
        self._publisher.remove_wanted(wanted)

    def look_at_edited(self) -> None:
        """Look at the lines of the logs here that gateways have found to differ from what was shown.

        Raises:
            BrokerError: Redis is away.
        """
        ended, places = self._ended_logs(), self._publisher.edited()
        found = {one: place for one, place in places.items() if one in self._relays or one in ended}
        for workcell, (epoch, offset) in found.items():
            self._pause()
            ended.discard(workcell)
            with self._guarding(workcell):
                self._relay(workcell).look(epoch, offset)
        self._changed |= found.keys()
        self._publisher.remove_edited(found)

    def sweep(self) -> None:
        """Check every log, and compare every head with the broker's: events and notifications are only hints.

        Raises:
            BrokerError: Redis is away.
        """
        present = self.ids()
        unchanged = self._unchanged(present)
        self.mark_changed(workcell for workcell in present if workcell not in unchanged)
        ended = self._ended_logs()
        for gone in {*self._relays, *ended} - set(present):
            ended.discard(gone)
            self._relays.pop(gone, None)
            for problem in (gone, _judging(gone), _checkpoint(gone)):
                self._warnings.passed(problem)
        self._reconcile()
        if self._only is None:
            self._warn_of_links()
            self._forget_gone(set(present))
        for workcell, relay in tuple(self._relays.items()):
            self._pause()
            with self._guarding(workcell, _judging(workcell)):
                relay.judge()
                self._warnings.passed(_judging(workcell))
                self._keep_checkpoint(workcell, relay)
                self._end(workcell, relay)
        self._save_ended()

    def _save_ended(self, *, at_once: bool = False) -> None:
        if self._only is not None:
            return
        try:
            self._ended_logs().save(at_once=at_once)
            self._warnings.passed("ended logs")
        except OSError as error:
            self._warnings.warn("ended logs", f"cannot keep what is known of ended logs: {error}")

    def _warn_of_links(self) -> None:
        links = set(self._root.links())
        for passed in self._links - links:
            self._warnings.passed(passed)
        for link in links:
            self._warnings.warn(link, f"{link} is not published: {self._root.oddity(link)}")
        self._links = links

    def _reconcile(self) -> None:
        known, lost = list(self._relays), list[str]()
        for start in range(0, len(known), _CHUNK):
            chunk = known[start : start + _CHUNK]
            self._pause()
            for workcell, watermark in zip(chunk, self._publisher.watermarks(chunk), strict=True):
                if not self._relays[workcell].reconcile(watermark):
                    lost.append(workcell)
        ended = self._ended_logs()
        names = list(ended)
        for start in range(0, len(names), _CHUNK):
            self._pause()
            logs = {workcell: ended[workcell] for workcell in names[start : start + _CHUNK]}
            lost += self._publisher.compare_ended(logs, self._root.ensure_origin())
        if self._only is None:  # else removed during this sweep, and forgotten by the broker as it should be
            lost = [workcell for workcell in lost if self._root.holds(workcell)]
        if lost:
            some = ", ".join(lost[:3]) + (" …" if len(lost) > 3 else "")
            logger.warning("the broker lost events of %d workcells (%s); publishing them again", len(lost), some)
            published = self._publish_ended(self._unchanged(lost))
            others = [workcell for workcell in lost if workcell not in published]
            self._changed.update(others)
            self._attach(others)

    def _forget_gone(self, present: set[str]) -> None:
        """Remove from the broker what has had no directory for two sweeps and was published from this root."""
        if not is_directory_below(self._root.workcells):
            return  # not mounted, perhaps
        gone = {workcell for workcell in self._publisher.workcells() if self._is_ours(workcell)} - present
        for workcell in gone & self._missing:
            self._pause()
            if self._root.holds(workcell):
                continue  # created again during this sweep
            if not self._publisher.forget(workcell, self._root.origin()):
                self._foreign.add(workcell)
        self._missing = gone - self._foreign

    def _is_ours(self, workcell: str) -> bool:
        with suppress(WorkcellIdError):
            return workcell not in self._foreign and self._root.owns(workcell)
        return False

    def checkpoint(self) -> None:
        """Keep indexes and folds on disk."""
        for workcell, relay in self._relays.items():
            self._keep_checkpoint(workcell, relay)
        if self._ended is not None:
            self._save_ended(at_once=True)

    def _keep_checkpoint(self, workcell: str, relay: LogRelay) -> None:
        try:
            relay.checkpoint()
            self._warnings.passed(_checkpoint(workcell))
        except OSError as error:
            self._warnings.warn(_checkpoint(workcell), f"cannot keep a checkpoint of {workcell}: {error}")

    def vouch(self, until: Callable[[], bool]) -> None:
        """Note how far the changed logs may be shown, while there is no broker to publish them to."""
        workcells = self.ids() if self._unvouched is None else sorted(self._unvouched)
        self._unvouched = set()
        deadline = time.monotonic() + _VOUCH_SECONDS
        while workcells:
            unfinished: list[str] = []
            for workcell in workcells:
                if until():
                    return
                if self._ended_logs().has_unchanged(workcell):
                    continue  # all of it was noted when it was published
                with self._guarding(workcell):
                    if self._relay(workcell).vouch():
                        unfinished.append(workcell)
            if time.monotonic() >= deadline:
                self._unvouched.update(unfinished)
                return
            workcells = unfinished

    def _pump(self, workcell: str) -> bool:
        more = False
        if self._ended_logs().has_unchanged(workcell):
            return False
        with self._guarding(workcell):
            relay = self._relay(workcell)
            more = relay.pump()
            if not relay.is_covered:
                self._uncovered.add(workcell)
            if not relay.has_log and (what := self._root.oddity(workcell)):
                self._warnings.warn(workcell, f"{workcell} is not published: {what}")
            else:
                self._warnings.passed(workcell)
        return more

    def _relay(self, workcell: str) -> LogRelay:
        relay = self._relays.get(workcell)
        if relay is None:
            relay = self._relays[workcell] = LogRelay(self._root, workcell, self._publisher, usable_prices())
        return relay

    @contextmanager
    def _guarding(self, workcell: str, problem: str = "") -> Generator[None]:
        """Warn of an error in one log, which must not stop the others.

        Args:
            workcell: whose log.
            problem: what to warn about, if not about publishing the log, which passes when it is published again.
        """
        problem = problem or workcell
        try:
            yield
        except (OriginConflictError, OSError) as error:
            self._warnings.warn(problem, str(error))
        except BrokerError:
            raise
        except Exception as error:  # noqa: BLE001 - logged with its traceback
            self._warnings.warn(problem, f"unexpected error in the relay of {workcell}; it is tried again", error)
            self._relays.pop(workcell, None)  # its state may be half changed: the next one starts from the files


def _judging(workcell: str) -> str:
    return f"{workcell}: judging"


def _checkpoint(workcell: str) -> str:
    return f"{workcell}: checkpoint"
