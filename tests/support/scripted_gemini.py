"""The scripted model's answers in the form of Gemini's API (``streamGenerateContent``)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from support.script import Call, Delegate, Say, Step, Think, cut, dropped, endless

TOOLS: Final = {"Bash": "run_shell_command", "Write": "write_file", "Read": "read_file", "Edit": "replace"}
MORE_ARGUMENTS: Final = {"Edit": {"instruction": "Replace a word"}}
PLACE: Final = re.compile(r"Workspace Directories:\*\*\s*-\s*(/[^\s\\<\"]+)")


@dataclass(frozen=True)
class GeminiAnswer:
    """One answer: its parts and its usage."""

    parts: Sequence[Mapping[str, Any]]
    for_ever: bool
    cut_off: bool
    usage: Mapping[str, int]

    @classmethod
    def of(cls, steps: Sequence[Step], turn: int, request: Mapping[str, Any], _: Iterator[int]) -> GeminiAnswer:
        """Build the answer that plays these steps."""
        said: list[dict[str, Any]] = request.get("contents") or []
        parts: list[dict[str, Any]] = [part for item in said for part in item.get("parts") or ()]
        found = PLACE.search("\n".join(part.get("text") or "" for part in parts))
        place = found.group(1) if found else "/nonexistent"
        usage = {
            "promptTokenCount": 7000 + 300 * turn,
            "candidatesTokenCount": 40 + turn,
            "thoughtsTokenCount": 11,
            "cachedContentTokenCount": 6800 if turn else 0,
            "totalTokenCount": 7051 + 301 * turn,
        }
        played = [part for step in steps for part in _parts(step, place)]
        return cls(played, endless(steps), dropped(steps), usage)

    def whole(self) -> dict[str, Any]:
        """Return the answer in one piece.

        Raises:
            ConnectionAbortedError: the script drops the connection.
        """
        if self.cut_off:
            raise ConnectionAbortedError
        return self._piece(self.parts, finishReason="STOP")

    def events(self, pause: Callable[[], None]) -> Iterator[dict[str, Any]]:
        """Yield the answer part by part; the last piece has the finish reason.

        Raises:
            ConnectionAbortedError: the script drops the connection.
        """
        for part in self.parts:
            pause()
            yield self._piece([part])
        while self.for_ever:
            pause()
            yield self._piece([{"text": " and on"}])
        if self.cut_off:
            raise ConnectionAbortedError
        yield self._piece([{"text": ""}], finishReason="STOP")

    def _piece(self, parts: Sequence[Mapping[str, Any]], **more: str) -> dict[str, Any]:
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0, **more}
        return {"candidates": [candidate], "usageMetadata": self.usage, "modelVersion": "scripted"}


def _parts(step: Step, place: str) -> list[dict[str, Any]]:
    match step:
        case Think(text):
            return [{"text": piece, "thought": True} for piece in cut(text)]
        case Say(text):
            return [{"text": piece} for piece in cut(text)]
        case Call(tool, arguments):
            given = {key: value.replace("{cwd}", place) for key, value in arguments.items()}
            return [{"functionCall": {"name": TOOLS[tool], "args": {**given, **MORE_ARGUMENTS.get(tool, {})}}}]
        case Delegate(task):
            return [{"functionCall": {"name": "invoke_agent", "args": {"agent_name": "generalist", "prompt": task}}}]
        case _:
            return []
