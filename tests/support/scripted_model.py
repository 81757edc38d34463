"""A scripted stand-in for model APIs: real agents run against it, offline and always the same.

It speaks Anthropic's Messages and OpenAI's Responses. It keeps no conversation: the turn to play is the number of
assistant turns in the request, and the scenario is the one named ``[[scenario:NAME]]`` in the prompt, else the model's
default.

    with ScriptedModel() as model:
        env = {"ANTHROPIC_BASE_URL": model.url}  # OpenAI's is f"{model.url}/v1"
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from support.script import SCENARIOS, Call, Refuse, Say, Step, TalkForever, Think, cut
from support.scripted_responses import OUR_ITEMS, Response


class ScriptedModel:
    """The server, on a port of its own; a context manager.

    Args:
        scenario: played for prompts that name none.
        delay: seconds before each chunk.

    ``gate`` is open at first. While a test has it cleared, no chunk is sent: the agent is held in mid-run.
    ``hold`` keeps it between two turns.
    """

    def __init__(self, scenario: str = "plain", delay: float = 0.0) -> None:
        self.scenario = scenario
        self.delay = delay
        self.gate = threading.Event()
        self.gate.set()
        self.closing = threading.Event()
        self._turns_held = threading.Condition()
        self._next_held: int | None = None
        self.requests: list[Any] = []
        """The bodies of the requests for a message, as they came."""
        self.numbers = itertools.count(1)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.model = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """For ``ANTHROPIC_BASE_URL``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self.gate.set()
        self.hold(None)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def hold(self, turn: int | None) -> None:
        """Answer no request for this turn (0 is the first) or a later one until told otherwise; None: answer all."""
        with self._turns_held:
            self._next_held = turn
            self._turns_held.notify_all()

    def await_turn(self, turn: int) -> None:
        """Wait while a turn is held."""
        with self._turns_held:
            self._turns_held.wait_for(lambda: self._next_held is None or turn < self._next_held)

    def pause(self) -> None:
        """Before each chunk: take the time that it takes, and wait at the gate."""
        if self.delay:
            time.sleep(self.delay)
        self.gate.wait()
        if self.closing.is_set():
            raise ConnectionAbortedError


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    model: ScriptedModel


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        path = self.path.partition("?")[0]
        if path.endswith("/count_tokens"):
            self._send_json(200, {"input_tokens": 1234})
        elif not path.endswith(("/messages", "/responses")):
            self._send_json(404, {"type": "error", "error": {"type": "not_found_error", "message": path}})
        else:
            self._answer(request, Response if path.endswith("/responses") else _Message)

    def _answer(self, request: Mapping[str, Any], form: type[_Message | Response]) -> None:
        model = self.server.model
        model.requests.append(request)
        number, steps = _turn(request, model.scenario)
        model.await_turn(number)
        if steps and isinstance(refusal := steps[0], Refuse):
            error = {"type": refusal.kind, "message": refusal.message}
            self._send_json(refusal.status, {"type": "error", "error": error})
            return
        message = form.of(steps, number, request, model.numbers)
        try:
            if isinstance(message, Response) or request.get("stream"):
                self._stream(message)
            else:
                self._send_json(200, message.whole())
        except ConnectionError:
            pass  # the agent hung up, or the test is over
        self.close_connection = True

    def _stream(self, message: _Message | Response) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in message.events(self.server.model.pause):
            self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()

    def _send_json(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _turn(request: Mapping[str, Any], default: str) -> tuple[int, Sequence[Step]]:
    """Which turn a request asks for: its number and its steps."""
    if not request.get("tools"):
        return 0, [Say("A title")]
    said: list[dict[str, Any]] = request.get("messages") or request.get("input") or []
    ours = [item.get("role") == "assistant" or item.get("type") in OUR_ITEMS for item in said]
    number = sum(now and not before for before, now in itertools.pairwise([False, *ours]))
    named = re.search(r"\[\[scenario:([\w-]+)\]\]", json.dumps(said))
    turns = SCENARIOS[named.group(1) if named else default]
    return number, turns[number] if number < len(turns) else [Say("Nothing left in the script.")]


@dataclass(frozen=True)
class _Message:
    head: Mapping[str, Any]
    blocks: Sequence[Mapping[str, Any]]
    for_ever: bool
    usage: Mapping[str, Any]

    @classmethod
    def of(cls, steps: Sequence[Step], turn: int, request: Mapping[str, Any], numbers: Iterator[int]) -> _Message:
        cwd = re.search(r"[Ww]orking directory(?: is)?:?\s*(/[^\s\\<\"]+)", json.dumps(request))
        place = cwd.group(1) if cwd else "/nonexistent"
        blocks = [block for step in steps if (block := _block(step, place, numbers)) is not None]
        usage = {
            "input_tokens": 12 + turn,
            "cache_creation_input_tokens": 420 if turn else 15000,
            "cache_read_input_tokens": 15000 + 420 * (turn - 1) if turn else 0,
            "output_tokens": 3 + len(json.dumps(blocks)) // 4,
        }
        head: dict[str, Any] = {
            "id": f"msg_scripted{next(numbers):06d}",
            "type": "message",
            "role": "assistant",
            "model": request.get("model"),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**usage, "output_tokens": 2},
        }
        return cls(head, blocks, any(isinstance(step, TalkForever) for step in steps), usage)

    @property
    def _stop_reason(self) -> str:
        return "tool_use" if any(block["type"] == "tool_use" for block in self.blocks) else "end_turn"

    def whole(self) -> dict[str, Any]:
        return {**self.head, "content": self.blocks, "stop_reason": self._stop_reason, "usage": self.usage}

    def events(self, pause: Callable[[], None]) -> Iterator[dict[str, Any]]:
        yield {"type": "message_start", "message": self.head}
        for index, block in enumerate(self.blocks):
            empty, deltas = _pieces(block)
            yield {"type": "content_block_start", "index": index, "content_block": empty}
            for delta in deltas:
                pause()
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            while self.for_ever and index + 1 == len(self.blocks):
                time.sleep(0.05)
                pause()
                delta = {"type": "text_delta", "text": " and on"}
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}
        final = {"stop_reason": self._stop_reason, "stop_sequence": None}
        yield {"type": "message_delta", "delta": final, "usage": self.usage}
        yield {"type": "message_stop"}


def _block(step: Step, cwd: str, numbers: Iterator[int]) -> dict[str, Any] | None:
    match step:
        case Think(text):
            return {"type": "thinking", "thinking": text, "signature": "c2lnbmVk"}
        case Say(text):
            return {"type": "text", "text": text}
        case Call(tool, arguments):
            given = {key: value.replace("{cwd}", cwd) for key, value in arguments.items()}
            return {"type": "tool_use", "id": f"toolu_scripted{next(numbers):06d}", "name": tool, "input": given}
        case _:
            return None


def _pieces(block: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it starts, and the deltas that fill it."""
    match block["type"]:
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in cut(block["thinking"])]
            signed = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [*deltas, signed]
        case "text":
            return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in cut(block["text"])]
        case _:
            pieces = cut(json.dumps(block["input"]))
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
