"""Heartbeats: the time of each relay's last one in the feed."""

from __future__ import annotations

from typing import Final

_FORGET_SECONDS: Final = 600.0
_MAX_RELAYS: Final = 256
"""Relays that are kept apart, each a label of a metric; of more, the ones that have been silent longest are dropped."""
_MAX_NAME: Final = 128
"""Characters of a relay's name."""


class Heartbeats:
    """The relays with a recent heartbeat, at most 256; one that is silent for ten minutes is forgotten."""

    def __init__(self) -> None:
        self._heard: dict[str, float] = {}
        """The time of each relay's last heartbeat, the newest last."""
        self._newest: float | None = None

    def record(self, relay: bytes, now: float) -> None:
        """Note a heartbeat; ``now`` is of the event loop's clock, in seconds."""
        name = relay[: 4 * _MAX_NAME].decode(errors="replace")[:_MAX_NAME]
        self._heard.pop(name, None)
        self._heard[name] = self._newest = now
        while len(self._heard) > _MAX_RELAYS or self._oldest() < now - _FORGET_SECONDS:
            del self._heard[next(iter(self._heard))]

    def silence(self, now: float) -> float | None:
        """Return the seconds since the last heartbeat of any relay; None if there was none."""
        return None if self._newest is None else now - self._newest

    def ages(self, now: float) -> dict[str, float]:
        """Return the seconds since each relay's last heartbeat."""
        return {name: now - at for name, at in self._heard.items() if at >= now - _FORGET_SECONDS}

    def _oldest(self) -> float:
        return next(iter(self._heard.values()))
