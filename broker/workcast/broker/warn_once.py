"""Logs a problem once, however often it comes up."""

from __future__ import annotations

import logging


class WarnOnce:
    """Logs each problem once, until its message changes or it has passed; not safe for several threads.

    Args:
        logger: where to.
        level: of the messages.
    """

    def __init__(self, logger: logging.Logger, level: int = logging.WARNING) -> None:
        self._logger = logger
        self._level = level
        self._known: dict[str, str] = {}

    def warn(self, about: str, message: str, unexpected: BaseException | None = None) -> None:
        """Log a message, unless it is the last one about the same thing.

        Args:
            about: what has the problem: a workcell, a server.
            message: for a person.
            unexpected: an error whose traceback is logged too.
        """
        problem = message if unexpected is None else f"{message}: {unexpected!r}"
        if self._known.get(about) != problem:
            self._known[about] = problem
            self._logger.log(self._level, "%s", message, exc_info=unexpected)

    def passed(self, about: str) -> bool:
        """Record that a problem has passed, so that the next one is logged; whether there was one."""
        return self._known.pop(about, None) is not None
