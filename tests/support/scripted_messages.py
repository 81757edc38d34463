"""The scripted model's answers in the form of Anthropic's Messages API, with the tools of Claude Code or opencode."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from support.script import Call, Delegate, Say, Step, Think, cut, dropped, endless

OPENCODE_ARGUMENTS: Final = {"file_path": "filePath", "old_string": "oldString", "new_string": "newString"}


@dataclass(frozen=True)
class Message:
    """One message of the model."""

    head: Mapping[str, Any]
    blocks: Sequence[Mapping[str, Any]]
    for_ever: bool
    cut_off: bool
    usage: Mapping[str, Any]

    @classmethod
    def of(cls, steps: Sequence[Step], turn: int, request: Mapping[str, Any], numbers: Iterator[int]) -> Message:
        """Build the message that plays these steps."""
        cwd = re.search(r"[Ww]orking directory(?: is)?:?\s*(/[^\s\\<\"]+)", json.dumps(request))
        place = cwd.group(1) if cwd else "/nonexistent"
        for_opencode = "bash" in {tool.get("name") for tool in request.get("tools") or ()}
        blocks = [block for step in steps if (block := _block(step, place, numbers, for_opencode)) is not None]
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
        return cls(head, blocks, endless(steps), dropped(steps), usage)

    @property
    def _stop_reason(self) -> str:
        return "tool_use" if any(block["type"] == "tool_use" for block in self.blocks) else "end_turn"

    def whole(self) -> dict[str, Any]:
        """Return the message in one piece.

        Raises:
            ConnectionAbortedError: the script drops the connection.
        """
        if self.cut_off:
            raise ConnectionAbortedError
        return {**self.head, "content": self.blocks, "stop_reason": self._stop_reason, "usage": self.usage}

    def events(self, pause: Callable[[], None]) -> Iterator[dict[str, Any]]:
        """Yield the events of the stream.

        Raises:
            ConnectionAbortedError: the script drops the connection.
        """
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
            if self.cut_off and index + 1 == len(self.blocks):
                raise ConnectionAbortedError
            yield {"type": "content_block_stop", "index": index}
        final = {"stop_reason": self._stop_reason, "stop_sequence": None}
        yield {"type": "message_delta", "delta": final, "usage": self.usage}
        yield {"type": "message_stop"}


def _block(step: Step, cwd: str, numbers: Iterator[int], for_opencode: bool) -> dict[str, Any] | None:
    match step:
        case Think(text):
            return {"type": "thinking", "thinking": text, "signature": "c2lnbmVk"}
        case Say(text):
            return {"type": "text", "text": text}
        case Call() | Delegate():
            tool, given = _opencode_tool(step) if for_opencode else _claude_tool(step)
            here = {key: value.replace("{cwd}", cwd) for key, value in given.items()}
            return {"type": "tool_use", "id": f"toolu_scripted{next(numbers):06d}", "name": tool, "input": here}
        case _:
            return None


def _claude_tool(step: Call | Delegate) -> tuple[str, Mapping[str, str]]:
    if isinstance(step, Call):
        return step.tool, step.arguments
    return "Agent", {"description": "Look around", "prompt": step.task, "subagent_type": "general-purpose"}


def _opencode_tool(step: Call | Delegate) -> tuple[str, Mapping[str, str]]:
    if isinstance(step, Call):
        given = {OPENCODE_ARGUMENTS.get(key, key): value for key, value in step.arguments.items()}
        return step.tool.lower(), given
    return "task", {"description": "Look around", "prompt": step.task, "subagent_type": "general"}


def _pieces(block: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return an empty block, and the deltas that fill it."""
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
