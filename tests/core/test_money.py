from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from workcast.ledger.money import (
    Money,
    add,
    format_dollars,
    from_dollars,
    known_dollars,
    reported_amount,
    subtract,
    to_dollars,
)

MONEY = TypeAdapter[int](Money)


@given(st.integers(-2_000 * 10**12, 2_000 * 10**12))
def test_an_amount_survives_json_where_it_is_in_dollars(amount: int) -> None:
    assert float(MONEY.dump_json(amount)) == to_dollars(amount)
    assert MONEY.validate_json(MONEY.dump_json(amount)) == amount
    assert MONEY.validate_python(MONEY.dump_python(amount)) == amount
    assert from_dollars(to_dollars(amount)) == amount


@pytest.mark.parametrize("data", [b'"x"', b"null", b"[]"])
def test_what_is_not_a_number_is_not_an_amount(data: bytes) -> None:
    with pytest.raises(ValidationError):
        MONEY.validate_json(data)


def test_unknown_amounts_are_left_out_of_sums_and_make_differences_unknown() -> None:
    assert (add(1, 2), add(None, 2), add(1, None), add(None, None)) == (3, 2, 1, None)
    assert (subtract(3, 2), subtract(None, 2), subtract(1, None)) == (1, None, None)
    assert (known_dollars(10**12), known_dollars(None)) == (1.0, None)


@pytest.mark.parametrize("value", [None, "1", -0.1, math.nan, math.inf, 2.0**53, []])
def test_an_implausible_amount_is_unknown(value: object) -> None:
    assert reported_amount(value) is None


def test_amounts_are_formatted_with_four_decimals() -> None:
    assert [format_dollars(amount) for amount in (None, 0, 520_000_000_000)] == ["?", "$0.0000", "$0.5200"]
    assert reported_amount(0.52) == 520_000_000_000
