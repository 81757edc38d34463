"""The connections of one server, bounded in all and by address, so that files and viewers have descriptors left.

At a bound, one that is of no use to its client gives way: that which has waited longest for a request, or else the
viewer that has been without a subscription longest.
"""

from __future__ import annotations

import asyncio
import resource
from asyncio.transports import BaseTransport
from dataclasses import dataclass
from typing import Protocol

from workcast.consumer.memory import Releaser
from workcast.consumer.settings import GatewaySettings


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many connections a server holds."""

    total: int
    by_address: int


def bounds(settings: GatewaySettings, open_files: int | None = None) -> Bounds:
    """Return the bounds under a limit of ``open_files``, by default that of this process.

    At most half of the descriptors are for connections, and at most three quarters of those for one address.
    """
    if open_files is None:
        open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    total = settings.max_connections
    if open_files != resource.RLIM_INFINITY:
        total = max(4, min(total, open_files // 2))
    return Bounds(total, max(3, min(settings.max_connections_per_address, total * 3 // 4)))


class Connection(Protocol):
    """A client's connection that may have to give way."""

    def give_way(self) -> None:
        """Close at once, in favour of a new connection."""
        ...


class Connections:
    """Counts connections from their first byte to their last."""

    def __init__(self, limits: Bounds) -> None:
        self.bounds = limits
        self._memory = Releaser(lambda seconds, call: asyncio.get_running_loop().call_later(seconds, call))
        self._open: dict[BaseTransport, str] = {}
        self._by_address: dict[str, int] = {}
        self._silent: dict[str, dict[BaseTransport, Connection]] = {}
        """By address, those on which a request is waited for, the longest first."""
        self._idle: dict[str, dict[BaseTransport, Connection]] = {}
        """By address, those of viewers without a subscription, the longest first."""

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, transport: BaseTransport, connection: Connection) -> bool:
        """Count a new connection, which is silent; False if there is no place for it, and it is not counted."""
        peer: tuple[object, ...] | None = transport.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        if self._by_address.get(address, 0) >= self.bounds.by_address:
            if not self._evict(address):
                return False
        elif len(self._open) >= self.bounds.total:
            # Of the address with the most that may: one client's flood displaces its own.
            may = self._silent or self._idle
            most = max(may, key=lambda one: len(may[one]), default=None)
            if most is None or not self._evict(most):
                return False
        self._open[transport] = address
        self._memory.count(len(self._open))
        self._by_address[address] = self._by_address.get(address, 0) + 1
        self.wait(transport, connection)
        return True

    def wait(self, transport: BaseTransport, connection: Connection) -> None:
        """Note that a request is waited for: until it has arrived, the connection may have to give way."""
        self._may_give_way(self._silent, transport, connection)

    def idle(self, transport: BaseTransport, connection: Connection) -> None:
        """Note that a viewer has no subscription: until it has one, its connection may have to give way."""
        self._may_give_way(self._idle, transport, connection)

    def speak(self, transport: BaseTransport) -> None:
        """Note that a whole request has arrived, or a subscription: the connection keeps its place."""
        address = self._open.get(transport)
        if address is None:
            return
        for places in (self._silent, self._idle):
            here = places.get(address)
            if here is not None and here.pop(transport, None) is not None and not here:
                del places[address]

    def _may_give_way(
        self, places: dict[str, dict[BaseTransport, Connection]], transport: BaseTransport, connection: Connection
    ) -> None:
        address = self._open.get(transport)
        if address is not None:
            places.setdefault(address, {})[transport] = connection

    def leave(self, transport: BaseTransport) -> None:
        """Give back the place of a connection; harmless for one that has none."""
        self.speak(transport)
        address = self._open.pop(transport, None)
        if address is None:
            return
        self._memory.count(len(self._open))
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    def _evict(self, address: str) -> bool:
        """Close the first connection of ``address`` that may give way; False if there is none."""
        here = self._silent.get(address) or self._idle.get(address)
        if not here:
            return False
        transport, connection = next(iter(here.items()))
        self.leave(transport)
        connection.give_way()
        return True
