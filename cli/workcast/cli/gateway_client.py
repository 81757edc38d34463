"""Finding the gateway of a root, and its URLs."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from workcast.broker.root import Root
from workcast.broker.running import find_up
from workcast.events.errors import WorkcastError


class GatewayError(WorkcastError):
    """No gateway runs, or it cannot be reached."""


def gateway_url(root: Root, url: str | None) -> str | None:
    """Return the URL that was given, else that of the root's ``up``, else None.

    Raises:
        GatewayError: it is not an HTTP URL.
    """
    if url is None:
        running = find_up(root)
        return running.http_url if running else None
    return check_gateway_url(url)


def check_gateway_url(url: str) -> str:
    """Return ``url`` without a trailing slash.

    Raises:
        GatewayError: it is not an HTTP URL.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise GatewayError(f"expected an http:// or https:// URL of a gateway, got {url!r}")
    return url.rstrip("/")


def socket_url(http_url: str) -> str:
    """Return the URL of a gateway's WebSocket."""
    parts = urlsplit(http_url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, f"{parts.path}/api/stream", "", ""))
