"""A token bucket: an allowance that refills at a steady rate."""

from __future__ import annotations


class TokenBucket:
    """Holds up to ``burst`` tokens, refilled at ``rate`` a second; it may be overdrawn. Times are in seconds."""

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate, self.burst = rate, burst
        self._level, self._at = burst, now

    def take(self, amount: float, now: float) -> None:
        """Take tokens, whether or not there are enough."""
        self._level = self.level(now) - amount
        self._at = now

    def level(self, now: float) -> float:
        """Return how many tokens there are, below 0 while overdrawn."""
        return min(self.burst, self._level + (now - self._at) * self.rate)

    def wait(self, now: float) -> float:
        """Return the seconds until it is no longer overdrawn."""
        return max(0.0, -self.level(now) / self.rate)
