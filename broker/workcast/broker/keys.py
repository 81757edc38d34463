"""The keys that workcast has in Redis, and the version of their layout."""

from __future__ import annotations

import json
from typing import Final
from zlib import crc32

from workcast.broker.connection import mask_url
from workcast.broker.errors import BrokerError

LAYOUT_KEY: Final = "workcast:layout"
LAYOUT_VERSION: Final = 1
PARTITIONS: Final = 1
"""One on a single server; a Cluster will have 64."""
PARTITION: Final = 0
"""The only one, on a single server."""


def partition(workcell: str) -> int:
    """Return the partition that a workcell belongs to."""
    return crc32(workcell.encode()) % PARTITIONS


def feed_key(number: int) -> str:
    return f"workcast:{{{number}}}:feed"


def stream_key(workcell: str) -> str:
    return f"workcast:{{{partition(workcell)}}}:stream:{workcell}"


def summary_key(workcell: str) -> str:
    return f"workcast:{{{partition(workcell)}}}:summary:{workcell}"


def workcells_key(number: int) -> str:
    return f"workcast:{{{number}}}:workcells"


def wanted_key(number: int) -> str:
    """The set of workcells whose windows gateways have requested from relays."""
    return f"workcast:{{{number}}}:wanted"


def windows_key(number: int) -> str:
    """The workcells with a window, by the time when it was last written or watched."""
    return f"workcast:{{{number}}}:windows"


def window_sizes_key(number: int) -> str:
    """The bytes of each window and of all, and their budget; see ``windows.lua``."""
    return f"workcast:{{{number}}}:window-sizes"


def edited_key(number: int) -> str:
    """The hash of workcells in whose logs gateways have found edited lines: epoch and offset of one."""
    return f"workcast:{{{number}}}:edited"


def presence_key(number: int, origin: str) -> str:
    """Exists while a relay of the root with this origin sends heartbeats."""
    return f"workcast:{{{number}}}:relay:{origin}"


def check_layout(url: str, stored: bytes | None) -> None:
    """Refuse a server whose keys have another layout.

    Raises:
        BrokerError: the layout differs; says how to rebuild.
    """
    if stored is None:
        return
    try:
        layout = json.loads(stored)
    except ValueError:
        layout = stored
    if layout != {"version": LAYOUT_VERSION, "partitions": PARTITIONS}:
        raise BrokerError(
            f"expected layout version {LAYOUT_VERSION} with {PARTITIONS} partition(s) at {mask_url(url)}, "
            f"got {layout!r}; delete the keys 'workcast:*' there (the logs rebuild them) or use another server"
        )
