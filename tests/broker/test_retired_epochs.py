"""The epochs of a workcell's earlier logs: bounded, whatever happens to the file."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from workcast.broker.log_state import LogState


@pytest.fixture
def state(tmp_path: Path) -> LogState:
    return LogState(tmp_path / ".workcells" / ".workcast", "wc")


def test_only_the_oldest_of_very_many_epochs_are_dropped(state: LogState, tmp_path: Path) -> None:
    epochs = [10**14 + number for number in range(20_000)]
    path = tmp_path / ".workcells" / ".workcast" / "wc.retired"
    for start in range(0, len(epochs), 500):
        state.retire_epochs(frozenset(epochs[start : start + 500]))
        known = state.retired_epochs()
        assert known == set(epochs[: start + 500][-len(known) :])
        assert len(known) >= min(start + 500, 2000)
        assert path.stat().st_size < 100_000


def test_a_line_that_was_cut_off_spoils_no_other(state: LogState, tmp_path: Path) -> None:
    state.retire_epochs(frozenset({1, 2}))
    path = tmp_path / ".workcells" / ".workcast" / "wc.retired"
    path.write_bytes(path.read_bytes() + b"12")
    state.retire_epochs(frozenset({345}))
    assert state.retired_epochs() >= {1, 2, 345}


def test_epochs_that_are_retired_at_once_are_all_kept(state: LogState) -> None:
    def retire(first: int) -> None:
        for number in range(100):
            state.retire_epochs(frozenset({10**14 + first + number}))

    state.retire_epochs(frozenset(range(10**13, 10**13 + 4500)))  # the next one shortens it
    threads = [threading.Thread(target=retire, args=(1000 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state.retired_epochs() >= {10**14 + 1000 * number + each for number in range(4) for each in range(100)}
