from __future__ import annotations

from typing import get_args

import pytest

from workcast.ledger.lost import STALE_S, WriterSigns, as_lost, is_lost
from workcast.ledger.open_calls import OpenCall
from workcast.ledger.summary import Summary, WorkcellStatus


@pytest.mark.parametrize(
    ("signs", "gone"),
    [
        (None, False),  # no process of ours ever held the lock
        (WriterSigns(lock_is_held=True, heartbeat_age_s=0), False),
        (WriterSigns(lock_is_held=True, heartbeat_age_s=3600), False),  # a process that was stopped, or a frozen clock
        (WriterSigns(lock_is_held=False, heartbeat_age_s=STALE_S - 0.1), False),  # a lock that is not shared
        (WriterSigns(lock_is_held=False, heartbeat_age_s=-STALE_S + 0.1), False),
        (WriterSigns(lock_is_held=False, heartbeat_age_s=STALE_S), True),
        (WriterSigns(lock_is_held=False, heartbeat_age_s=-3600), True),  # written before the clock was set back
    ],
)
@pytest.mark.parametrize("status", get_args(WorkcellStatus))
def test_a_run_is_lost_if_it_has_no_end_and_neither_lock_nor_heartbeat(
    status: WorkcellStatus, signs: WriterSigns | None, gone: bool
) -> None:
    assert is_lost(status, signs) == (gone and status in {"new", "running"})


def test_nothing_goes_on_in_a_lost_run() -> None:
    summary = Summary(id="w", status="running", head=7, open_calls=[OpenCall("c", "Bash")], activity="$ make")
    assert as_lost(summary) == Summary(id="w", status="lost", head=7)
