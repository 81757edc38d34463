"""Which agents can be held to limits, and by which prices."""

from __future__ import annotations

from workcast.broker.price_file import current_prices, usable_prices
from workcast.ledger.limits import LimitError, Limits
from workcast.ledger.prices import PriceTable
from workcast.producer.adapters.base import Adapter


def check_limits(limits: Limits, kind: type[Adapter]) -> PriceTable:
    """Return the price table for a run, after checking that the agent can be held to its limits.

    Raises:
        LimitError: there is a limit, and the agent reports neither tokens nor costs.
        PricesError: there is a budget, and the price table is unusable.
    """
    if limits.kind is not None and not kind.takes_prompt:
        name = limits.kind.replace("_", "-")
        raise LimitError(f"expected an agent that reports its tokens, got {kind.name} with --{name}; leave it out")
    return usable_prices() if limits.budget_usd is None else current_prices()
