"""A gateway's metrics for Prometheus: counters, and states that are read at each scrape."""

from __future__ import annotations

import re
from collections import Counter as Counted
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from workcast.ledger.summary import Summary

_MAX_WORKCELLS: Final = 1000
"""Workcells with a time series of their own: the most recently active ones."""
_MAX_VERSIONS: Final = 100
"""Agents' versions reported one by one, those with the most unknown lines first."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What a scraper may take for the end of a line, or cannot decode."""


def label(text: str) -> str:
    """Return ``text`` as the value of a label, its control characters as ``\\xNN`` or ``\\uNNNN``."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Watched(Protocol):
    """A viewer as the metrics see it."""

    def lags(self) -> Iterable[int]:
        """Return how many events each of its subscriptions is behind."""
        ...


class Metrics:
    """The numbers of one gateway, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events_in = Counter("workcast_events_in", "Events that came from the feed.", registry=self.registry)
        self.frames_out = Counter("workcast_frames_out", "Events messages sent to viewers.", registry=self.registry)
        self.events_out = Counter("workcast_events_out", "Events sent to viewers.", registry=self.registry)
        self.refills = Counter(
            "workcast_refills", "Frames by where they came from: ring, stream or log.", ["tier"],
            registry=self.registry,
        )  # fmt: skip
        self.ring, self.stream, self.log = (self.refills.labels(tier) for tier in ("ring", "stream", "log"))
        self.viewers: set[Watched] = set()

    def add_states(
        self, summaries: Callable[[], Iterable[Summary]], heartbeats: Callable[[], Mapping[str, float]]
    ) -> None:
        """Read the states of fleet and relays at each scrape."""
        self.registry.register(_States(self.viewers, summaries, heartbeats))

    def add_index(self, behind: Callable[[], int | None]) -> None:
        """Read at each scrape how many events are not in the index yet; None if there is no index."""
        self.registry.register(_IndexLag(behind))


class _IndexLag(Collector):
    def __init__(self, behind: Callable[[], int | None]) -> None:
        self._behind = behind

    def collect(self) -> Iterator[GaugeMetricFamily]:
        behind = self._behind()
        if behind is not None:
            yield GaugeMetricFamily(
                "workcast_index_behind_events", "Events of logs here that are not in the index yet.", value=behind
            )


def _last_time(summary: Summary) -> str:
    return (summary.last and summary.last.timestamp) or ""


class _States(Collector):
    def __init__(
        self,
        viewers: set[Watched],
        summaries: Callable[[], Iterable[Summary]],
        heartbeats: Callable[[], Mapping[str, float]],
    ) -> None:
        self._viewers = viewers
        self._summaries = summaries
        self._heartbeats = heartbeats

    def collect(self) -> Iterator[GaugeMetricFamily]:
        lags = [lag for viewer in self._viewers for lag in viewer.lags()]
        yield GaugeMetricFamily("workcast_viewers", "Connected viewers.", value=len(self._viewers))
        yield GaugeMetricFamily("workcast_subscriptions", "Workcells that viewers watch.", value=len(lags))
        yield GaugeMetricFamily(
            "workcast_viewer_lag_events", "Events that the slowest viewer is behind.", value=max(lags, default=0)
        )
        summaries = list(self._summaries())
        heads = GaugeMetricFamily("workcast_relay_position", "Events relayed, by workcell.", labels=["workcell"])
        newest = sorted(summaries, key=_last_time, reverse=True)
        for summary in newest[:_MAX_WORKCELLS]:
            heads.add_metric([label(summary.id)], summary.head)
        yield heads
        lines = GaugeMetricFamily("workcast_odd_lines", "Lines that no rule knows, in all logs.", labels=["kind"])
        for kind in ("unknown", "malformed"):
            lines.add_metric([kind], sum(summary.counts.get(kind, 0) for summary in summaries))
        yield lines
        unknown = GaugeMetricFamily(
            "workcast_unknown_lines", "Lines that no rule knows, by agent and version.", labels=["agent"]
        )
        by_version = Counted[str]()
        for summary in summaries:
            for version, count in summary.unknown.items():
                by_version[label(version)] += count
        for version, count in by_version.most_common(_MAX_VERSIONS):
            unknown.add_metric([version], count)
        yield unknown
        heard = GaugeMetricFamily(
            "workcast_relay_heard_seconds", "Seconds since a relay's heartbeat came through the feed.", labels=["relay"]
        )
        for relay, seconds in self._heartbeats().items():
            heard.add_metric([label(relay)], seconds)
        yield heard
