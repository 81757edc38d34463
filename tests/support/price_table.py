"""Regenerate ``prices.json`` from the package ``genai-prices``: ``make prices``.

Review the diff before committing it. Models that are not priced by text tokens, or priced by the time of day, and
discounts that agents do not report (batches, service tiers) are left out.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from genai_prices import types
from genai_prices.data_snapshot import get_snapshot

PROVIDERS: Final = ("anthropic", "openai", "google", "deepseek", "mistral", "moonshotai", "x-ai", "zai")
"""Providers that sell their own models; names such as ``openrouter/…`` have their own prices and stay unpriced."""
TARGET: Final = Path(__file__).parents[2] / "core/workcast/ledger/prices.json"
_KINDS: Final = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
}


def table() -> dict[str, Any]:
    """Return the whole table, as JSON values."""
    models: list[dict[str, Any]] = []
    for provider in get_snapshot().providers:
        if provider.id in PROVIDERS:
            found = ((model, prices_of(model)) for model in provider.models)
            models += [
                {"provider": provider.id, "match": pattern(model.match), "prices": prices}
                for model, prices in found
                if prices and (provider.id != "google" or model.id.startswith("gemini"))
            ]
    return {
        "source": f"genai-prices {version('genai-prices')} (MIT licence), https://github.com/pydantic/genai-prices",
        "date": datetime.now(UTC).date().isoformat(),
        "models": models,
    }


def pattern(match: types.MatchLogic) -> str:
    """Return a regular expression that matches a whole name where the clause does."""
    match match:
        case types.ClauseEquals(equals=text):
            return _literal(text)
        case types.ClauseStartsWith(starts_with=text):
            return _literal(text) + ".*"
        case types.ClauseEndsWith(ends_with=text):
            return ".*" + _literal(text)
        case types.ClauseContains(contains=text):
            return ".*" + _literal(text) + ".*"
        case types.ClauseRegex(regex=text):
            return text if text.startswith("^") and text.endswith("$") else f"(?=.*?(?:{text})).*"
        case types.ClauseOr(or_=clauses):
            return "|".join(map(pattern, clauses))
        case types.ClauseAnd(and_=clauses):
            return "".join(f"(?=(?:{pattern(clause)})$)" for clause in clauses) + ".*"


def _literal(text: str) -> str:
    return re.escape(text).replace("\\-", "-")  # only special within brackets


def prices_of(model: types.ModelInfo) -> list[dict[str, Any]]:
    """Return a model's prices, the oldest first; none if the table cannot express them."""
    if isinstance(model.prices, types.ModelPrice):
        return [rates] if (rates := _price(model.prices)) else []
    prices: list[dict[str, Any]] = []
    for conditional in model.prices:
        rates, constraint = _price(conditional.prices), conditional.constraint
        if rates is None or isinstance(constraint, types.TimeOfDateConstraint):
            return []
        since = {} if constraint is None else {"since": constraint.start_date.isoformat()}
        prices.append({**since, **rates})
    return prices


def _price(price: types.ModelPrice) -> dict[str, Any] | None:
    given: dict[str, Decimal | types.TieredPrices] = {
        kind: value for kind, key in _KINDS.items() if (value := getattr(price, key)) is not None
    }
    if "input" not in given or "output" not in given:
        return None
    tiered = [value for value in given.values() if isinstance(value, types.TieredPrices)]
    starts = sorted({tier.start for value in tiered for tier in value.tiers})
    rates: dict[str, Any] = {kind: _at(value, 0) for kind, value in given.items()}
    if starts:
        rates["above"] = [
            {"input_tokens": start, **{kind: _at(value, start + 1) for kind, value in given.items()}}
            for start in starts
        ]
    return rates


def _at(value: Decimal | types.TieredPrices, tokens: int) -> float | int:
    """Return the price for a request of ``tokens`` input tokens."""
    if isinstance(value, types.TieredPrices):
        value = next((tier.price for tier in reversed(value.tiers) if tokens > tier.start), value.base)
    return int(value) if value == int(value) else float(value)


def main() -> None:
    """Write the table, one line per model."""
    data = table()
    models = ",\n".join(json.dumps(model) for model in data.pop("models"))
    head = json.dumps(data, indent=2)[:-2]
    TARGET.write_text(f'{head},\n  "models": [\n{models}\n  ]\n}}\n')


if __name__ == "__main__":
    main()
