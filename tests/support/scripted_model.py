"""A scripted stand-in for model APIs, so that real agents run offline and deterministically.

It implements Anthropic's Messages, OpenAI's Responses and Gemini's API. It keeps no conversation: the turn to play is
the number of assistant turns in the request, and the scenario is the one named ``[[scenario:NAME]]`` in the prompt,
else the model's default. Its only state is the count of its failures.

    with ScriptedModel() as model:
        env = {"ANTHROPIC_BASE_URL": model.url}  # OpenAI's is f"{model.url}/v1"
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol, Self

from support.script import SCENARIOS, Drop, Refuse, Say, Step
from support.scripted_gemini import GeminiAnswer
from support.scripted_messages import Message
from support.scripted_responses import OUR_ITEMS, Response


class Answer(Protocol):
    """The model's answer in one turn, in the form of an API."""

    @classmethod
    def of(cls, steps: Sequence[Step], turn: int, request: Mapping[str, Any], numbers: Iterator[int], /) -> Answer:
        """Build the answer that plays these steps."""
        ...

    def whole(self) -> Mapping[str, Any]:
        """Return the answer in one piece."""
        ...

    def events(self, pause: Callable[[], None], /) -> Iterator[Mapping[str, Any]]:
        """Yield the events of the stream."""
        ...


class ScriptedModel:
    """The server, on its own port; a context manager.

    Args:
        scenario: played for prompts that name none.
        delay: seconds before each chunk.

    ``gate`` is set at first. While a test clears it, no chunk is sent, which holds the agent in mid-run. ``hold``
    holds it between two turns.
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
        """The bodies of all requests for a message."""
        self.numbers = itertools.count(1)
        self._failures: Counter[Refuse | Drop] = Counter()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.model = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The value for ``ANTHROPIC_BASE_URL``."""
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
        """Answer no request for this turn (0 is the first) or a later one until the next call; None: answer all."""
        with self._turns_held:
            self._next_held = turn
            self._turns_held.notify_all()

    def await_turn(self, turn: int) -> None:
        """Wait while a turn is held."""
        with self._turns_held:
            self._turns_held.wait_for(lambda: self._next_held is None or turn < self._next_held)

    def fails(self, failure: Refuse | Drop) -> bool:
        """Whether this step fails again; counts the failure."""
        with self._turns_held:
            self._failures[failure] += 1
            return failure.times is None or self._failures[failure] <= failure.times

    def pause(self) -> None:
        """Wait for the delay and the gate; called before each chunk."""
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
        """Log nothing."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        path = self.path.partition("?")[0]
        if path.endswith("/count_tokens"):
            self._send_json(200, {"input_tokens": 1234})
        elif path.endswith(":countTokens"):
            self._send_json(200, {"totalTokens": 1234})
        elif path.endswith("/messages"):
            self._answer(request, Message, stream=bool(request.get("stream")))
        elif path.endswith("/responses"):
            self._answer(request, Response, stream=True)
        elif path.endswith("enerateContent"):
            self._answer(request, GeminiAnswer, stream="stream" in path)
        else:
            self._send_json(404, {"type": "error", "error": {"type": "not_found_error", "message": path}})

    def _answer(self, request: Mapping[str, Any], form: type[Answer], *, stream: bool) -> None:
        model = self.server.model
        model.requests.append(request)
        number, steps = _turn(request, model.scenario)
        model.await_turn(number)
        steps = [step for step in steps if not isinstance(step, Refuse | Drop) or model.fails(step)]
        refusal = next((step for step in steps if isinstance(step, Refuse)), None)
        if refusal is not None:
            error = {"type": refusal.kind, "message": refusal.message, "code": refusal.kind}
            self._send_json(refusal.status, {"type": "error", "error": error})
            return
        answer = form.of(steps, number, request, model.numbers)
        try:
            if stream:
                self._stream(answer)
            else:
                self._send_json(200, answer.whole())
        except ConnectionError:
            pass  # the script drops the connection, the agent disconnected, or the test is over
        self.close_connection = True

    def _stream(self, answer: Answer) -> None:
        """Send chunks, so that an answer that is cut off does not look complete."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in answer.events(self.server.model.pause):
            name = f"event: {event['type']}\n" if "type" in event else ""
            self._send_chunk(f"{name}data: {json.dumps(event)}\n\n".encode())
        self._send_chunk(b"")

    def _send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def _send_json(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _turn(request: Mapping[str, Any], default: str) -> tuple[int, Sequence[Step]]:
    """Return the number and the steps of the requested turn."""
    if not request.get("tools") and "additional_tools" not in json.dumps(request.get("input")):
        return 0, [Say('{"title": "A title"}')]
    said: list[dict[str, Any]] = request.get("messages") or request.get("input") or request.get("contents") or []
    ours = [item.get("role") in {"assistant", "model"} or item.get("type") in OUR_ITEMS for item in said]
    number = sum(now and not before for before, now in itertools.pairwise([False, *ours]))
    named = re.search(r"\[\[scenario:([\w-]+)\]\]", json.dumps(said))
    turns = SCENARIOS[named.group(1) if named else default]
    return number, turns[number] if number < len(turns) else [Say("Nothing left in the script.")]
