"""The scripted model for more agents: it speaks Gemini's API too, and Anthropic's with the tools of opencode.

with MoreScriptedModel() as model:
    env = {"GOOGLE_GEMINI_BASE_URL": model.url}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from support.script import SCENARIOS, Call, Refuse, Say, Step
from support.scripted_gemini import GeminiAnswer, turn_of
from support.scripted_model import ScriptedModel, _Handler, _Message


@dataclass(frozen=True)
class Drop:
    """Cut the connection in the middle of the answer."""


MORE_SCENARIOS: Final[Mapping[str, Sequence[Sequence[Step | Drop]]]] = {
    **SCENARIOS,
    "drop": [[Say("This connection drops in the mid"), Drop()]],
}
OPENCODE_ARGUMENTS: Final = {"file_path": "filePath", "old_string": "oldString", "new_string": "newString"}


class MoreScriptedModel(ScriptedModel):
    """A :class:`ScriptedModel` for Gemini CLI and opencode. A scenario is played for prompts that name it."""

    def __init__(self, scenario: str = "plain", delay: float = 0.0) -> None:
        super().__init__(scenario, delay)
        self._server.RequestHandlerClass = _MoreHandler


class _MoreHandler(_Handler):
    def do_POST(self) -> None:  # noqa: N802 - the name in the base class
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        path = self.path.partition("?")[0]
        if path.endswith(":countTokens"):
            self._send_json(200, {"totalTokens": 1234})
        elif path.endswith("enerateContent"):
            self._play(request, gemini=True, stream="stream" in path)
        else:
            self._play(request, gemini=False, stream=True)

    def _play(self, request: Mapping[str, Any], *, gemini: bool, stream: bool) -> None:
        model, turn = self.server.model, turn_of(request)
        model.requests.append(request)
        steps = _steps(request, turn, model.scenario)
        model.await_turn(turn)
        if steps and isinstance(refusal := steps[0], Refuse):
            error = {"type": refusal.kind, "message": refusal.message, "code": refusal.kind}
            self._send_json(refusal.status, {"type": "error", "error": error})
            return
        played = [step for step in steps if not isinstance(step, Drop)]
        dropped = len(played) < len(steps)
        try:
            if gemini and not stream:
                self._send_json(200, GeminiAnswer.of(played, turn, request).whole())
            elif gemini:
                self._send_events(GeminiAnswer.of(played, turn, request).pieces(model.pause), cut_end=dropped)
            else:
                message = _Message.of([_for_opencode(step) for step in played], turn, request, model.numbers)
                self._send_events(message.events(model.pause), cut_end=dropped)
        except ConnectionError:
            pass  # the agent hung up, or the test is over
        self.close_connection = True

    def _send_events(self, events: Iterable[Mapping[str, Any]], *, cut_end: bool) -> None:
        """Stream events; without what says that they are the last if the end is to be cut off."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in events:
            if cut_end and _is_end(event):
                return
            name = f"event: {event['type']}\n" if "type" in event else ""
            self.wfile.write(f"{name}data: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()


def _steps(request: Mapping[str, Any], turn: int, default: str) -> Sequence[Step | Drop]:
    if not request.get("tools"):
        return [Say('{"title": "A title"}')]
    said = json.dumps(request.get("contents") or request.get("messages") or [])
    named = re.search(r"\[\[scenario:([\w-]+)\]\]", said)
    turns = MORE_SCENARIOS[named.group(1) if named else default]
    return turns[turn] if turn < len(turns) else [Say("Nothing left in the script.")]


def _for_opencode(step: Step) -> Step:
    if not isinstance(step, Call):
        return step
    return Call(step.tool.lower(), {OPENCODE_ARGUMENTS.get(key, key): value for key, value in step.arguments.items()})


def _is_end(event: Mapping[str, Any]) -> bool:
    if "candidates" in event:
        return "finishReason" in event["candidates"][0]
    return event.get("type") == "content_block_stop"
