"""The errors of broker and logs as HTTP answers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Final

from fastapi import HTTPException

from workcast.broker.errors import BrokerError, EditedLogError, EpochError
from workcast.consumer.channel import Channel
from workcast.consumer.hub import Hub, origin_conflict

UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "There is no such workcell, line or log here."}}
"""For the OpenAPI document: the answer of every route below a workcell, besides its others."""


@contextlib.asynccontextmanager
async def http_errors(hub: Hub) -> AsyncGenerator[None]:
    """Turn the errors of reading a log into answers: 409 if it was replaced or edited, 503 if it cannot be read."""
    try:
        yield
    except EditedLogError as error:
        await hub.refill.report_edit(error)
        raise HTTPException(409, str(error)) from error
    except EpochError as error:
        raise HTTPException(409, str(error)) from error
    except OSError as error:
        raise HTTPException(503, f"the log cannot be read: {error.strerror}") from error
    except BrokerError as error:
        raise HTTPException(503, str(error)) from error


async def open_channel(hub: Hub, workcell: str) -> Channel:
    """Return the channel of a workcell.

    Raises:
        HTTPException: 404 if neither broker nor log has it; 409 if another root has published it.
    """
    channel = await hub.channels.open(workcell)
    if channel is None:
        raise unknown_workcell(workcell)
    if channel.foreign:
        raise HTTPException(409, origin_conflict(workcell))
    return channel


def unknown_workcell(workcell: str) -> HTTPException:
    """Return the 404 of a workcell that neither broker nor log has."""
    return HTTPException(404, f"no workcell {workcell[:140]!r} here")
