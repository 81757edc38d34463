"""What a client does wrong, logged in one line at debug: it is not the server's fault, and any client can repeat it."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter


class ClientLog(Adapter):
    """A logger of uvicorn or websockets whose warnings, and reports of a failed handshake, are about the client."""

    @property
    def level(self) -> int:
        """The logger's own, which uvicorn reads."""
        return self.logger.level

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log what is no error at debug, without a traceback."""
        if level <= logging.WARNING:
            level = logging.DEBUG
            kwargs.pop("exc_info", None)
        super().log(level, msg, *args, **kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs
