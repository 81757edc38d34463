"""Why a request cannot be answered, as HTTP says it."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from fastapi import HTTPException

from workcast.broker.errors import BrokerError, EpochError
from workcast.consumer.channel import Channel
from workcast.consumer.hub import Hub, origin_conflict


@contextlib.contextmanager
def http_errors() -> Generator[None]:
    """Why a log cannot be read now, as an answer."""
    try:
        yield
    except EpochError as error:
        raise HTTPException(409, str(error)) from error
    except OSError as error:
        raise HTTPException(503, f"the log cannot be read: {error.strerror}") from error
    except BrokerError as error:
        raise HTTPException(503, str(error)) from error


async def open_channel(hub: Hub, workcell: str) -> Channel:
    """The channel of a workcell.

    Raises:
        HTTPException: 404 if nobody knows it; 409 if what the broker has of it is of another root.
    """
    channel = await hub.channels.open(workcell)
    if channel is None:
        raise unknown_workcell(workcell)
    if channel.foreign:
        raise HTTPException(409, origin_conflict(workcell))
    return channel


def unknown_workcell(workcell: str) -> HTTPException:
    """Nobody knows the workcell."""
    return HTTPException(404, f"no workcell {workcell[:140]!r} here")
