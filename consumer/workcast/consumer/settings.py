"""The settings of the gateway, each also a ``WORKCAST_…`` environment variable."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from workcast.broker.batch import DEFAULT_WINDOW_BYTES
from workcast.consumer.protocol import Limits

DEFAULT_PORT: Final = 8787


class GatewaySettings(BaseModel):
    """Where the gateway listens, what it reads, and the limits of one viewer."""

    model_config = ConfigDict(frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65535)
    redis_url: str | None = None
    redis_patience: float = Field(default=10.0, ge=0)
    """Seconds to keep trying to reach Redis at the start."""
    max_message_bytes: int = Field(default=64 * 1024, ge=1024)
    """Of a message from a viewer; a larger one closes its socket with 1009."""
    max_subscriptions: int = Field(default=256, ge=1)
    """Of one viewer, besides the fleet."""
    max_viewers: int = Field(default=10_000, ge=1)
    """Connected to one gateway; one more is closed with 4429."""
    max_connections: int = Field(default=16_384, ge=4)
    """Of all clients; never more than half of the files that the process may open."""
    max_connections_per_address: int = Field(default=4096, ge=3)
    """Of the clients at one address; never more than three quarters of all."""
    request_timeout: float = Field(default=10.0, gt=0)
    """Seconds for a client to send a whole request, from the connection or the last answer on."""
    answer_timeout: float = Field(default=30.0, gt=0)
    """Seconds for which a client may take nothing of what is sent to it."""
    max_ops_per_second: float = Field(default=1000.0, gt=0)
    """Of one viewer, as are the next two; for a moment it may send four times that much."""
    max_bytes_per_second: float = Field(default=float(1 << 20), gt=0)
    max_pings_per_second: float = Field(default=20.0, gt=0)
    flood_seconds: float = Field(default=10.0, gt=0)
    """For which a viewer that sends more is only slowed down; then it is closed with 4429."""
    max_frame_bytes: int = Field(default=256 * 1024, ge=1024)
    """Of one ``events`` message, unless it holds a single event."""
    ring_bytes: int = Field(default=4 << 20, ge=0)
    """Of the newest events of one watched workcell, kept in memory."""
    window_bytes: int = Field(default=DEFAULT_WINDOW_BYTES, ge=0)
    """Of the streams of all workcells in the broker together."""

    def limits(self) -> Limits:
        """Return the limits that ``hello`` carries."""
        return Limits(
            max_message_bytes=self.max_message_bytes,
            max_subscriptions=self.max_subscriptions,
            max_frame_bytes=self.max_frame_bytes,
        )
