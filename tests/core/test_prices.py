from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from pydantic import ValidationError

from support.price_table import prices_of, table
from workcast.events.usage import Usage
from workcast.ledger.money import to_dollars
from workcast.ledger.prices import PricesError, parse_table, shipped_prices
from workcast.ledger.summary import Fold

MILLION = Usage(input_tokens=10**6)


def small(**changes: Any) -> bytes:
    prices = [{"input": 1, "output": 2}, {"since": "2026-06-01", "input": 3, "output": 4}]
    models = [{"provider": "acme", "match": "acme-\\d+", "prices": prices}]
    return json.dumps({"source": "us", "date": "2026-11-22", "models": models, **changes}).encode()


def day(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_each_kind_of_token_has_its_price_and_none_is_charged_twice() -> None:
    prices = [{"input": 10, "output": 100, "cache_read": 1, "cache_write": 12, "cache_write_1h": 20}]
    prices_table = parse_table(small(models=[{"provider": "a", "match": "m", "prices": prices}]), "t")
    usage = Usage(
        input_tokens=1000, output_tokens=50, cache_read_tokens=600, cache_write_tokens=300, cache_write_1h_tokens=100,
        reasoning_tokens=40,
    )  # fmt: skip
    cost = prices_table.cost("m", usage, one_request=True)
    assert cost is not None
    assert to_dollars(cost) == (100 * 10 + 50 * 100 + 600 * 1 + 200 * 12 + 100 * 20) / 10**6


def test_a_price_applies_from_its_day_onwards() -> None:
    acme = parse_table(small(), "t")
    for when, dollar in (("2025-01-01", 1), ("2026-05-31T23:59:59", 1), ("2026-06-01", 3), ("2030-01-01", 3)):
        assert acme.cost("acme-1", MILLION, day(when), one_request=False) == dollar * 10**12


@pytest.mark.parametrize(
    ("model", "known"),
    [("acme-1", True), ("ACME-1", True), ("acme/acme-1", True), ("acme-1[1m]", True), ("other/acme-1", False),
     ("acme-x", False), ("xacme-1", False), ("", False), (None, False), ("acme-1" * 100, False)],
)  # fmt: skip
def test_a_model_is_matched_by_its_whole_name(model: str | None, known: bool) -> None:
    assert (parse_table(small(), "t").cost(model, MILLION, one_request=False) is not None) == known


def test_a_long_request_costs_more_but_many_short_ones_do_not() -> None:
    usage = Usage(input_tokens=300_000)
    above = [{"input_tokens": 200_000, "input": 5, "output": 9}]
    prices = [{"input": 1, "output": 2, "above": above}]
    long = parse_table(small(models=[{"provider": "a", "match": "m", "prices": prices}]), "t")
    assert long.cost("m", usage, one_request=True) == 5 * 300_000 * 10**6
    assert long.cost("m", usage, one_request=False) == 300_000 * 10**6
    assert long.cost("m", Usage(input_tokens=200_000), one_request=True) == 200_000 * 10**6


def test_the_built_in_table_names_its_source_and_date() -> None:
    ours = shipped_prices()
    assert "genai-prices" in ours.source
    assert ours.date == datetime.fromisoformat(ours.date).date().isoformat()
    opus = Usage(input_tokens=30_445, output_tokens=15, cache_read_tokens=15_000, cache_write_tokens=15_420)
    assert ours.cost("claude-opus-5-5", opus, one_request=True) == 80_500_000_000


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"no json", "the top"),
        (b"[]", "the top"),
        (small(source=None), "source"),
        (small(date="yesterday"), "date"),
        (small(models=[{"provider": "a", "match": "(", "prices": [{"input": 1, "output": 1}]}]), "models.0.match"),
        (small(models=[{"provider": "a", "match": "m", "prices": []}]), "models.0.prices"),
        (small(models=[{"provider": "a", "match": "m", "prices": [{"input": -1, "output": 1}]}]), "prices.0.input"),
        (small(models=[{"provider": "a", "match": "m", "prices": [{"input": 1, "output": 1, "outptu": 1}]}]), "outptu"),
        (small(models=[{"provider": "a", "match": "m", "prices": [{"input": 1, "output": 1}] * 2}]), "models.0"),
    ],
)
def test_a_malformed_table_is_refused_with_the_place_of_the_error(data: bytes, where: str) -> None:
    with pytest.raises(PricesError, match=where):
        parse_table(data, "mine.json")


def test_a_fold_whose_costs_were_computed_with_another_table_is_not_restored() -> None:
    state = Fold().to_state()
    assert Fold.from_state(state, shipped_prices()).tally.prices is shipped_prices()
    with pytest.raises(ValidationError, match="expected the fingerprint of the price table"):
        Fold.from_state(state, parse_table(small(), "t"))
    del state["tally"]["prices"]
    states: list[object] = [state, {"offset": 5}, {}, None, []]
    for unknown in states:
        with pytest.raises(ValidationError):
            Fold.from_state(unknown, shipped_prices())


def test_the_built_table_computes_the_same_costs_as_its_source() -> None:
    made = parse_table(json.dumps(table()).encode(), "made")
    when = datetime(2026, 11, 22, tzinfo=UTC)
    usages = [
        Usage(input_tokens=5000, output_tokens=700, cache_read_tokens=3000, cache_write_tokens=1000),
        Usage(input_tokens=900_000, output_tokens=3000, cache_read_tokens=1000),
    ]
    compared = 0
    for provider in get_snapshot().providers:
        for model in provider.models if provider.id in {"anthropic", "openai"} else ():
            if provider.find_model(model.id) is not model or not prices_of(model):
                continue
            for usage in usages:
                ours = made.cost(f"{provider.id}/{model.id}", usage, day(when.date().isoformat()), one_request=True)
                assert ours is not None
                theirs = model.calc_price(
                    genai_prices.Usage(**{name: count for name, count in usage if name in THEIR_KINDS}),
                    provider,
                    genai_request_timestamp=when,
                )
                assert Decimal(ours) / 10**12 == theirs.total_price, model.id
                compared += 1
    assert compared > 100


THEIR_KINDS = {"input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"}
