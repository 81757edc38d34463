"""The scripted model's answers in the words of the OpenAI Responses API, and of Codex's tools."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from support.script import Call, Say, Step, TalkForever, Think, cut

OUR_ITEMS: Final = frozenset({"function_call", "custom_tool_call", "reasoning"})
"""What the model said earlier, beside its messages."""


@dataclass(frozen=True)
class Response:
    """One response of the model, as a stream of events."""

    head: Mapping[str, Any]
    items: Sequence[Mapping[str, Any]]
    for_ever: bool
    usage: Mapping[str, Any]

    @classmethod
    def of(cls, steps: Sequence[Step], turn: int, request: Mapping[str, Any], numbers: Iterator[int]) -> Response:
        """The response that plays these steps."""
        items = [item for step in steps if (item := _item(step, next(numbers))) is not None]
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
        return cls(head, items, any(isinstance(step, TalkForever) for step in steps), usage)

    def events(self, pause: Callable[[], None]) -> Iterator[dict[str, Any]]:
        """What goes over the wire."""
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
            yield {"type": "response.output_item.done", "output_index": index, "item": item}
        done = {**self.head, "status": "completed", "output": self.items, "usage": self.usage}
        yield {"type": "response.completed", "response": done}


_PLACE: Final = {"content_index": 0, "summary_index": 0}


def _item(step: Step, number: int) -> dict[str, Any] | None:
    ident = f"scripted{number:06d}"
    match step:
        case Think(text):
            summary = [{"type": "summary_text", "text": text}]
            return {"id": f"rs_{ident}", "type": "reasoning", "summary": summary, "encrypted_content": "c2VjcmV0"}
        case Say(text):
            content: list[Any] = [{"type": "output_text", "text": text, "annotations": []}]
            return {"id": f"msg_{ident}", "type": "message", "role": "assistant", "content": content}
        case Call():
            name, given = _tool(step)
            call = {"id": f"fc_{ident}", "call_id": f"call_{ident}", "name": name}
            if isinstance(given, str):  # a custom tool takes free text
                return {**call, "type": "custom_tool_call", "input": given}
            return {**call, "type": "function_call", "arguments": json.dumps(given)}
        case _:
            return None


def _tool(call: Call) -> tuple[str, dict[str, str] | str]:
    """A call of Claude Code's tools as Codex has them: everything is a command, but files are written by patches."""
    given = call.arguments
    path = given.get("file_path", "").removeprefix("{cwd}/")
    match call.tool:
        case "Write":
            lines = "".join(f"+{line}\n" for line in given["content"].splitlines())
            return "apply_patch", f"*** Begin Patch\n*** Add File: {path}\n{lines}*** End Patch"
        case "Edit":
            change = f"-{given['old_string']}\n+{given['new_string']}\n"
            return "apply_patch", f"*** Begin Patch\n*** Update File: {path}\n@@\n{change}*** End Patch"
        case "Read":
            return "exec_command", {"cmd": f"cat {path}"}
        case _:
            return "exec_command", {"cmd": given["command"]}


def _pieces(item: Mapping[str, Any]) -> tuple[dict[str, Any], str, list[str]]:
    """An item as it starts, the type of its deltas, and the deltas."""
    match item["type"]:
        case "reasoning":
            return {**item, "summary": []}, "response.reasoning_summary_text.delta", cut(item["summary"][0]["text"])
        case "message":
            return {**item, "content": []}, "response.output_text.delta", cut(item["content"][0]["text"])
        case "custom_tool_call":
            return {**item, "input": ""}, "response.custom_tool_call_input.delta", cut(item["input"])
        case _:
            return {**item, "arguments": ""}, "response.function_call_arguments.delta", cut(item["arguments"])
