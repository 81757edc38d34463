from __future__ import annotations

import pytest
import typer

from workcast.cli.duration import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400), ("500ms", 0.5), ("7d", 604_800), (" 2h ", 7200)],
)
def test_durations_are_parsed(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1w", "1 h", "1e3", ".5s", "٣s"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected a duration like"):
        parse_duration(text)
