"""Connections to Redis, and how its errors are told."""

# redis-py leaves its keyword arguments untyped:
# pyright: reportUnknownMemberType=false
from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.retry import Retry

from workcast.broker.errors import BrokerError

CONNECT_SECONDS: Final = 2.0
REPLY_SECONDS: Final = 10.0
SCHEMES: Final = ("redis", "rediss", "unix")


def mask_url(url: str) -> str:
    """``url`` without its password, fit for a message."""
    # By hand: a URL that is malformed because of its password must not show it either.
    scheme, mark, rest = url.partition("://")
    user, at, location = rest.rpartition("@")
    if at:
        rest = f"{user.partition(':')[0]}:***@{location}" if ":" in user else rest
    return re.sub(r"(?i)(password=)[^&]*", r"\1***", f"{scheme}{mark}{rest}")


def check_url(url: str) -> str:
    """Return ``url`` if redis-py can connect to its kind.

    Raises:
        BrokerError: another scheme, or no URL at all.
    """
    with _url_errors(url):
        scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise BrokerError(f"expected a Redis URL ({', '.join(f'{s}://…' for s in SCHEMES)}), got {mask_url(url)!r}")
    return url


def connect(url: str) -> redis.Redis:
    """A blocking client: no retries of its own, since they would hide how long Redis has been away.

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
    """An asyncio client for reading. It has no reply time-out, which would break a blocked XREAD.

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
        raise BrokerError(f"expected a Redis URL, got {mask_url(url)!r}: {error}") from error


@contextmanager
def broker_errors(url: str) -> Generator[None]:
    """Turn errors of redis-py into one sentence with the address, its password masked."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise BrokerError(explain(url, error)) from error


def explain(url: str, error: Exception) -> str:
    """Say what is wrong with the server at ``url``, and what to do."""
    where = mask_url(url)
    if isinstance(error, AuthenticationError) or str(error).startswith(("NOAUTH", "WRONGPASS", "NOPERM")):
        return f"Redis at {where} refuses us: {error}; check user and password in the URL"
    if "maxmemory" in str(error):
        return f"Redis at {where} is full: {error}; raise maxmemory or lower the stream budgets"
    if isinstance(error, ResponseError):
        return f"Redis at {where} answers: {error}"
    return f"cannot reach Redis at {where}: {str(error) or type(error).__name__}; start it or give another --redis-url"
