"""Token usage, as events report it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from operator import add, sub

from workcast.events.frozen import Frozen, make


class Usage(Frozen):
    """Token counts by kind; ``input_tokens`` includes cached input (the OpenTelemetry GenAI convention)."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    """The part of ``cache_write_tokens`` that is cached for an hour, at a higher price."""
    reasoning_tokens: int = 0

    @classmethod
    def of(cls, counts: Iterable[int]) -> Usage:
        """Build from the count of each kind, in the order of :meth:`counts`."""
        return make(cls, **dict(zip(cls.model_fields, counts, strict=True)))

    def counts(self) -> Collection[int]:
        """Return the count of each kind, in field order."""
        return self.__dict__.values()

    @property
    def total(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage.of(map(add, self.counts(), other.counts()))

    def __sub__(self, other: Usage) -> Usage:
        """Subtract kind by kind; counts may become negative."""
        return Usage.of(map(sub, self.counts(), other.counts()))

    def at_least_zero(self) -> Usage:
        """Replace negative counts by 0."""
        return Usage.of(max(0, tokens) for tokens in self.counts())


class ModelUsage(Frozen):
    """What a run used of one model, as the agent reported it."""

    model: str
    usage: Usage
    cost_usd: float | None = None
