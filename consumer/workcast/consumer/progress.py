"""A client's progress in taking what is sent to it: a slow one goes on, one that takes nothing does not."""

from __future__ import annotations

from asyncio.transports import WriteTransport


class Progress:
    """Compares what is left to be sent on one connection from check to check."""

    __slots__ = ("_transport", "_unsent", "resumed")

    def __init__(self, transport: WriteTransport) -> None:
        self._transport = transport
        self._unsent = 0
        self.resumed = False
        """Whether there has been room again since the last check."""

    @property
    def unsent(self) -> int:
        """The bytes that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    def made(self) -> bool:
        """Whether the client has taken something since the last check, or had nothing to take then."""
        before, self._unsent = self._unsent, self.unsent
        resumed, self.resumed = self.resumed, False
        return resumed or not before or self._unsent < before
