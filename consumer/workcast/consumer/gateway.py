"""The gateway: one ASGI application of REST routes, the WebSocket and the dashboard's files, over a hub."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from workcast.broker.history import History
from workcast.broker.roots import Roots
from workcast.consumer.account_api import add_account
from workcast.consumer.asyncapi import document
from workcast.consumer.guard import LOOPBACK, Guard
from workcast.consumer.health_api import add_health
from workcast.consumer.hub import Hub
from workcast.consumer.index_api import add_index
from workcast.consumer.protocol import SUBPROTOCOL, Limits
from workcast.consumer.search_api import add_search
from workcast.consumer.settings import GatewaySettings
from workcast.consumer.streams import Streams
from workcast.consumer.turns import RequestTurns
from workcast.consumer.workcell_api import add_workcells

_STATIC: Final = Path(__file__).parent / "static"
_NOT_BUILT: Final = "The dashboard is not built: run `make ui`, or install a wheel of workcast, which carries it.\n"


def create_app(hub: Hub, history: History, roots: Roots, settings: GatewaySettings) -> ASGIApp:
    """Return the whole application; its lifespan runs the hub."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        task = asyncio.create_task(hub.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    app = FastAPI(title="workcast", version=version("workcast"), lifespan=lifespan, docs_url=None, redoc_url=None)
    add_workcells(app, hub, history, roots)
    add_account(app, hub, history)
    add_index(app, hub, roots)
    add_search(app, hub, roots)
    _add_session(app, settings.limits())
    add_health(app, hub, roots)
    _add_documents(app)
    _add_dashboard(app)
    return Guard(
        Streams(cast("Any", ProxyHeadersMiddleware)(RequestTurns(app)), hub, settings),
        LOOPBACK | {settings.host.lower()},
    )


def _add_session(app: FastAPI, limits: Limits) -> None:
    @app.get("/api/session")
    async def get_session() -> dict[str, Any]:
        """The caller's identity, and the gateway's version, protocol and limits."""
        return {
            "viewer": "local", "version": version("workcast"), "protocol": SUBPROTOCOL,
            "limits": limits.model_dump(),
        }  # fmt: skip


def _add_documents(app: FastAPI) -> None:
    asyncapi = document(app.version)

    @app.get("/asyncapi.json")
    async def get_asyncapi() -> dict[str, Any]:
        """The WebSocket protocol as an AsyncAPI 3 document."""
        return asyncapi

    @app.get("/docs", include_in_schema=False)
    async def get_docs() -> dict[str, Any]:
        # The document itself: pages that render it load scripts from elsewhere, which our policy forbids.
        return app.openapi()


def _add_dashboard(app: FastAPI) -> None:
    if (_STATIC / "index.html").exists():
        app.mount("/", StaticFiles(directory=_STATIC, html=True))
        return

    @app.get("/", include_in_schema=False)
    async def not_built() -> PlainTextResponse:
        return PlainTextResponse(_NOT_BUILT, 503)
