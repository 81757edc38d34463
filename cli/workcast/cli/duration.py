"""Durations as people write them."""

from __future__ import annotations

import re

import typer

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(text: str | float) -> float:
    """Return ``90``, ``90s``, ``30m``, ``1.5h``, ``7d`` or ``500ms`` in seconds; a number is in seconds already."""
    if not isinstance(text, str):
        return text
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|)", text.strip())
    if not match:
        raise typer.BadParameter(f"expected a duration like 90s, 30m or 2h, got {text!r}")
    return float(match[1]) * _UNITS[match[2]]
