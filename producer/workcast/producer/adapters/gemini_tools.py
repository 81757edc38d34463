"""What Gemini CLI's tools say: their calls and results as events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, BashCommand, BashOutput, FileRead, FileWrite, ToolCall, ToolResult
from workcast.producer.adapters.base import OpenCall, milliseconds_between
from workcast.producer.adapters.fields import JsonObject, as_object, get_object, get_text

SHELL: Final = "run_shell_command"
READING_TOOL: Final = "read_file"
WRITING_TOOLS: Final = frozenset({"write_file", "replace"})
EXIT_CODE: Final = re.compile(r"Command exited with code: (\d{1,9})")
"""All that is told of a command that failed without any output; of one with output the exit code is not told."""


class Called(NamedTuple):
    """A call and its arguments."""

    call: OpenCall
    arguments: object


class Calls:
    """The calls that are open, by the id that Gemini gives them.

    Some models' APIs begin their ids anew with each message: an id that comes again is another call then, and gets a
    number; its results come in the order of the calls.
    """

    def __init__(self) -> None:
        self._open: dict[str, list[Called]] = {}
        self._given: dict[str, int] = {}

    def open(self, tool_id: str, tool: str, arguments: object, at: datetime) -> OpenCall | None:
        """A new call; None if it is an open one that is told again."""
        same = self._open.setdefault(tool_id, [])
        if same and any(known.call.tool == tool and known.arguments == arguments for known in same):
            return None
        call = OpenCall(self._fresh(tool_id), tool, at, path=get_text(as_object(arguments), "file_path"))
        same.append(Called(call, arguments))
        return call

    def close(self, tool_id: str | None) -> Called | None:
        """The call that a result of this id answers, which is open no more."""
        same = self._open.get(tool_id or "")
        if not same:
            return None
        called = same.pop(0)
        if not same:
            del self._open[tool_id or ""]
        return called

    def take_all(self) -> Sequence[OpenCall]:
        """The calls that got no result."""
        left = [known.call for same in self._open.values() for known in same]
        self._open.clear()
        return left

    def _fresh(self, tool_id: str) -> str:
        """An id that no call has had."""
        call_id = tool_id
        while call_id in self._given:
            self._given[tool_id] += 1
            call_id = f"{tool_id}.{self._given[tool_id]}"
        self._given[call_id] = 1
        return call_id


def call_events(call: OpenCall, arguments: object) -> list[BaseEvent]:
    """The events of a call."""
    events: list[BaseEvent] = [make(ToolCall, timestamp=call.at, tool=call.tool, args=arguments, call_id=call.call_id)]
    command = get_text(as_object(arguments), "command")
    if call.tool == SHELL and command is not None:
        events.append(make(BashCommand, timestamp=call.at, command=command, call_id=call.call_id))
    return events


def result_events(called: Called, line: JsonObject, at: datetime) -> list[BaseEvent]:
    """The events of a result."""
    call, output = called.call, line.get("output")
    error = _error(line)
    exit_code = _exit_code(output) if call.tool == SHELL and error is None else None
    result = make(
        ToolResult,
        timestamp=at,
        tool=call.tool,
        result=output,
        call_id=call.call_id,
        duration_ms=milliseconds_between(call.at, at),
        error=error if exit_code is None else f"exit code {exit_code}",
        exit_code=exit_code,
    )
    hidden = as_object(called.arguments).get("is_background") is True  # the result says where the command went
    if error is None and call.tool == SHELL and isinstance(output, str) and not hidden:
        told = make(BashOutput, timestamp=at, output=output, call_id=call.call_id, exit_code=exit_code)
        return [result, told]
    if error is None and call.tool == READING_TOOL and call.path is not None:
        return [result, make(FileRead, timestamp=at, path=call.path, call_id=call.call_id)]
    if error is None and call.tool in WRITING_TOOLS and call.path is not None:
        return [result, make(FileWrite, timestamp=at, path=call.path, call_id=call.call_id)]
    return [result]


def _error(line: JsonObject) -> str | None:
    """What went wrong, in the best words there are; None: nothing did."""
    said = get_object(line, "error")
    if get_text(line, "status") != "error" and not said:
        return None
    words = (get_text(said, "message"), get_text(line, "output"), get_text(said, "type"))
    return next((text for text in words if text), "the tool failed without a message")


def _exit_code(output: object) -> int | None:
    said = EXIT_CODE.fullmatch(output) if isinstance(output, str) else None
    return int(said.group(1)) if said else None
