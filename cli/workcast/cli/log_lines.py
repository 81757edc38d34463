"""What workcast logs, on stderr: a line a record, however wide the terminal is."""

from __future__ import annotations

import logging

from workcast.cli.printable import printable


class LogLines(logging.Formatter):
    """``workcast: <message>``, as errors are told; with ``timed``, the time and the level as well."""

    def __init__(self, *, timed: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s workcast: %(message)s" if timed else "workcast: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Safe for a terminal; a traceback keeps its lines."""
        return printable(super().format(record), keep="\n" if record.exc_info else "")


def log_to_stderr(*, verbose: bool, timed: bool) -> None:
    """Log warnings there, and with ``verbose`` more."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogLines(timed=timed))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
