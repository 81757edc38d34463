"""Connections to Redis, and messages for its errors."""

# redis-py leaves its keyword arguments untyped:
# pyright: reportUnknownMemberType=false
from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.retry import Retry

from workcast.broker.errors import BrokerError, BrokerFullError

CONNECT_SECONDS: Final = 2.0
REPLY_SECONDS: Final = 10.0
SCHEMES: Final = ("redis", "rediss", "unix")


def mask_url(url: str) -> str:
    """Return ``url`` without its password, for a message."""
    # Without a parser: a URL that is malformed because of its password must not show it either.
    scheme, mark, rest = url.partition("://")
    user, at, location = rest.rpartition("@")
    if at:
        rest = f"{user.partition(':')[0]}:***@{location}" if ":" in user else rest
    return re.sub(r"(?i)(password=)[^&]*", r"\1***", f"{scheme}{mark}{rest}")


def check_url(url: str) -> str:
    """Return ``url`` if redis-py can use it; no connection is opened.

    Raises:
        BrokerError: the scheme is unknown, it is not a URL, or redis-py refuses its parameters.
    """
    with _url_errors(url):
        scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise BrokerError(f"expected a Redis URL ({', '.join(f'{s}://…' for s in SCHEMES)}), got {mask_url(url)!r}")
    with _url_errors(url):
        _try_parameters(url)
    return url


def _try_parameters(url: str) -> None:
    """Check a URL's parameters now: redis-py does so only when it connects, with errors of many types."""
    pools: tuple[Any, ...] = (redis.ConnectionPool.from_url(url), redis.asyncio.ConnectionPool.from_url(url))
    try:
        for pool in pools:
            pool.connection_class(**pool.connection_kwargs)
    except (TypeError, AttributeError, RedisError) as error:
        raise BrokerError(
            f"expected a Redis URL with parameters that redis-py accepts, got {mask_url(url)!r}{_detail(url, error)}"
        ) from error


def connect(url: str) -> redis.Redis:
    """Return a blocking client, without retries: they would hide how long Redis has been away.

    Raises:
        BrokerError: the URL is malformed.
    """
    with _url_errors(url):
        return redis.Redis.from_url(
            check_url(url),
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=REPLY_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )


def connect_async(url: str) -> redis.asyncio.Redis:
    """Return an asyncio client for reading, without a reply time-out, which would break a blocked XREAD.

    Raises:
        BrokerError: the URL is malformed.
    """
    with _url_errors(url):
        return redis.asyncio.Redis.from_url(
            check_url(url),
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=None,
            retry=AsyncRetry(NoBackoff(), 0),
            protocol=2,
        )


@contextmanager
def _url_errors(url: str) -> Generator[None]:
    try:
        yield
    except ValueError as error:
        raise BrokerError(f"expected a Redis URL, got {mask_url(url)!r}{_detail(url, error)}") from error


def _detail(url: str, error: Exception) -> str:
    """Return redis-py's message, unless it might show a part of the password."""
    is_cut = "@" in re.sub(r"^[^/?#]*//[^/?#]*", "", url)
    return "" if is_cut else f": {str(error).rpartition('() ')[2]}"


@contextmanager
def broker_errors(url: str) -> Generator[None]:
    """Turn errors of redis-py into one sentence with the address, its password masked."""
    try:
        yield
    except (RedisError, OSError) as error:
        kind = BrokerFullError if _is_full(error) else BrokerError
        raise kind(explain(url, error)) from error


def _is_full(error: Exception) -> bool:
    return isinstance(error, ResponseError) and "maxmemory" in str(error)


def explain(url: str, error: Exception) -> str:
    """Return what is wrong with the server at ``url``, and what to do."""
    where = mask_url(url)
    if isinstance(error, AuthenticationError) or str(error).startswith(("NOAUTH", "WRONGPASS", "NOPERM")):
        return f"Redis at {where} refuses the connection: {error}; check user and password in the URL"
    if _is_full(error):
        return f"Redis at {where} is full: {error}; raise maxmemory or lower the stream budgets"
    if isinstance(error, ResponseError):
        return f"Redis at {where} answers: {error}"
    why = str(error).removesuffix(".") or type(error).__name__
    return f"cannot reach Redis at {where}: {why}; start it or give another --redis-url"
