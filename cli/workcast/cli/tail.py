"""``tail``: a viewer in the terminal."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any, Final

from rich.console import Console
from rich.text import Text
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException
from websockets.typing import Subprotocol

from workcast.broker.errors import WorkcastError
from workcast.broker.root import Root
from workcast.cli.gateway_client import GatewayError, gateway_url, socket_url
from workcast.cli.printable import printable
from workcast.consumer.protocol import SUBPROTOCOL

_RETRY_SECONDS: Final = 0.5
_MAX_MESSAGE_BYTES: Final = 4 << 20


_STYLES: Final = {
    "started": "bold cyan", "prompt_sent": "bold", "thinking": "dim italic", "tool_call": "yellow",
    "bash_command": "yellow", "error": "red", "completed": "bold green", "unknown": "magenta", "malformed": "magenta",
}  # fmt: skip


class TailError(WorkcastError):
    """The gateway does not show this workcell, or the start is no place in it."""


async def follow(root: Root, workcell: str, start: str, url: str | None, *, as_json: bool) -> None:
    """Print a workcell's events until interrupted; after a lost connection go on where it was.

    Raises:
        GatewayError: there is no gateway to ask, or it refuses.
        TailError: the workcell is unknown, or ``start`` is malformed.
    """
    address = gateway_url(root, url)
    if address is None:
        raise GatewayError(f"no workcast up serves {root.directory}; start one, or name a gateway with --url")
    viewer = _Viewer(workcell, start, _json_line if as_json else _Pretty())
    connected = False
    while True:
        try:
            async with connect(
                socket_url(address),
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                max_size=_MAX_MESSAGE_BYTES,
                proxy=None,
            ) as socket:
                connected = True
                await viewer.watch(socket)
        except InvalidHandshake as error:
            raise GatewayError(f"{address} refuses: {error}") from error
        except (OSError, WebSocketException) as error:
            if not connected:
                raise GatewayError(f"cannot reach {address}: {error}; is workcast up there?") from error
        await asyncio.sleep(_RETRY_SECONDS)


class _Viewer:
    """One subscription and its cursor, across connections."""

    def __init__(self, workcell: str, start: str, show: Callable[[int, dict[str, Any]], None]) -> None:
        self._workcell = workcell
        self._start = start
        self._show = show
        self._cursor: dict[str, int] | None = None

    async def watch(self, socket: ClientConnection) -> None:
        await self._subscribe(socket)
        async for text in socket:
            message: dict[str, Any] = json.loads(text)
            await self._take(message, socket)

    async def _subscribe(self, socket: ClientConnection) -> None:
        place: object = self._cursor or self._start
        if self._cursor is None and self._start not in ("start", "tail"):
            if not self._start.isdecimal():
                raise TailError(f"expected --from start, tail or an offset, got {self._start!r}")
            place = "tail"  # tells today's epoch, which the offset is then taken in
        await socket.send(json.dumps({"op": "subscribe", "workcell": self._workcell, "from": place}))

    async def _take(self, message: dict[str, Any], socket: ClientConnection) -> None:
        match message["op"]:
            case "subscribed" if self._cursor is None and self._start.isdecimal():
                self._cursor = {"epoch": message["epoch"], "offset": int(self._start)}
                await self._subscribe(socket)
            case "subscribed" | "reset":
                if message["op"] == "reset" and self._cursor is not None:
                    sys.stderr.write("the log began anew\n")
                self._cursor = {"epoch": message["epoch"], "offset": message["offset"]}
            case "events":
                for offset, event in enumerate(message["events"], message["offset"]):
                    self._show(offset, event)
                self._cursor = {"epoch": message["epoch"], "offset": message["offset"] + len(message["events"])}
            case "gap":
                sys.stderr.write(f"events {message['offset']} to {message['until'] - 1} are {message['reason']}\n")
            case "error":
                raise TailError(message["message"])
            case _:
                pass


def _json_line(offset: int, event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"offset": offset, "event": event}, ensure_ascii=False) + "\n")
    sys.stdout.flush()


class _Pretty:
    """A line or a few an event, in colour; pieces of an answer run on."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._in_line = False

    def __call__(self, offset: int, event: dict[str, Any]) -> None:
        kind = str(event.get("type"))
        text = describe(kind, event)
        if text is None:
            return
        style = _STYLES.get(kind, "")
        if kind == "response_chunk" or (kind == "thinking" and event.get("partial")):
            self._in_line = True
            self._console.print(Text(printable(text, keep="\n\t"), style), end="")
            return
        if self._in_line:
            self._console.print()
            self._in_line = False
        self._console.print(Text.assemble((f"{offset:>6} {kind:<17} ", "dim"), (printable(text, keep="\n\t"), style)))


def describe(kind: str, event: dict[str, Any]) -> str | None:
    """An event in a few words; None for what was shown already, piece by piece."""
    match kind:
        case "response_chunk" | "thinking":
            return str(event.get("content", ""))
        case "response_complete":
            return None if event.get("message_id") else str(event.get("content", ""))
        case "prompt_sent":
            return str(event.get("prompt", ""))
        case "tool_call":
            return f"{event.get('tool')} {json.dumps(event.get('args'), ensure_ascii=False)}"
        case "tool_result":
            return str(event.get("error") or _first_line(event.get("result")))
        case "bash_command":
            return f"$ {event.get('command')}"
        case "bash_output":
            return str(event.get("output", ""))
        case "file_read" | "file_write":
            return str(event.get("path", ""))
        case "completed":
            return f"{event.get('status')}, exit code {event.get('exit_code')}, {event.get('duration_ms')} ms"
        case "error":
            return str(event.get("error", ""))
        case "usage":
            return None
        case _:
            shown = {key: value for key, value in event.items() if key not in ("type", "timestamp")}
            return json.dumps(shown, ensure_ascii=False)


def _first_line(result: object) -> str:
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    return text.partition("\n")[0]
