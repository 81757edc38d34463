"""The gateway: FastAPI's routes over hub and history, the WebSocket, and the dashboard's files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import FastAPI, HTTPException, Query, Response, WebSocket
from fastapi.responses import PlainTextResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import TypeAdapter
from starlette.types import ASGIApp
from starlette.websockets import WebSocketDisconnect

from workcast.broker.errors import WorkcellIdError
from workcast.broker.history import History
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.consumer.account_api import add_account
from workcast.consumer.asyncapi import document
from workcast.consumer.guard import LOOPBACK, Guard
from workcast.consumer.http_errors import http_errors, open_channel, unknown_workcell
from workcast.consumer.hub import Hub, origin_conflict
from workcast.consumer.prepared import PreparedFrame
from workcast.consumer.protocol import SUBPROTOCOL, EventPage, Limits, Workcell, Workcells
from workcast.consumer.session import CLOSE_TOO_MUCH, Session
from workcast.consumer.settings import GatewaySettings
from workcast.consumer.stream_protocol import FRAME_KEY
from workcast.events.timestamp import Timestamp, format_timestamp
from workcast.events.wire import inspect
from workcast.ledger.summary import Summary

MAX_PAGE: Final = 1000
_SILENCE_SECONDS: Final = 5.0
"""A relay sends a heartbeat every second."""
_TIMESTAMP: Final = TypeAdapter[datetime](Timestamp)
_STATIC: Final = Path(__file__).parent / "static"
_NOT_BUILT: Final = "The dashboard is not built: run `make ui`, or install a wheel of workcast, which carries it.\n"


def create_app(hub: Hub, history: History, roots: Roots, settings: GatewaySettings) -> ASGIApp:
    """The whole application. Its lifespan runs the hub."""

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
    _add_api(app, hub, history, roots, settings.limits())
    add_account(app, hub, history)

    _add_health(app, hub)
    _add_documents(app)

    @app.websocket("/api/stream")
    async def stream(socket: WebSocket) -> None:
        offered = socket.scope.get("subprotocols", [])
        await socket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
        transport = SocketTransport(socket)
        if len(hub.metrics.viewers) >= settings.max_viewers:
            await transport.close(CLOSE_TOO_MUCH, f"{settings.max_viewers} viewers are connected already")
            return
        await Session(transport, hub, settings.limits()).run()

    @app.websocket("/{path:path}")
    async def no_stream(socket: WebSocket) -> None:
        # Before the files, which would take it for a request.
        await socket.send_denial_response(PlainTextResponse("the only WebSocket here is /api/stream\n", 404))

    if (_STATIC / "index.html").exists():
        app.mount("/", StaticFiles(directory=_STATIC, html=True))
    else:

        @app.get("/", include_in_schema=False)
        async def not_built() -> PlainTextResponse:
            return PlainTextResponse(_NOT_BUILT, 503)

    return Guard(app, LOOPBACK | {settings.host.lower()})


def _add_api(app: FastAPI, hub: Hub, history: History, roots: Roots, limits: Limits) -> None:
    @app.get("/api/workcells", response_model=Workcells)
    async def list_workcells() -> Workcells:
        """Every workcell that has a directory here or is known to the broker."""
        await hub.complete_fleet()
        here = await asyncio.to_thread(roots.ids)
        names = sorted({*here, *hub.fleet.ids()})
        return Workcells(workcells=await asyncio.to_thread(lambda: [describe(hub, roots, name) for name in names]))

    @app.get("/api/workcells/{workcell}", response_model=Workcell)
    async def get_workcell(workcell: str) -> Workcell:
        """One workcell."""
        if hub.fleet.get(workcell) is None:
            await hub.complete_fleet(workcell)
        known = hub.fleet.get(workcell) is not None or await asyncio.to_thread(_holding, roots, workcell) is not None
        if not known:
            raise unknown_workcell(workcell)
        return await asyncio.to_thread(describe, hub, roots, workcell)

    @app.get("/api/workcells/{workcell}/events", response_model=EventPage)
    async def list_events(
        workcell: str,
        offset: Annotated[int, Query(ge=0, lt=2**53)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 200,
    ) -> Response:
        """Consecutive events from ``offset`` on; fewer than ``limit`` at the head, or where they are large.

        The answer's ``offset`` is that of its first event: greater than the one asked for where that cannot be had.
        """
        channel = await open_channel(hub, workcell)
        epoch, head = channel.epoch, channel.head
        with http_errors():
            offset, lines = await hub.refill.page(channel, offset, limit)
        if channel.epoch != epoch:
            raise HTTPException(409, f"the log of {workcell} was replaced; ask again")
        body = b'{"epoch":%d,"base":%d,"head":%d,"offset":%d,"events":[%s]}' % (
            epoch, channel.base, head, offset, b",".join(lines),
        )  # fmt: skip
        return Response(body, media_type="application/json")

    @app.get("/api/workcells/{workcell}/events/{offset}")
    async def get_event(workcell: str, offset: int) -> Response:
        """One line of the log, whole, however long it is."""
        channel = await open_channel(hub, workcell)
        if not channel.base <= offset < channel.head:
            raise HTTPException(404, f"expected an offset from {channel.base} to below {channel.head}, got {offset}")
        lines: list[bytes] = []
        with http_errors():
            extent = await asyncio.to_thread(history.extent, workcell)
            if extent is not None and extent.epoch:
                lines = await asyncio.to_thread(history.read_lines, workcell, channel.epoch, offset, 1)
        if not lines:
            raise HTTPException(404, f"the log of {workcell} is not here; its stream holds the newest events")
        media_type = "application/octet-stream" if inspect(lines[0])[1] is None else "application/json"
        return Response(lines[0], media_type=media_type)

    @app.get("/api/session")
    async def get_session() -> dict[str, Any]:
        """Whom the gateway takes the caller for, and what it serves."""
        return {
            "viewer": "local", "version": version("workcast"), "protocol": SUBPROTOCOL,
            "limits": limits.model_dump(),
        }  # fmt: skip


def _add_health(app: FastAPI, hub: Hub) -> None:
    hub.metrics.add_states(hub.fleet.summaries, lambda: hub.heartbeats.ages(asyncio.get_running_loop().time()))

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", responses={503: {"description": "Events cannot reach this gateway; says why."}})
    async def healthz(response: Response) -> dict[str, str]:
        """Whether events reach this gateway: the broker answers, and a relay's heartbeat came through the feed."""
        silence = hub.heartbeats.silence(asyncio.get_running_loop().time())
        if hub.broker_error is not None:
            status, reason = "broker", hub.broker_error
        elif silence is None or silence > _SILENCE_SECONDS:
            status, reason = "relay", _unheard(silence)
        else:
            return {"status": "ok"}
        response.status_code = 503
        return {"status": status, "reason": reason}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """The gateway's numbers, for Prometheus."""
        return Response(generate_latest(hub.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _unheard(silence: float | None) -> str:
    """What may be so where no relay was heard of for some seconds, or ever."""
    if silence is None:
        return "nothing was heard of any relay; start `workcast up` or `workcast relay`"
    return (
        f"nothing was heard of any relay for {silence:.0f} s: it has ended, or it cannot write to Redis (what it logs "
        "says why); see to that, or start `workcast up` or `workcast relay`"
    )


def _add_documents(app: FastAPI) -> None:
    asyncapi = document(app.version)

    @app.get("/asyncapi.json")
    async def get_asyncapi() -> dict[str, Any]:
        """The WebSocket protocol as an AsyncAPI 3 document."""
        return asyncapi

    @app.get("/docs", include_in_schema=False)
    async def get_docs() -> dict[str, Any]:
        # The document itself: the pages that render it load scripts from elsewhere, which our policy forbids.
        return app.openapi()


def describe(hub: Hub, roots: Roots, workcell: str) -> Workcell:
    """A workcell as directory and broker know it; looks at the file system, so not for the event loop."""
    summary = _summary(hub, workcell)
    created, telemetry, proof, logs = None, False, False, False
    root = _holding(roots, workcell)
    if root is not None:
        if summary.origin not in ("", root.origin()):
            # That of another root beside the files of this one would be neither's.
            summary = Summary(id=workcell, origin=root.origin(), activity=origin_conflict(workcell))
        path = root.workcell(workcell)
        with contextlib.suppress(OSError):  # it may be removed at any time
            created = _created(path, summary)
            telemetry, proof = root.log(workcell).exists(), (path / "proof.json").exists()
            logs = (path / "logs").is_dir()
    return Workcell(
        id=workcell,
        issueId=summary.issue_id,
        toolchain=summary.agent,
        created=created,
        hasTelemetry=telemetry,
        hasProof=proof,
        hasLogs=logs,
        summary=summary,
    )


def _summary(hub: Hub, workcell: str) -> Summary:
    return hub.fleet.get(workcell) or Summary(id=workcell)


def _created(path: Path, summary: Summary) -> str:
    """When a workcell came to be: at its first event, or else when its directory was last changed.

    Python cannot ask Linux for a directory's birth.
    """
    if summary.first and summary.first.timestamp:
        with contextlib.suppress(ValueError, OverflowError):  # no time, or none that a calendar has
            return format_timestamp(_TIMESTAMP.validate_python(summary.first.timestamp))
    return format_timestamp(datetime.fromtimestamp(path.stat().st_ctime, UTC))


def _holding(roots: Roots, workcell: str) -> Root | None:
    try:
        return roots.holding(workcell)
    except WorkcellIdError:
        return None


class SocketTransport:
    """A Starlette WebSocket as a session's transport."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})

    async def send_frame(self, frame: PreparedFrame) -> None:
        if FRAME_KEY in self._socket.scope["extensions"]:
            await self._send({"type": "websocket.send", FRAME_KEY: frame})
        else:
            await self.send(frame.text)

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            await self._socket.send(message)
        except (WebSocketDisconnect, RuntimeError) as error:
            raise ConnectionError("the viewer is gone") from error

    async def receive(self) -> str | bytes | None:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        text: str | None = message.get("text")
        return text if text is not None else bytes(message["bytes"])

    async def close(self, code: int, reason: str) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.close(code, reason)
