"""Messages for the user on stderr, which may have no reader any more: that is no reason to end with an error."""

from __future__ import annotations

import sys
from contextlib import suppress


def say(text: str) -> None:
    """Write a line to stderr, if it can be written."""
    with suppress(OSError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
