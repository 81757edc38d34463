"""The reason of a failed run whose agent reported no error: what it wrote to stderr, and how it ended."""

from __future__ import annotations

import os
import re
import signal
from typing import IO, Final

from workcast.events.models import Unknown
from workcast.producer.lines import MAX_LINE_BYTES

STDERR_TAIL_BYTES: Final = 4096
HARMLESS: Final = re.compile(
    r"(WARNING: proceeding, even though we could not (create|update) PATH"
    r"|Reading (prompt|additional input) from stdin\.\.\.).*"
)
"""Lines that Codex also writes in every successful run."""


def last_words(agent: str, exit_code: int, stderr: IO[bytes], longest_cut: int = 0) -> str:
    """Return the end of what the agent wrote to stderr, else how it ended.

    Args:
        agent: its name.
        exit_code: as a shell reports it: 128 + N for a death by signal N.
        stderr: a file with everything that it wrote there.
        longest_cut: the bytes of the longest line of its stdout that was too long to be read; 0: none was.
    """
    size = stderr.seek(0, os.SEEK_END)
    start = stderr.seek(max(0, size - STDERR_TAIL_BYTES))
    text = stderr.read().decode("utf-8", "replace")
    lines = text.splitlines(keepends=True)
    kept = [line for index, line in enumerate(lines) if not HARMLESS.fullmatch(line.strip()) or (start and not index)]
    printed = "".join(kept).strip()
    killed = _signal_of(exit_code)
    if printed and killed is None and not longest_cut:
        return printed
    how = f"{agent} {'ended with exit code ' + str(exit_code) if killed is None else 'was killed by ' + killed}"
    if longest_cut:
        limit = MAX_LINE_BYTES >> 20
        how += f"; a line of {longest_cut:,} bytes on its stdout was not read, as it is over the limit of {limit} MiB"
    if printed:
        return f"{printed}\n{how}"
    return how if killed is not None or longest_cut else f"{how} and reported neither a result nor an error"


def cut_bytes(event: Unknown) -> int:
    """Return the length of the line whose beginning an ``unknown`` event has; 0 if it has the whole line."""
    truncated: object = (event.model_extra or {}).get("truncated")
    return truncated["bytes"] if isinstance(truncated, dict) else 0  # pyright: ignore[reportUnknownVariableType]


def _signal_of(exit_code: int) -> str | None:
    try:
        return f"signal {exit_code - 128} ({signal.Signals(exit_code - 128).name})" if exit_code > 128 else None
    except ValueError:
        return None
