"""The scripted model's answers in the form of OpenAI's Responses API, with the tools of Codex."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from support.script import AwaitTeam, Call, Delegate, Say, Step, Think, cut, dropped, endless

OUR_ITEMS: Final = frozenset({"function_call", "custom_tool_call", "reasoning"})
"""Types of the model's earlier items, besides messages."""
LONGEST_WAIT_MS: Final = 30_000
"""How long Codex waits for a command before it reports to the model that it is still running."""


@dataclass(frozen=True)
class Response:
    """One response of the model, as a stream of events."""

    head: Mapping[str, Any]
    items: Sequence[Mapping[str, Any]]
    for_ever: bool
    cut_off: bool
    usage: Mapping[str, Any]

    @classmethod
    def of(cls, steps: Sequence[Step], turn: int, request: Mapping[str, Any], numbers: Iterator[int]) -> Response:
        """Build the response that plays these steps."""
        in_code = _is_in_code(request)
        items = [item for step in steps if (item := _item(step, next(numbers), in_code)) is not None]
        usage: dict[str, Any] = {
            "input_tokens": 9000 + 400 * turn,
            "input_tokens_details": {"cached_tokens": 8960 if turn else 0},
            "output_tokens": 3 + len(json.dumps(items)) // 4,
            "output_tokens_details": {"reasoning_tokens": 17},
        }
        usage["total_tokens"] = usage["input_tokens"] + usage["output_tokens"]
        head: dict[str, Any] = {
            "id": f"resp_scripted{next(numbers):06d}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "model": request.get("model"),
            "output": [],
        }
        return cls(head, items, endless(steps), dropped(steps), usage)

    def whole(self) -> dict[str, Any]:
        """Return the response in one piece.

        Raises:
            ConnectionAbortedError: the script drops the connection.
        """
        if self.cut_off:
            raise ConnectionAbortedError
        return {**self.head, "status": "completed", "output": self.items, "usage": self.usage}

    def events(self, pause: Callable[[], None]) -> Iterator[dict[str, Any]]:
        """Yield the events of the stream.

        Raises:
            ConnectionAbortedError: the script drops the connection.
        """
        yield {"type": "response.created", "response": self.head}
        for index, item in enumerate(self.items):
            empty, kind, texts = _pieces(item)
            yield {"type": "response.output_item.added", "output_index": index, "item": empty}
            for text in texts:
                pause()
                yield {"type": kind, "item_id": item["id"], "output_index": index, **_PLACE, "delta": text}
            while self.for_ever and index + 1 == len(self.items):
                time.sleep(0.05)
                pause()
                yield {"type": kind, "item_id": item["id"], "output_index": index, **_PLACE, "delta": " and on"}
            if self.cut_off and index + 1 == len(self.items):
                raise ConnectionAbortedError
            yield {"type": "response.output_item.done", "output_index": index, "item": item}
        yield {"type": "response.completed", "response": self.whole()}


_PLACE: Final = {"content_index": 0, "summary_index": 0}


def _is_in_code(request: Mapping[str, Any]) -> bool:
    """Whether the model calls tools through JavaScript code, the only argument of its only tool."""
    offered = json.dumps([request.get("tools"), request.get("input")])
    return '"name": "exec"' in offered and '"name": "exec_command"' not in offered


def _item(step: Step, number: int, in_code: bool) -> dict[str, Any] | None:
    ident = f"scripted{number:06d}"
    match step:
        case Think(text):
            summary = [{"type": "summary_text", "text": text}]
            return {"id": f"rs_{ident}", "type": "reasoning", "summary": summary, "encrypted_content": "c2VjcmV0"}
        case Say(text):
            content: list[Any] = [{"type": "output_text", "text": text, "annotations": []}]
            return {"id": f"msg_{ident}", "type": "message", "role": "assistant", "content": content}
        case Call() | Delegate() | AwaitTeam():
            name, given = _tool(step)
            if in_code and isinstance(step, Call):
                name, given = "exec", f"text(await tools.{name}({json.dumps(given)}));\n"
            call = {"id": f"fc_{ident}", "call_id": f"call_{ident}", "name": name}
            if not isinstance(step, Call):
                call["namespace"] = "collaboration"
            if isinstance(given, str):  # a custom tool takes free text
                return {**call, "type": "custom_tool_call", "input": given}
            return {**call, "type": "function_call", "arguments": json.dumps(given)}
        case _:
            return None


def _tool(step: Call | Delegate | AwaitTeam) -> tuple[str, Mapping[str, str | int] | str]:
    """Translate a call of Claude Code's tools to Codex's: commands, and patches for writing files."""
    if isinstance(step, Delegate):
        return "spawn_agent", {"message": step.task, "task_name": "look_around", "fork_turns": "none"}
    if isinstance(step, AwaitTeam):
        return "wait_agent", {"timeout_ms": 10_000}
    given = step.arguments
    path = given.get("file_path", "").removeprefix("{cwd}/")
    match step.tool:
        case "Write":
            lines = "".join(f"+{line}\n" for line in given["content"].splitlines())
            return "apply_patch", f"*** Begin Patch\n*** Add File: {path}\n{lines}*** End Patch"
        case "Edit":
            change = f"-{given['old_string']}\n+{given['new_string']}\n"
            return "apply_patch", f"*** Begin Patch\n*** Update File: {path}\n@@\n{change}*** End Patch"
        case "Read":
            return "exec_command", {"cmd": f"cat {path}"}
        case _:
            return "exec_command", {"cmd": given["command"], "yield_time_ms": LONGEST_WAIT_MS}


def _pieces(item: Mapping[str, Any]) -> tuple[dict[str, Any], str, list[str]]:
    """Return an empty item, the type of its deltas, and the deltas."""
    match item["type"]:
        case "reasoning":
            return {**item, "summary": []}, "response.reasoning_summary_text.delta", cut(item["summary"][0]["text"])
        case "message":
            return {**item, "content": []}, "response.output_text.delta", cut(item["content"][0]["text"])
        case "custom_tool_call":
            return {**item, "input": ""}, "response.custom_tool_call_input.delta", cut(item["input"])
        case _:
            return {**item, "arguments": ""}, "response.function_call_arguments.delta", cut(item["arguments"])
