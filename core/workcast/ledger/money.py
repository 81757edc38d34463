"""Amounts of money: whole picodollars (10⁻¹² US dollars), so sums are exact in any order.

Dollars as floating-point numbers exist only at the edges: in JSON, and in what people type and read.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import PlainSerializer, ValidationInfo, ValidatorFunctionWrapHandler, WithJsonSchema, WrapValidator

_PICO: Final = 10**12
_MAX_DOLLARS: Final = 2**53
"""A larger amount is taken for an error of the agent."""


def from_dollars(dollars: float) -> int:
    """Convert US dollars to picodollars."""
    return round(dollars * _PICO)


def to_dollars(amount: int) -> float:
    """Convert picodollars to US dollars."""
    return amount / _PICO


def known_dollars(amount: int | None) -> float | None:
    """Like :func:`to_dollars`; None stays None."""
    return None if amount is None else to_dollars(amount)


def reported_amount(value: object) -> int | None:
    """Convert what an agent reports as US dollars; None if it is not a plausible amount."""
    return from_dollars(value) if isinstance(value, int | float) and 0 <= value < _MAX_DOLLARS else None


def add(one: int | None, other: int | None) -> int | None:
    """Add two amounts; an unknown one counts as nothing, unless both are unknown."""
    return other if one is None else one if other is None else one + other


def subtract(one: int | None, other: int | None) -> int | None:
    """Subtract two amounts; None if either is unknown."""
    return None if one is None or other is None else one - other


def format_dollars(amount: int | None) -> str:
    """Format an amount as ``$0.1234``, an unknown one as ``?``."""
    return "?" if amount is None else f"${to_dollars(amount):.4f}"


def _validate(value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> int:
    if info.mode == "json" and isinstance(value, int | float):
        value = from_dollars(value)
    amount: int = validate(value)
    return amount


Money = Annotated[
    int,
    WrapValidator(_validate),
    PlainSerializer(to_dollars, return_type=float, when_used="json"),
    WithJsonSchema({"type": "number"}),
]
"""An amount in picodollars; in JSON it is in US dollars, exact up to $2,000, then to 15 digits."""
