"""The figures of a run as the index keeps them."""

from __future__ import annotations

from typing import Final

import msgspec

from workcast.ledger.figures import RunFigures

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(RunFigures)


def encode_run(figures: RunFigures) -> bytes:
    """Encode the figures of a run."""
    return _ENCODER.encode(figures)


def decode_run(data: bytes) -> RunFigures:
    """Decode the figures of a run.

    Raises:
        ValueError: they are damaged.
    """
    return _DECODER.decode(data)
