"""Log records on stderr: one line each, however wide the terminal is."""

from __future__ import annotations

import logging

from workcast.cli.printable import printable


class LogLines(logging.Formatter):
    """Formats ``workcast: <message>``, like errors; with ``timed``, after the time and the level."""

    def __init__(self, *, timed: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s workcast: %(message)s" if timed else "workcast: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return a record that is safe for a terminal; a traceback keeps its lines."""
        return printable(super().format(record), keep="\n" if record.exc_info else "")


def log_to_stderr(*, verbose: bool, timed: bool) -> None:
    """Log warnings to stderr; with ``verbose`` more."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogLines(timed=timed))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
