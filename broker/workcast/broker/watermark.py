"""The watermark: a place in a log up to which its lines were shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EPOCHS: Final = range(1, 1 << 48)
"""0 stands for a log without a line."""
BASES: Final = range(1 << 52)
"""The broker's scripts and browsers count in doubles, exact below 2^53: the other half is for the lines that follow."""
HEADS: Final = range(1 << 53)


@dataclass(frozen=True, slots=True)
class Watermark:
    """The lines of ``epoch`` below ``head`` were shown. Epoch 0: nothing was."""

    epoch: int = 0
    head: int = 0
    crc: int | None = None
    """CRC-32 of the line before ``head``; None if it is not known."""
    base: int = 0
    inode: int | None = None
    """The file whose lines were shown; None if it is not known."""
    origin: str = ""
    """The root whose relay published them; empty if it is not known."""
