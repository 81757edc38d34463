"""Sizes as people write them."""

from __future__ import annotations

import re

import typer

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text: str | int) -> int:
    """Return ``1000000``, ``500M``, ``1.5G`` or ``20GiB`` in bytes, in steps of 1024; a number is in bytes already."""
    if not isinstance(text, str):
        return text
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KMGT]?)(?:I?B)?", text.strip().upper())
    if not match:
        raise typer.BadParameter(f"expected a size like 500M or 20G, got {text!r}")
    return int(float(match[1]) * _UNITS[match[2]]) if "." in match[1] else int(match[1]) * _UNITS[match[2]]
