"""The price table that is in force: the file that ``WORKCAST_PRICES`` names, else the built-in one."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

from workcast.broker.environment import read_environment
from workcast.broker.names import PRICES_VARIABLE
from workcast.ledger.prices import PricesError, PriceTable, parse_table, shipped_prices


@lru_cache(maxsize=8)
def load_prices(path: Path) -> PriceTable:
    """Load a table from a file; each file is read once.

    Raises:
        PricesError: the file cannot be read, or is not a price table.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PricesError(
            f"expected a price table at {path}, which cannot be read: {error.strerror}; check {PRICES_VARIABLE}"
        ) from error
    try:
        return parse_table(data, str(path))
    except PricesError as error:
        raise PricesError(f"{error}; correct it, or unset {PRICES_VARIABLE} to use the built-in table") from error


def current_prices() -> PriceTable:
    """Return the table that ``WORKCAST_PRICES`` names, else the built-in one.

    Raises:
        PricesError: the file cannot be read, or is not a price table.
    """
    named = read_environment().prices
    return load_prices(Path(named).absolute()) if named else shipped_prices()


def usable_prices() -> PriceTable:
    """Like :func:`current_prices`, but falls back to the built-in table, with one warning, if the file is unusable."""
    try:
        return current_prices()
    except PricesError as error:
        return _fall_back(str(error))


@lru_cache(maxsize=8)
def _fall_back(problem: str) -> PriceTable:
    logging.getLogger("workcast").warning("%s; using the built-in table instead", problem)
    return shipped_prices()
