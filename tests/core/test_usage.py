from __future__ import annotations

from workcast.events.usage import Usage


def test_counts_are_added_and_subtracted_by_kind() -> None:
    one = Usage(input_tokens=1, output_tokens=2, cache_read_tokens=3, cache_write_tokens=4, reasoning_tokens=5)
    assert one + one == Usage(
        input_tokens=2, output_tokens=4, cache_read_tokens=6, cache_write_tokens=8, reasoning_tokens=10
    )
    assert one + one - one == one
    assert (Usage() - one).at_least_zero() == Usage()
    assert one.total == 3
