"""The calls and results of Gemini CLI's tools as events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from workcast.events.frozen import make
from workcast.events.models import BaseEvent, BashCommand, BashOutput, FileRead, FileWrite, ToolCall, ToolResult
from workcast.producer.adapters.base import milliseconds_between
from workcast.producer.calls import OpenCall
from workcast.producer.fields import JsonObject, as_object, get_object, get_text
from workcast.producer.open_calls import MAX_OPEN_CALLS
from workcast.producer.recent import RecentMap

SHELL: Final = "run_shell_command"
READING_TOOL: Final = "read_file"
WRITING_TOOLS: Final = frozenset({"write_file", "replace"})
EXIT_CODE: Final = re.compile(r"Command exited with code: (\d{1,9})")
"""All that is printed of a command that failed without output; with output, its exit code is not printed."""


class Called(NamedTuple):
    """A call and its arguments."""

    call: OpenCall
    arguments: object


class Calls:
    """The open calls by the id that Gemini gives them, at most ``limit`` of them.

    Some models' APIs restart their ids with each message: a repeated id is then another call, and gets a number; its
    results come in the order of the calls. A call beyond the limit displaces one of the oldest. The numbers are
    remembered for the last 10,000 ids: an id that comes again after those is taken for a new one.
    """

    def __init__(self, limit: int = MAX_OPEN_CALLS) -> None:
        self._limit = limit
        self._count = 0
        self._open: dict[str, list[Called]] = {}
        self._given: RecentMap[str, int] = RecentMap()

    def open(
        self, tool_id: str, tool: str, arguments: object, at: datetime
    ) -> tuple[OpenCall | None, Sequence[OpenCall]]:
        """Return a new call, None if it is an open one printed again; and the calls that it displaced."""
        same = self._open.get(tool_id, ())
        if any(known.call.tool == tool and known.arguments == arguments for known in same):
            return None, ()
        displaced = self._displace() if self._count >= self._limit else ()
        call = OpenCall(self._fresh(tool_id), tool, at, path=get_text(as_object(arguments), "file_path"))
        self._open.setdefault(tool_id, []).append(Called(call, arguments))
        self._count += 1
        return call, displaced

    def close(self, tool_id: str | None) -> Called | None:
        """Remove and return the call that a result of this id belongs to."""
        same = self._open.get(tool_id or "")
        if not same:
            return None
        called = same.pop(0)
        self._count -= 1
        if not same:
            del self._open[tool_id or ""]
        return called

    def take_all(self) -> Sequence[OpenCall]:
        """Remove and return the calls without a result."""
        left = [known.call for same in self._open.values() for known in same]
        self._open.clear()
        self._count = 0
        return left

    def _displace(self) -> Sequence[OpenCall]:
        called = self.close(next(iter(self._open)))
        return () if called is None else (called.call,)

    def _fresh(self, tool_id: str) -> str:
        """Return an id that no other call has."""
        call_id = tool_id
        while call_id in self._given:
            number = (self._given.get(tool_id) or 1) + 1
            self._given[tool_id] = number
            call_id = f"{tool_id}.{number}"
        self._given[call_id] = 1
        return call_id


def call_events(call: OpenCall, arguments: object) -> list[BaseEvent]:
    """Return the events of a call."""
    events: list[BaseEvent] = [make(ToolCall, timestamp=call.at, tool=call.tool, args=arguments, call_id=call.call_id)]
    command = get_text(as_object(arguments), "command")
    if call.tool == SHELL and command is not None:
        events.append(make(BashCommand, timestamp=call.at, command=command, call_id=call.call_id))
    return events


def result_events(called: Called, line: JsonObject, at: datetime) -> list[BaseEvent]:
    """Return the events of a result."""
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
    hidden = (
        as_object(called.arguments).get("is_background") is True
    )  # the result contains where it runs, not what it printed
    if error is None and call.tool == SHELL and isinstance(output, str) and not hidden:
        printed = make(BashOutput, timestamp=at, output=output, call_id=call.call_id, exit_code=exit_code)
        return [result, printed]
    if error is None and call.tool == READING_TOOL and call.path is not None:
        return [result, make(FileRead, timestamp=at, path=call.path, call_id=call.call_id)]
    if error is None and call.tool in WRITING_TOOLS and call.path is not None:
        return [result, make(FileWrite, timestamp=at, path=call.path, call_id=call.call_id)]
    return [result]


def _error(line: JsonObject) -> str | None:
    """Return the most specific description of what went wrong, or None if nothing did."""
    error = get_object(line, "error")
    if get_text(line, "status") != "error" and not error:
        return None
    words = (get_text(error, "message"), get_text(line, "output"), get_text(error, "type"))
    return next((text for text in words if text), "the tool failed without a message")


def _exit_code(output: object) -> int | None:
    found = EXIT_CODE.fullmatch(output) if isinstance(output, str) else None
    return int(found.group(1)) if found else None
