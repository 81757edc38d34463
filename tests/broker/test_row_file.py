from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from workcast.broker.row_file import RowFile
from workcast.events.usage import Usage
from workcast.ledger.row_store import MemoryRows, RowStore
from workcast.ledger.rows import SubagentRow

ROW = SubagentRow(
    run=1, offset=0, call_id="c", model=None, started=None, duration_ms=None, tools_ms=0, messages=0, calls=0,
    usage=Usage(input_tokens=3), cost_computed=123_456_789_012,
)  # fmt: skip


@pytest.mark.parametrize("new_store", [RowFile, MemoryRows])
def test_rows_can_be_changed_after_they_were_spilled_and_keep_their_places(
    new_store: Callable[[type[SubagentRow]], RowStore[SubagentRow]],
) -> None:
    store = new_store(SubagentRow)
    for number in range(5000):
        store.add(str(number), replace(ROW, run=number))
    for number in (0, 4999, 17):
        changed = store.get(str(number))
        assert changed is not None
        assert changed == replace(ROW, run=number)
        changed.calls = 1
        store.put(str(number), changed)
    assert store.get("missing") is None
    assert store.count == 5000
    rows = [json.loads(data) for data in store.page(0, 10_000)]
    assert [row["run"] for row in rows] == list(range(5000))
    assert [row["run"] for row in rows if row["calls"]] == [0, 17, 4999]
    assert [json.loads(data)["run"] for data in store.page(4990, 100)] == list(range(4990, 5000))
    assert rows[0]["cost_computed_usd"] == 0.123456789012
