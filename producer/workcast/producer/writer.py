"""The writer: what a program imports to emit the events of its agent."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, Final, Literal, Self

from workcast.broker.appender import Appender
from workcast.broker.below import is_below_root, make_directory
from workcast.broker.connection import check_url
from workcast.broker.environment import read_environment
from workcast.broker.errors import BrokerError
from workcast.broker.log import LogReader
from workcast.broker.relay import Relay
from workcast.broker.root import LoneLog, Root, root_of
from workcast.broker.running import find_up, served
from workcast.broker.standby import Standby
from workcast.events.codec import build, dump
from workcast.events.errors import EventError, WorkcastError
from workcast.events.models import MODELS, BaseEvent, Status
from workcast.events.wire import inspect
from workcast.producer.mirror import Mirror
from workcast.producer.unwritten import Unwritten

_CONTEXT: Final = ("workcell_id", "issue_id", "toolchain", "model")
_DRAIN_SECONDS: Final = 2.0
"""How long ``close`` waits for the relay to publish the last events; they are in the log all the same."""

logger = logging.getLogger("workcast.writer")


class TelemetryWriter:
    """Appends events to one log; safe for several threads, and beside other writers of the same log.

    An emit validates, appends, and returns: it never waits for Redis and never fails because of it. With a Redis URL,
    a thread of this writer relays the log there. Beside an ``up`` of the log's root, which relays it already, such a
    thread only checks, a moment later, that it did. Without either, the log waits for the next relay of its root.

    Args:
        path: the log, usually ``ROOT/.workcells/<workcell id>/telemetry.jsonl``; its directory is created.
        context: ``workcell_id``, ``issue_id``, ``toolchain`` and ``model`` of every event; what ``started`` is given
            replaces them for the events that follow.
        redis_url: relay the log to this server; default: ``WORKCAST_REDIS_URL``, if set.
        relay: False: write only, whatever ``redis_url`` and the environment say.
        lock_timeout: seconds for which an emit waits for other writers; default: ``WORKCAST_LOCK_TIMEOUT``, else 10.
        on_error: what an emit does that cannot write the log: raise an OSError (a LogLockedError is one), or count the
            event in ``unwritten`` and return; the log gets an ``error`` with the number once it can be written again.
        mirror_path: a second JSONL file, of shortened events (see :class:`~workcast.producer.mirror.Mirror`).
        mirror_event_types: the event types it gets; None: all.
        mirror_prefix: put before their types, with a dot.
        mirror_max_chars: longer strings are cut to this many code points and marked with ``…``.

    Raises:
        BrokerError: the Redis URL is malformed; a server that does not answer is only logged.
        SettingError: ``WORKCAST_LOCK_TIMEOUT`` is malformed.
        OSError: the log's directory cannot be created, or (from an emit) the log cannot be written.
        LogLockedError: (from an emit) another writer held the log's lock for too long; nothing was written.
        EventError: (from an emit) a field does not fit its event.
    """

    def __init__(
        self,
        path: Path | str,
        context: Mapping[str, str | None] | None = None,
        *,
        redis_url: str | None = None,
        relay: bool = True,
        lock_timeout: float | None = None,
        on_error: Literal["raise", "count"] = "raise",
        mirror_path: Path | str | None = None,
        mirror_event_types: Iterable[str] | None = None,
        mirror_prefix: str = "telemetry",
        mirror_max_chars: int = 2000,
    ) -> None:
        environment = read_environment()
        timeout = environment.lock_timeout if lock_timeout is None else lock_timeout
        self._redis_url = redis_url or environment.redis_url
        self._may_relay = relay
        if self._redis_url and relay:
            check_url(self._redis_url)
        self.path = Path(path)
        make_directory(self.path.parent)
        if (root := root_of(self.path)) is not None:
            root.hide_from_git()
        self._appender = Appender(self.path, lock_timeout=timeout)
        self._context = {key: str(value) for key, value in (context or {}).items() if value is not None}
        self._relay: Relay | Standby | None = None
        self._relays = relay
        self._unwritten = Unwritten(self._append_now, lambda _: True) if on_error == "count" else None
        self._starting = threading.RLock()  # a signal handler may emit while the relay is being started
        self._is_starting = False
        self._mirror = (
            Mirror(Path(mirror_path), mirror_event_types, mirror_prefix, mirror_max_chars, timeout)
            if mirror_path
            else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the log; a later emit opens it again. The writer's own relay gets 2 s to publish what is left."""
        with self._starting:
            relay, self._relay, self._relays = self._relay, None, self._may_relay
        if isinstance(relay, Relay):
            relay.close(_DRAIN_SECONDS)
        elif relay is not None:
            relay.close()
        self._appender.close()
        if self._mirror is not None:
            self._mirror.close()

    def emit(self, type: str, data: Mapping[str, Any] | None = None) -> None:  # noqa: A002 - the field's own name
        """Write one event of any type; ``data`` are its fields."""
        self._append(build({**self._context, **(data or {}), "type": type}))

    def write(self, event: BaseEvent) -> None:
        """Write an event; the context fills in the fields that it lacks."""
        missing = {key: value for key, value in self._context.items() if getattr(event, key) is None}
        self._append(event.model_copy(update=missing) if missing else event)

    @property
    def unwritten(self) -> int:
        """How many events could not be written, with ``on_error="count"``."""
        return 0 if self._unwritten is None else self._unwritten.total

    def _append(self, event: BaseEvent) -> None:
        if self._unwritten is None:
            self._append_now(event)
        else:
            self._unwritten.write(event)

    def _append_now(self, event: BaseEvent) -> None:
        line = dump(event)
        self._appender.append(line + b"\n")
        if self._mirror is not None:
            self._mirror.write(event.type, line)
        if self._relay is not None:
            self._relay.wake()
        elif self._relays:
            self._start_relay()

    def _start_relay(self) -> None:
        """Relay this log from a thread of this writer, now that the log exists, if there is a server to relay it to."""
        with self._starting:
            if self._relay is not None or not self._relays or self._is_starting:
                return
            self._is_starting = True
            try:
                try:
                    relay = self._make_relay()
                except (WorkcastError, OSError) as error:
                    logger.warning("%s is written but not relayed: %s", self.path, error)
                    relay = None
                if relay is None:
                    self._relays = False
                    return
                relay.start()
                relay.wake()
                self._relay = relay
            finally:
                self._is_starting = False

    def _make_relay(self) -> Relay | Standby | None:
        if self._redis_url:
            root, workcell = self._place()
            return Relay(root, self._redis_url, only=workcell)
        found = root_of(self.path)
        running = find_up(found) if found else None
        if found is None or running is None or running.pid == os.getpid():
            return None
        root = Root(found.directory, running.name)
        return Standby(root, root.id_of(self.path.absolute().parent.name))

    def _place(self) -> tuple[Root, str]:
        """Return the log's root and workcell id; outside of a root, a root of this one log and the context's id."""
        found = root_of(self.path)
        if found is not None:
            root = served(found)
            return root, root.id_of(self.path.absolute().parent.name)
        workcell = self._context.get("workcell_id")
        if workcell is None:
            raise BrokerError("expected a workcell_id in the context, or a log in ROOT/.workcells/<id>/, got neither")
        root = LoneLog(self.path)
        root.local(workcell)  # raises if it is malformed
        return root, workcell

    # ── one method per event type, with the parameters of an earlier system ─────────────────────────────────────────
    # Values that it accepted are accepted: see _fit.
    def started(
        self, toolchain: str, model: str | None = None, issue_id: str | int | None = None, **extra: Any
    ) -> None:
        """The agent has started; its toolchain, model, issue and workcell become the context of later events."""
        given = {"toolchain": toolchain, "model": model, "issue_id": issue_id, **extra}
        self._context.update({key: str(given[key]) for key in _CONTEXT if given.get(key) is not None})
        self._emit("started", given)

    def prompt_sent(self, prompt: str, tokens: float | None = None, **extra: Any) -> None:
        """The agent was given its prompt."""
        self._emit("prompt_sent", {"prompt": prompt, "tokens": tokens, **extra})

    def response_chunk(self, content: str, role: str = "assistant", **extra: Any) -> None:
        """A piece of an answer that is still being written."""
        self._emit("response_chunk", {"content": content, "role": role, **extra})

    def response_complete(
        self, content: str, role: str = "assistant", tokens: float | None = None, **extra: Any
    ) -> None:
        """A whole answer."""
        self._emit("response_complete", {"content": content, "role": role, "tokens": tokens, **extra})

    def thinking(self, content: str, **extra: Any) -> None:
        """Reasoning of the model; ``partial=True`` for a piece of it."""
        self._emit("thinking", {"content": content, **extra})

    def tool_call(self, tool: str, args: Any = None, **extra: Any) -> None:
        """The agent calls a tool. ``call_id`` pairs it with its result."""
        self._emit("tool_call", {"tool": tool, "args": {} if args is None else args, **extra})

    def tool_result(self, tool: str, result: Any, error: str | BaseException | None = None, **extra: Any) -> None:
        """A tool has returned its result, or an error."""
        self._emit("tool_result", {"tool": tool, "result": result, "error": error, **extra})

    def file_read(self, path: str | Path, **extra: Any) -> None:
        """The agent read a file."""
        self._emit("file_read", {"path": path, **extra})

    def file_write(self, path: str | Path, **extra: Any) -> None:
        """The agent wrote a file."""
        self._emit("file_write", {"path": path, **extra})

    def bash_command(self, command: str, **extra: Any) -> None:
        """The agent runs a shell command."""
        self._emit("bash_command", {"command": command, **extra})

    def bash_output(self, output: str, exit_code: int | None = None, **extra: Any) -> None:
        """A shell command has printed its output."""
        self._emit("bash_output", {"output": output, "exit_code": exit_code, **extra})

    def completed(
        self, status: Status, exit_code: int | None = None, duration_ms: float | None = None, **extra: Any
    ) -> None:
        """The run is over."""
        # None is written too: it says that the value is unknown.
        given = {"status": status, "exit_code": exit_code, "duration_ms": duration_ms}
        self._build({**given, **extra, "type": "completed"})

    def error(self, error: str | BaseException, **extra: Any) -> None:
        """Something went wrong; ``retryable=True`` if it is being retried."""
        self._emit("error", {"error": error, **extra})

    def _emit(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Write an event without the known fields that are None."""
        model = MODELS[kind]
        known = model.model_fields.keys() - model.meaningful_nulls
        given = {key: value for key, value in fields.items() if value is not None or key not in known}
        self._build({**given, "type": kind})

    def _build(self, given: Mapping[str, Any]) -> None:
        fields = {**self._context, **given}
        try:
            event = build(fields)
        except EventError:
            event = build(_fit(fields))
        self._append(event)


def _fit(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Convert values of another type than their field's, where the meaning is clear: 12.7 ms, an exception, a path."""
    known = MODELS[fields["type"]].model_fields
    return {
        key: _as(field.annotation, value) if (field := known.get(key)) is not None else value
        for key, value in fields.items()
    }


def _as(annotation: object, value: Any) -> Any:
    if annotation in (str, str | None):
        if isinstance(value, BaseException):
            return str(value) or type(value).__name__
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        return str(value) if isinstance(value, int | float | PurePath) else value
    if annotation in (int, int | None) and isinstance(value, float) and isfinite(value):
        return round(value)
    return value


def read_telemetry_events(path: Path | str, offset: int = 0, limit: int | None = None) -> list[dict[str, Any]]:
    """Return the events of a log from ``offset`` on, as they were written; none if the file is missing.

    A line that is not an event is skipped with a warning. At most ``limit`` events are returned.
    """
    named = Path(path)
    reader = LogReader(named if is_below_root(named) else named.resolve())  # what the caller named may be a link
    reader.refresh()
    events: list[dict[str, Any]] = []
    at = max(offset, reader.base)
    while at < reader.end and (limit is None or len(events) < limit):
        lines = reader.read(at, 1024, 4 << 20).lines
        if not lines:
            break  # the file was replaced meanwhile
        for line in lines:
            if len(events) == limit:
                break
            event = inspect(line)[1]
            if event is None:
                logger.warning("%s: offset %d is not an event and was skipped: %.80r", path, at, line)
            else:
                events.append(event)
            at += 1
    return events
