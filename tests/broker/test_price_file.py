from __future__ import annotations

import json
from pathlib import Path

import pytest

from workcast.broker.names import PRICES_VARIABLE
from workcast.broker.price_file import current_prices, usable_prices
from workcast.events.usage import Usage
from workcast.ledger.prices import PricesError, shipped_prices

TABLE = {
    "source": "us",
    "date": "2026-11-22",
    "models": [{"provider": "acme", "match": "acme-1", "prices": [{"input": 3, "output": 4}]}],
}
MILLION = Usage(input_tokens=10**6)


def test_the_table_that_the_environment_names_replaces_the_built_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert current_prices() is usable_prices() is shipped_prices()
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps(TABLE))
    monkeypatch.setenv(PRICES_VARIABLE, str(mine))
    assert current_prices() is usable_prices()
    assert current_prices().source == "us"
    assert current_prices().cost("acme-1", MILLION, one_request=True) == 3 * 10**12
    assert current_prices().cost("claude-opus-5-5", MILLION, one_request=True) is None


@pytest.mark.parametrize("content", [None, "[]"])
def test_an_unusable_table_is_an_error_where_asked_for_and_one_warning_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    path = tmp_path / "mine.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv(PRICES_VARIABLE, str(path))
    with pytest.raises(PricesError, match=f"mine.json.*{PRICES_VARIABLE}"):
        current_prices()
    assert usable_prices() is usable_prices() is shipped_prices()
    assert len(caplog.records) == 1
