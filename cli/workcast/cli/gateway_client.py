"""The gateway of a root: its URLs, and requests to it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ValidationError

from workcast.broker.root import Root
from workcast.broker.running import find_up
from workcast.events.errors import WorkcastError

if TYPE_CHECKING:
    import httpx

Answer = TypeVar("Answer", bound=BaseModel)


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


def fetch(
    url: str, answer: type[Answer], purpose: str, timeout: float, query: dict[str, str | int] | None = None
) -> Answer:
    """Return the answer of a gateway to a GET request.

    Args:
        purpose: what the request is for, for messages: ``list the workcells of …``.
        timeout: seconds.

    Raises:
        GatewayError: the gateway cannot be reached or refuses, or the answer is not of this kind.
    """
    import httpx

    try:
        reply = httpx.get(url, params=query, timeout=timeout, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise GatewayError(f"cannot {purpose}: {error}; is workcast up running there?") from error
    if reply.status_code != 200:
        raise GatewayError(f"cannot {purpose}: {_reason(reply)}")
    try:
        return answer.model_validate_json(reply.content)
    except ValidationError as error:
        raise GatewayError(f"cannot {purpose}: expected a workcast gateway there, got another program") from error


def stream_lines(url: str, purpose: str, timeout: float, query: dict[str, str | int]) -> Generator[bytes]:
    """Yield the lines of a gateway's answer to a GET request, as they come; see :func:`fetch`.

    Raises:
        GatewayError: the gateway cannot be reached or refuses, or the answer breaks off.
    """
    import httpx

    headers = {"accept": "application/x-ndjson"}
    try:
        with httpx.stream("GET", url, params=query, timeout=timeout, trust_env=False, headers=headers) as reply:
            if reply.status_code != 200:
                reply.read()
                raise GatewayError(f"cannot {purpose}: {_reason(reply)}")
            rest = b""
            for chunk in reply.iter_bytes():
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise GatewayError(f"cannot {purpose}: {error}; is workcast up running there?") from error


def _reason(reply: httpx.Response) -> str:
    try:
        detail: Any = reply.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = None
    return detail if isinstance(detail, str) else f"HTTP {reply.status_code}"
