"""Settings of the gateway: each is an option of the command line and a ``WORKCAST_…`` variable."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from workcast.consumer.protocol import Limits

DEFAULT_PORT: Final = 8787


class GatewaySettings(BaseModel):
    """Where the gateway listens, what it reads, and what one viewer may ask for."""

    model_config = ConfigDict(frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65535)
    redis_url: str | None = None
    redis_patience: float = Field(default=10.0, ge=0)
    """Seconds for which a Redis server that cannot be reached at the start is tried."""
    max_message_bytes: int = Field(default=64 * 1024, ge=1024)
    """Of one message from a viewer; a larger one closes its socket with 1009."""
    max_subscriptions: int = Field(default=256, ge=1)
    """Of one viewer, the fleet not counted."""
    max_viewers: int = Field(default=10_000, ge=1)
    """Open sockets of one gateway; one more is closed with 4429."""
    max_frame_bytes: int = Field(default=256 * 1024, ge=1024)
    """Of one ``events`` message, unless it holds a single event."""
    ring_bytes: int = Field(default=4 << 20, ge=0)
    """Newest events of one watched workcell that are kept in memory."""

    def limits(self) -> Limits:
        """What ``hello`` tells a viewer."""
        return Limits(
            max_message_bytes=self.max_message_bytes,
            max_subscriptions=self.max_subscriptions,
            max_frame_bytes=self.max_frame_bytes,
        )
