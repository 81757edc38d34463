"""The writer: what a program imports to tell what its agent does."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from workcast.broker.event import MODELS, BaseEvent, Status, build, dump
from workcast.broker.log import Appender, LogReader
from workcast.broker.wire import inspect

_CONTEXT: Final = ("workcell_id", "issue_id", "toolchain", "model")

logger = logging.getLogger("workcast.writer")


class TelemetryWriter:
    """Appends events to one log; safe for several threads, and beside other writers of the same log.

    ``context`` holds ``workcell_id``, ``issue_id``, ``toolchain`` and ``model`` for every event; ``started`` sets
    what it is given for the events that follow. An emit validates, appends, and returns: it never waits for Redis.

    Raises:
        OSError: the log's directory cannot be made, or (from an emit) the log cannot be written.
        EventError: (from an emit) a field does not fit its event.
    """

    def __init__(self, path: Path | str, context: Mapping[str, str | None] | None = None) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._appender = Appender(self.path)
        self._context = {key: value for key, value in (context or {}).items() if value is not None}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the log; a later emit opens it again."""
        self._appender.close()

    def emit(self, type: str, data: Mapping[str, Any] | None = None) -> None:  # noqa: A002 - the field's own name
        """Write one event of any type; ``data`` are its fields."""
        self._append(build({**self._context, **(data or {}), "type": type}))

    def write(self, event: BaseEvent) -> None:
        """Write an event that exists already; the context fills in what it leaves open."""
        missing = {key: value for key, value in self._context.items() if getattr(event, key) is None}
        self._append(event.model_copy(update=missing) if missing else event)

    def _append(self, event: BaseEvent) -> None:
        self._appender.append(dump(event) + b"\n")

    # ── one method an event type, with the parameters of the system that came before ────────────────────────────────
    def started(self, toolchain: str, model: str | None = None, issue_id: str | None = None, **extra: Any) -> None:
        """The agent has started. Its toolchain, model, issue and workcell are the context of what follows."""
        given = {"toolchain": toolchain, "model": model, "issue_id": issue_id, **extra}
        self._context.update({key: str(given[key]) for key in _CONTEXT if given.get(key) is not None})
        self._emit("started", given)

    def prompt_sent(self, prompt: str, tokens: int | None = None, **extra: Any) -> None:
        """The agent was given its prompt."""
        self._emit("prompt_sent", {"prompt": prompt, "tokens": tokens, **extra})

    def response_chunk(self, content: str, role: str = "assistant", **extra: Any) -> None:
        """A piece of an answer that is still being written."""
        self._emit("response_chunk", {"content": content, "role": role, **extra})

    def response_complete(self, content: str, role: str = "assistant", tokens: int | None = None, **extra: Any) -> None:
        """A whole answer."""
        self._emit("response_complete", {"content": content, "role": role, "tokens": tokens, **extra})

    def thinking(self, content: str, **extra: Any) -> None:
        """A thought of the model; ``partial=True`` for a piece of one."""
        self._emit("thinking", {"content": content, **extra})

    def tool_call(self, tool: str, args: Any = None, **extra: Any) -> None:
        """The agent calls a tool. ``call_id`` pairs it with its result."""
        self._emit("tool_call", {"tool": tool, "args": {} if args is None else args, **extra})

    def tool_result(self, tool: str, result: Any, error: str | None = None, **extra: Any) -> None:
        """A tool's result, or what went wrong."""
        self._emit("tool_result", {"tool": tool, "result": result, "error": error, **extra})

    def file_read(self, path: str, **extra: Any) -> None:
        """The agent read a file."""
        self._emit("file_read", {"path": str(path), **extra})

    def file_write(self, path: str, **extra: Any) -> None:
        """The agent wrote a file."""
        self._emit("file_write", {"path": str(path), **extra})

    def bash_command(self, command: str, **extra: Any) -> None:
        """The agent runs a shell command."""
        self._emit("bash_command", {"command": command, **extra})

    def bash_output(self, output: str, exit_code: int | None = None, **extra: Any) -> None:
        """What a shell command printed."""
        self._emit("bash_output", {"output": output, "exit_code": exit_code, **extra})

    def completed(
        self, status: Status, exit_code: int | None = None, duration_ms: int | None = None, **extra: Any
    ) -> None:
        """The run is over."""
        self._append(
            build({
                **self._context, "type": "completed", "status": status, "exit_code": exit_code,
                "duration_ms": duration_ms, **extra,
            })
        )  # fmt: skip

    def error(self, error: str, **extra: Any) -> None:
        """Something went wrong; ``retryable=True`` if it is being tried again."""
        self._emit("error", {"error": error, **extra})

    def _emit(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Write an event without the fields that say nothing."""
        known = MODELS[kind].model_fields
        given = {key: value for key, value in fields.items() if value is not None or key not in known}
        self._append(build({**self._context, **given, "type": kind}))


def read_telemetry_events(path: Path | str, offset: int = 0, limit: int | None = None) -> list[dict[str, Any]]:
    """The events of a log from ``offset`` on, as they were written; a missing file has none.

    A line that is no event is skipped with a warning. ``limit`` bounds how many events are returned.
    """
    reader = LogReader(Path(path))
    reader.refresh()
    events: list[dict[str, Any]] = []
    at = max(offset, reader.base)
    while at < reader.end and (limit is None or len(events) < limit):
        for line in reader.read(at, 1024, 4 << 20).lines:
            event = inspect(line)[1]
            if event is None:
                logger.warning("%s: offset %d is no event and was skipped: %.80r", path, at, line)
            elif limit is None or len(events) < limit:
                events.append(event)
            at += 1
    return events
