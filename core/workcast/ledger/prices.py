"""What tokens cost: a dated table. ``prices.json`` is the built-in one; docs/operations.md describes the format."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from workcast.events.errors import WorkcastError
from workcast.events.usage import Usage
from workcast.ledger.money import from_dollars

_PER_TOKEN: Final = 10**6
"""Tokens that a price is given for."""
_MAX_NAME: Final = 256
_MAX_FOUND: Final = 1024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CONTEXT_SUFFIX: Final = re.compile(r"\[\w{1,8}\]$")
"""As in ``claude-sonnet-5[1m]``: the same model with a longer context; its price depends on each request's size."""


class PricesError(WorkcastError):
    """A price table cannot be read, or is malformed."""


def _check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"expected a regular expression, got {pattern!r}: {error}") from error
    return pattern


Dollars = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
"""US dollars per million tokens; significant to six decimals."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rates(_Strict):
    """Prices by kind of token; a cache price that is not given is that of the kind it is part of."""

    input: Dollars
    output: Dollars
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None
    """Of input that is cached for the provider's usual time (Anthropic: five minutes)."""
    cache_write_1h: Dollars | None = None

    def cost(self, usage: Usage) -> int:
        """Return the cost in picodollars. Reasoning is part of the output, cached input part of the input."""
        read, written = usage.cache_read_tokens, usage.cache_write_tokens
        long = min(usage.cache_write_1h_tokens, written)
        write_rate = self.input if self.cache_write is None else self.cache_write
        return (
            max(0, usage.input_tokens - read - written) * _per_token(self.input)
            + usage.output_tokens * _per_token(self.output)
            + read * _per_token(self.input if self.cache_read is None else self.cache_read)
            + (written - long) * _per_token(write_rate)
            + long * _per_token(write_rate if self.cache_write_1h is None else self.cache_write_1h)
        )


class LongRates(Rates):
    """Rates for all tokens of requests with more input than this many tokens."""

    input_tokens: int = Field(gt=0)


class Price(Rates):
    """Rates from a day onwards."""

    since: date | None = None
    """In UTC; None: from the beginning."""
    above: tuple[LongRates, ...] = ()


class ModelPrices(_Strict):
    """The prices of one model, and its names."""

    provider: str
    match: Annotated[str, AfterValidator(_check_pattern)]
    """A regular expression for the whole of a model's name in lower case."""
    prices: tuple[Price, ...] = Field(min_length=1)
    """Ordered by ``since``."""

    @model_validator(mode="after")
    def _check_order(self) -> ModelPrices:
        days = [price.since or date.min for price in self.prices]
        if days != sorted(set(days)):
            raise ValueError("expected prices in ascending order of 'since', no two of the same day")
        return self


class _TableFile(_Strict):
    source: str
    date: date
    models: tuple[ModelPrices, ...]


class PriceTable:
    """All prices, their source and their date.

    Raises:
        pydantic.ValidationError: ``data`` is not a price table.
    """

    def __init__(self, data: bytes) -> None:
        table = _TableFile.model_validate_json(data)
        self.source = table.source
        self.date = table.date.isoformat()
        self.fingerprint = sha256(data).hexdigest()[:16]
        """Identifies the table: costs that were computed with another one are out of date."""
        self._models = table.models
        self._found: dict[str, tuple[Price, ...] | None] = {}

    def cost(self, model: str | None, usage: Usage, at_ms: int | None = None, *, one_request: bool) -> int | None:
        """Return the cost of a model's tokens in picodollars; None if the table does not have the model.

        Args:
            model: its name, optionally as ``provider/name``.
            usage: the tokens.
            at_ms: when, in milliseconds since 1970; None: now. Before a model's first price, that one applies.
            one_request: whether the tokens are those of one request, so that prices for long requests apply.
        """
        prices = self._find(model[:_MAX_NAME]) if model else None
        if prices is None:
            return None
        day = _day(at_ms)
        price = next((p for p in reversed(prices) if p.since is None or p.since <= day), prices[0])
        rates: Rates = price
        if one_request:
            for long in sorted(price.above, key=lambda rates: rates.input_tokens):
                rates = long if usage.input_tokens > long.input_tokens else rates
        return rates.cost(usage)

    def _find(self, model: str) -> tuple[Price, ...] | None:
        """Return the prices of the first entry that matches the model's name."""
        if model not in self._found:
            if len(self._found) >= _MAX_FOUND:
                self._found.clear()
            name = _CONTEXT_SUFFIX.sub("", model.lower())
            provider, _, rest = name.partition("/")
            self._found[model] = next(
                (
                    known.prices
                    for known in self._models
                    if re.fullmatch(known.match, name)
                    or (provider == known.provider and re.fullmatch(known.match, rest))
                ),
                None,
            )
        return self._found[model]


def _same_table(fingerprint: object, info: ValidationInfo) -> PriceTable:
    table = info.context
    if isinstance(table, PriceTable) and fingerprint == table.fingerprint:
        return table
    raise ValueError(f"expected the fingerprint of the price table in the validation context, got {fingerprint!r}")


TableInState = Annotated[PriceTable, PlainValidator(_same_table), PlainSerializer(lambda table: table.fingerprint)]
"""A table in the state of a fold: saved as its fingerprint, restored as the validation context if that is equal."""


def parse_table(data: bytes, name: str) -> PriceTable:
    """Parse a table; ``name`` is that of its file, for the error message.

    Raises:
        PricesError: it is malformed; the message says where.
    """
    try:
        return PriceTable(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the top"
        raise PricesError(f"expected a price table in {name}, got something else at {where}: {first['msg']}") from error


@cache
def shipped_prices() -> PriceTable:
    """Return the built-in table."""
    return parse_table(files("workcast.ledger").joinpath("prices.json").read_bytes(), "prices.json")


def _per_token(rate: float) -> int:
    """Convert US dollars per million tokens to picodollars per token."""
    return round(from_dollars(rate) / _PER_TOKEN)


def _day(at_ms: int | None) -> date:
    """Return the UTC day of a moment in milliseconds since 1970; today for None, or outside the calendar."""
    try:
        return (_EPOCH + timedelta(milliseconds=at_ms)).date() if at_ms is not None else datetime.now(UTC).date()
    except OverflowError:
        return datetime.now(UTC).date()
