from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from support.logs import write_log
from support.processes import refusal, served, workcast
from workcast.broker.root import Root

LINES = [
    json.dumps(event).encode()
    for event in (
        {"type": "started", "timestamp": "2026-11-22T08:00:00Z", "toolchain": "claude", "model": "claude-opus-5-5"},
        {"type": "tool_call", "timestamp": "2026-11-22T08:00:01Z", "tool": "B\x1b[31mash", "call_id": "c"},
        {"type": "tool_result", "timestamp": "2026-11-22T08:00:03Z", "tool": "Bash", "call_id": "c"},
        {"type": "usage", "usage": {"input_tokens": 10**6}, "message_id": "m"},
        {"type": "usage", "usage": {"input_tokens": 5}, "message_id": "n", "model": "unlisted-model"},
        {"type": "completed", "timestamp": "2026-11-22T08:00:10Z", "status": "success", "cost_usd": 4.25},
    )
]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Root(tmp_path_factory.mktemp("filled"))
    write_log(root, "wc", LINES)
    return root.directory


@pytest.fixture(scope="module", params=["files", "gateway"])
def place(request: pytest.FixtureRequest, filled: Path) -> Generator[Path]:
    """The root, without and with an ``up`` that serves it."""
    with served(filled, request.param, {"wc": len(LINES)}):
        yield filled


def account_lines(root: Path, *options: str, env: dict[str, str] | None = None) -> list[dict[str, Any]]:
    done = workcast("account", "wc", "--root", str(root), "--json", *options, env=env)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_totals_and_rows_are_printed_as_text_and_as_json(place: Path) -> None:
    totals, run = account_lines(place)
    assert (totals["workcell"], totals["head"]) == ("wc", len(LINES))
    assert totals["totals"]["cost_usd"] == 4.25
    assert totals["totals"]["unpriced"] == ["unlisted-model"]
    assert (run["duration_ms"], run["tools_ms"], run["status"]) == (10_000, 2_000, "success")
    assert [row["message_id"] for row in account_lines(place, "--rows", "messages")[1:]] == ["m", "n"]
    done = workcast("account", "wc", "--root", str(place), "--rows", "calls")
    text = done.stdout.decode()
    for words in (
        "1 run, 2 messages, 1 call\n",
        "$4.2500 as reported",
        "without unlisted-model",
        "2.0 s",
        "genai-prices",
    ):
        assert words in text
    assert "\x1b" not in text


def test_an_unknown_workcell_is_reported_in_one_sentence(place: Path) -> None:
    assert "absent" in refusal(workcast("account", "absent", "--root", str(place)))
    assert "expected a workcell id" in refusal(workcast("account", "../x", "--root", str(place)), 2)


def test_a_custom_price_table_is_used_and_a_malformed_one_is_refused(tmp_path: Path) -> None:
    write_log(Root(tmp_path), "wc", LINES)
    table = tmp_path / "prices.json"
    models = [{"provider": "x", "match": ".*", "prices": [{"input": 2, "output": 2}]}]
    table.write_text(json.dumps({"source": "us", "date": "2026-01-01", "models": models}))
    totals = account_lines(tmp_path, env={"WORKCAST_PRICES": str(table)})[0]
    assert (totals["prices"]["source"], totals["totals"]["cost_computed_usd"]) == ("us", 2.00001)
    table.write_text("{}")
    for verb in (("account", "wc"), ("ls",), ("serve", "--redis-url", "redis://127.0.0.1:1")):
        done = workcast(*verb, "--root", str(tmp_path), env={"WORKCAST_PRICES": str(table)})
        assert "expected a price table" in refusal(done)
