"""Token usage, as events report it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from operator import add, sub

from workcast.events.frozen import Frozen, make


class Usage(Frozen):
    """Tokens by kind. ``input_tokens`` counts cached input too (the OpenTelemetry GenAI convention)."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    """Those among ``cache_write_tokens`` that are kept for an hour, and cost more."""
    reasoning_tokens: int = 0

    @classmethod
    def of(cls, counts: Iterable[int]) -> Usage:
        """From the tokens of each kind, in the order of :meth:`counts`."""
        return make(cls, **dict(zip(cls.model_fields, counts, strict=True)))

    def counts(self) -> Collection[int]:
        """The tokens of each kind, in the order of the fields."""
        return self.__dict__.values()

    def __add__(self, other: Usage) -> Usage:
        return Usage.of(map(add, self.counts(), other.counts()))

    def __sub__(self, other: Usage) -> Usage:
        """Kind by kind; a kind may come out negative."""
        return Usage.of(map(sub, self.counts(), other.counts()))

    def at_least_zero(self) -> Usage:
        """With 0 in place of each negative kind."""
        return Usage.of(max(0, tokens) for tokens in self.counts())


class ModelUsage(Frozen):
    """What a run took of one model, as the agent told it."""

    model: str
    usage: Usage
    cost_usd: float | None = None
