"""``tail``: a viewer in the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from random import SystemRandom
from typing import Any, Final

from rich.console import Console
from rich.text import Text
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from workcast.broker.root import Root
from workcast.broker.running import served
from workcast.cli.gateway_client import GatewayError, gateway_url, socket_url
from workcast.cli.messages import say
from workcast.cli.printable import harmless_json, printable
from workcast.consumer.protocol import SUBPROTOCOL
from workcast.events.errors import WorkcastError

_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 8.0
_MAX_MESSAGE_BYTES: Final = 4 << 20
_FINAL_CODES: Final = (1009, 4400, 4401, 4429)
"""Close codes after which a retry cannot help."""

_STYLES: Final = {
    "started": "bold cyan", "prompt_sent": "bold", "thinking": "dim italic", "tool_call": "yellow",
    "bash_command": "yellow", "error": "red", "completed": "bold green", "unknown": "magenta", "malformed": "magenta",
}  # fmt: skip

_TEXTS: Final = {
    "prompt_sent": "prompt", "response_chunk": "content", "thinking": "content", "bash_output": "output",
    "file_read": "path", "file_write": "path", "error": "error",
}  # fmt: skip
"""The field that is shown for an event."""


class TailError(WorkcastError):
    """The gateway refuses to show the workcell."""


async def follow(root: Root, workcell: str, start: str, url: str | None, *, as_json: bool) -> None:
    """Print a workcell's events until interrupted; after a lost connection, continue where it ended.

    ``start`` is ``start``, ``tail``, or an offset in decimal digits.

    Raises:
        GatewayError: there is no gateway, or it refuses the connection.
        TailError: the workcell is unknown.
    """
    name = served(root).id_of(workcell) if url is None else workcell
    viewer = _Viewer(name, start, _json_line if as_json else _Pretty())
    connected = False
    pause = pauses()
    while True:
        address = gateway_url(root, url)  # each time: a restarted up may have another port
        if address is not None:
            socket = await _connect(address, again=connected)
            if socket is not None:
                connected, pause = True, pauses()
                async with socket:
                    await viewer.watch(socket)
                if socket.close_code in _FINAL_CODES:
                    raise GatewayError(f"{address} ended the connection: {socket.close_reason or socket.close_code}")
        elif not connected:
            raise GatewayError(f"no workcast up serves {root.directory}; start one, or name a gateway with --url")
        await asyncio.sleep(next(pause))


def pauses() -> Iterator[float]:
    """Yield the seconds before each attempt to reconnect: random, below a bound that doubles from 1 to 8.

    So the viewers of a restarted gateway do not all come back at the same moment.
    """
    longest, random = _FIRST_PAUSE_SECONDS, SystemRandom()
    while True:
        yield random.uniform(0, longest)
        longest = min(2 * longest, _LONGEST_PAUSE_SECONDS)


async def _connect(address: str, *, again: bool) -> ClientConnection | None:
    """Return a connection to a gateway; None if it fails now but did not before (``again``)."""
    try:
        socket = await connect(
            socket_url(address),
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            max_size=_MAX_MESSAGE_BYTES,
            proxy=None,
        )
    except InvalidStatus as error:
        if again:
            return None
        raise GatewayError(f"{address} refuses: HTTP {error.response.status_code}") from error
    except (OSError, WebSocketException) as error:
        if again:
            return None
        raise GatewayError(f"cannot reach {address}: {error}; is workcast up running there?") from error
    if socket.subprotocol != SUBPROTOCOL:
        await socket.close()
        raise GatewayError(f"expected a gateway that speaks {SUBPROTOCOL} at {address}, got another program")
    return socket


class _Viewer:
    """One subscription and its cursor, across connections."""

    def __init__(self, workcell: str, start: str, show: Callable[[int, dict[str, Any]], None]) -> None:
        self._workcell = workcell
        self._start = start
        self._show = show
        self._cursor: dict[str, int] | None = None
        self._probing = False
        """Subscribed only to learn the current epoch, in which the starting offset is then given."""

    async def watch(self, socket: ClientConnection) -> None:
        """Follow the workcell until the connection ends."""
        with contextlib.suppress(ConnectionClosed):
            self._probing = self._cursor is None and self._start.isdecimal()
            await self._subscribe(socket, "tail" if self._probing else self._cursor or self._start)
            async for text in socket:
                message: dict[str, Any] = json.loads(text)
                await self._take(message, socket)

    async def _subscribe(self, socket: ClientConnection, place: object) -> None:
        await socket.send(json.dumps({"op": "subscribe", "workcell": self._workcell, "from": place}))

    async def _take(self, message: dict[str, Any], socket: ClientConnection) -> None:
        match message["op"]:
            case "subscribed" if self._probing:
                self._probing = False
                await self._subscribe(socket, {"epoch": message["epoch"], "offset": int(self._start)})
            case "subscribed" | "reset":
                if message["op"] == "reset" and self._cursor is not None:
                    say("the log was recreated")
                self._cursor = {"epoch": message["epoch"], "offset": message["offset"]}
            case "events" if self._cursor is not None:
                for offset, event in enumerate(message["events"], message["offset"]):
                    self._show(offset, event)
                self._cursor = {"epoch": message["epoch"], "offset": message["offset"] + len(message["events"])}
            case "gap" if self._cursor is not None:
                say(f"events {message['offset']} to {message['until'] - 1} are {message['reason']}")
                self._cursor = {"epoch": message["epoch"], "offset": message["until"]}
            case "error":
                raise TailError(message["message"])
            case _:
                pass  # hello and live; and the events of a probing subscription


def _json_line(offset: int, event: dict[str, Any]) -> None:
    sys.stdout.write(harmless_json(json.dumps({"offset": offset, "event": event}, ensure_ascii=False)) + "\n")
    sys.stdout.flush()


class _Pretty:
    """Prints one or a few lines per event, in colour; pieces of an answer are joined."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._in_line = False

    def __call__(self, offset: int, event: dict[str, Any]) -> None:
        kind = printable(str(event.get("type")))
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
    """Return an event in a few words; None for a whole answer whose pieces were shown already."""
    if kind in _TEXTS:
        return str(event.get(_TEXTS[kind], ""))
    match kind:
        case "response_complete":
            return None if event.get("message_id") else str(event.get("content", ""))
        case "started":
            return _beginning(event)
        case "tool_call":
            return f"{event.get('tool')} {json.dumps(event.get('args'), ensure_ascii=False)}"
        case "tool_result":
            return str(event.get("error") or _first_line(event.get("result")))
        case "bash_command":
            return f"$ {event.get('command')}"
        case "completed":
            return f"{event.get('status')}, exit code {event.get('exit_code')}, {event.get('duration_ms')} ms"
        case "usage":
            return None
        case _:
            shown = {key: value for key, value in event.items() if key not in ("type", "timestamp")}
            return json.dumps(shown, ensure_ascii=False)


def _beginning(event: dict[str, Any]) -> str:
    """Return which agent has started, and where."""
    version, cwd, session = (event.get(key) for key in ("agent_version", "cwd", "session_id"))
    agent = " ".join(str(word) for word in (event.get("toolchain"), version, event.get("model")) if word)
    words = [agent or "an agent", "again" if event.get("resumed") else "", f"in {cwd}" if cwd else ""]
    return " ".join(filter(None, words)) + (f", session {session}" if session else "")


def _first_line(result: object) -> str:
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    return text.partition("\n")[0]
