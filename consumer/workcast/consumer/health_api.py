"""``GET /healthz`` and ``GET /metrics``: whether events reach a gateway, and its numbers."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import FastAPI, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from workcast.broker.price_file import usable_prices
from workcast.broker.roots import Roots
from workcast.consumer.hub import Hub
from workcast.consumer.index_lag import IndexLag

_SILENCE_SECONDS: Final = 5.0
"""After so long without a heartbeat no relay is running: each sends one every second."""


def add_health(app: FastAPI, hub: Hub, roots: Roots) -> None:
    """Add the routes."""
    hub.metrics.add_states(hub.fleet.summaries, lambda: hub.heartbeats.ages(asyncio.get_running_loop().time()))
    lag = IndexLag(roots, usable_prices(), hub.fleet.summaries)
    hub.metrics.add_index(lag.last)

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", responses={503: {"description": "Events do not reach this gateway; says why."}})
    async def healthz(response: Response) -> dict[str, str]:
        """Whether events reach this gateway: the broker answers, and a relay's heartbeat came through the feed."""
        silence = hub.heartbeats.silence(asyncio.get_running_loop().time())
        if hub.broker_error is not None:
            status, reason = "broker", hub.broker_error
        elif silence is None or silence > _SILENCE_SECONDS:
            status, reason = "relay", _silence(silence)
        else:
            return {"status": "ok"}
        response.status_code = 503
        return {"status": status, "reason": reason}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """The gateway's numbers, for Prometheus."""
        await asyncio.to_thread(lag.measure)
        return Response(generate_latest(hub.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _silence(seconds: float | None) -> str:
    """Return the likely reason why no relay has sent a heartbeat lately, or ever."""
    if seconds is None:
        return "no relay has sent a heartbeat; start `workcast up` or `workcast relay`"
    return (
        f"no relay has sent a heartbeat for {seconds:.0f} s: it has ended, or it cannot write to Redis (its log says "
        "why); fix that, or start `workcast up` or `workcast relay`"
    )
