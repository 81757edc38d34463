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

PICO: Final = 10**12
_PICO_PER_TOKEN: Final = 10**6
"""Picodollars a token at one dollar a million tokens."""
_MAX_NAME: Final = 256
_MAX_FOUND: Final = 1024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CONTEXT_SUFFIX: Final = re.compile(r"\[\w{1,8}\]$")
"""``claude-sonnet-5[1m]``: the same model with a longer context, whose price goes by the size of each request."""


class PricesError(WorkcastError):
    """The price table cannot be read."""


def _check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"expected a regular expression, got {pattern!r}: {error}") from error
    return pattern


Dollars = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
"""US dollars a million tokens; counted to six decimals."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rates(_Strict):
    """Prices by kind of token. A cache price that is not given is that of the kind it is a part of."""

    input: Dollars
    output: Dollars
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None
    """Of input that is kept for five minutes, or however long the provider's usual is."""
    cache_write_1h: Dollars | None = None

    def cost(self, usage: Usage) -> int:
        """What these tokens cost, in picodollars. Reasoning is part of the output, cached input of the input."""
        read, written = usage.cache_read_tokens, usage.cache_write_tokens
        long = min(usage.cache_write_1h_tokens, written)
        write_rate = self.input if self.cache_write is None else self.cache_write
        return (
            max(0, usage.input_tokens - read - written) * _pico(self.input)
            + usage.output_tokens * _pico(self.output)
            + read * _pico(self.input if self.cache_read is None else self.cache_read)
            + (written - long) * _pico(write_rate)
            + long * _pico(write_rate if self.cache_write_1h is None else self.cache_write_1h)
        )


class LongRates(Rates):
    """What every token of a request costs whose input is longer than so many tokens."""

    input_tokens: int = Field(gt=0)


class Price(Rates):
    """Rates from a day on."""

    since: date | None = None
    """UTC; None: ever since."""
    above: tuple[LongRates, ...] = ()


class ModelPrices(_Strict):
    """What one model costs, and the names it goes by."""

    provider: str
    match: Annotated[str, AfterValidator(_check_pattern)]
    """A regular expression for the whole of a model's name, in lower case."""
    prices: tuple[Price, ...] = Field(min_length=1)
    """By ``since``, the oldest first."""

    @model_validator(mode="after")
    def _check_order(self) -> ModelPrices:
        days = [price.since or date.min for price in self.prices]
        if days != sorted(set(days)):
            raise ValueError("expected prices whose 'since' grows from each to the next")
        return self


class _TableFile(_Strict):
    source: str
    date: date
    models: tuple[ModelPrices, ...]


class PriceTable:
    """All prices, where they come from, and of which day they are."""

    def __init__(self, data: bytes) -> None:
        """Raises:
        pydantic.ValidationError: ``data`` is no price table.
        """
        table = _TableFile.model_validate_json(data)
        self.source = table.source
        self.date = table.date.isoformat()
        self.fingerprint = sha256(data).hexdigest()[:16]
        """Tells tables apart: what was computed with another one is out of date."""
        self._models = table.models
        self._found: dict[str, tuple[Price, ...] | None] = {}

    def cost(self, model: str | None, usage: Usage, at_ms: int | None = None, *, one_request: bool) -> int | None:
        """What a model's tokens cost, in picodollars; None if the table does not know the model.

        Args:
            model: its name, perhaps after its provider's and a slash.
            usage: what was used.
            at_ms: when, in milliseconds since 1970; None: now. Before a model's first price, that one counts.
            one_request: the tokens are those of one request, so the price for long ones applies to them.
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
        """The prices of the first entry that knows the model by this name."""
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
    """Read a table.

    Raises:
        PricesError: it is malformed; says where.
    """
    try:
        return PriceTable(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the top"
        raise PricesError(f"expected a price table in {name}, got something else at {where}: {first['msg']}") from error


@cache
def shipped_prices() -> PriceTable:
    """Return the table that comes with workcast."""
    return parse_table(files("workcast.ledger").joinpath("prices.json").read_bytes(), "prices.json")


def dollars(picodollars: int) -> float:
    """Picodollars in US dollars."""
    return picodollars / PICO


def picodollars(value: float) -> int:
    """US dollars in picodollars."""
    return round(value * PICO)


def _pico(rate: float) -> int:
    return round(rate * _PICO_PER_TOKEN)


def _day(at_ms: int | None) -> date:
    """The day in UTC of a moment in milliseconds since 1970; of now for None, and where the calendar ends."""
    try:
        return (_EPOCH + timedelta(milliseconds=at_ms)).date() if at_ms is not None else datetime.now(UTC).date()
    except OverflowError:
        return datetime.now(UTC).date()
