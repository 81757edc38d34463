"""``hook``: takes one payload of Claude Code's hooks from stdin, and tells it in the session's workcell.

It must be quick, as the user's session waits for it, and must never end with 2, by which a hook forbids what it was
asked about. So it loads next to nothing, reads its own options, and takes no more than a moment for the log's lock.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import re
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from workcast.broker.appender import Appender
from workcast.cli.hook_events import SOURCE, events_of
from workcast.events.json_value import as_object

MARK: Final = "WORKCAST_RUN"
"""Set in what a run starts: the run tells of that session."""
PATIENCE_S: Final = 2.0
JUST_NOW_S: Final = 10.0
_NO_ID: Final = re.compile(r"[^A-Za-z0-9._-]")
_NEWLINE: Final = 10
_RECENT: Final = 5


class HookError(Exception):
    """Why nothing was told, in one sentence."""


def run(words: Sequence[str]) -> int:
    """The verb; what it answers is the exit code, 0 or 1."""
    try:
        tell(sys.stdin.buffer.read(), _root_option(words), os.environ)
    except HookError as error:
        sys.stderr.write(f"workcast hook: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"workcast hook: cannot write the log: {error}\n")
        return 1
    return 0


def tell(raw: bytes, root: str | None, env: Mapping[str, str]) -> None:
    """Tell what a payload says; nothing, if the session is a run's, or if no root is to be found.

    Raises:
        HookError: the payload is none, or somebody else holds the log for long.
        OSError: the log cannot be written.
    """
    at = datetime.now(UTC)
    payload = _parse(raw)
    session = payload.get("session_id")
    if not isinstance(session, str) or not session:
        raise HookError("expected a session_id in the payload, got none; is this a hook of Claude Code?")
    directory = _find_root(root or env.get("WORKCAST_ROOT"), payload)
    if MARK in env or directory is None:
        return
    workcell = _NO_ID.sub("-", f"claude-{session}")[:128]
    cells = directory / ".workcells"
    state = cells / ".workcast"
    state.mkdir(parents=True, exist_ok=True)
    log = cells / workcell / "telemetry.jsonl"
    with _hold(state / f"{workcell}.telling"):
        followed = _is_held(state / "watch-claude.lock")
        events = events_of(payload, at, LogView(log), _parent_call(payload), followed=followed)
        if not events:
            return
        log.parent.mkdir(mode=0o700, exist_ok=True)  # as private as the transcript is
        _hide_from_git(cells)
        lines = [_line({**event, "workcell_id": workcell}) for event in events]
        with Appender(log) as appender:
            appender.append(b"".join(lines))


class LogView:
    """What a log tells already, found by looking for it from the end."""

    def __init__(self, log: Path) -> None:
        try:
            with log.open("rb") as file:
                self._bytes: mmap.mmap | bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            self._bytes = b""  # there is none, or nothing in it

    @property
    def is_empty(self) -> bool:
        return len(self._bytes) == 0

    @property
    def is_open(self) -> bool:
        began = max(self._bytes.rfind(b'{"type":"%s"' % kind) for kind in (b"prompt_sent", b"started"))
        return began > self._bytes.rfind(b'{"type":"completed"')

    def call(self, call_id: str) -> bool:
        return any(event.get("type") == "tool_call" for event in self._with_call(call_id))

    def result(self, call_id: str) -> bool:
        return any(event.get("type") == "tool_result" for event in self._with_call(call_id))

    def prompt(self, prompt: str, prompt_id: object, at: datetime) -> bool:
        recent = [event for event, _ in zip(self._events(b'{"type":"prompt_sent"'), range(_RECENT), strict=False)]
        return any(
            (event.get("prompt") == prompt or _is_followers(event, prompt_id)) and _is_near(event.get("timestamp"), at)
            for event in recent
        )

    def _with_call(self, call_id: str) -> Iterator[dict[str, Any]]:
        for event in self._events(json.dumps(call_id, ensure_ascii=False).encode("utf-8", "replace")):
            if event.get("call_id") == call_id:
                yield event

    def _events(self, needle: bytes) -> Iterator[dict[str, Any]]:
        """The events whose lines hold some bytes, the last one first."""
        end = len(self._bytes)
        while (found := self._bytes.rfind(needle, 0, end)) >= 0:
            start = self._bytes.rfind(b"\n", 0, found) + 1
            stop = self._bytes.find(b"\n", found)
            try:
                event = as_object(json.loads(self._bytes[start : stop if stop >= 0 else len(self._bytes)]))
            except ValueError:
                event = None
            if event is not None:
                yield event
            end = start


def _line(event: Mapping[str, Any]) -> bytes:
    """An event as all others are written: without spaces, its type first."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def _parse(raw: bytes) -> Mapping[str, Any]:
    try:
        payload = as_object(json.loads(raw, parse_constant=str))
    except (ValueError, RecursionError) as error:
        raise HookError(f"expected a JSON object on stdin, got {len(raw)} bytes that are none: {error}") from error
    if payload is None:
        raise HookError(f"expected a JSON object on stdin, got something else: {raw[:40]!r}")
    return payload


def _root_option(words: Sequence[str]) -> str | None:
    match list(words):
        case []:
            return None
        case ["--root", root] if root:
            return root
        case [word] if word.startswith("--root=") and len(word) > len("--root="):
            return word.removeprefix("--root=")
        case _:
            raise HookError(f"expected no option but --root DIR, got {' '.join(words)}")


def _find_root(named: str | None, payload: Mapping[str, Any]) -> Path | None:
    """The root that is named, else the nearest one above the session's directory."""
    if named:
        root = Path(named).absolute()
        if not root.is_dir():
            raise HookError(f"expected a directory as root, got {root}; create it or name another")
        return root
    cwd = payload.get("cwd")
    here = Path(cwd) if isinstance(cwd, str) and cwd else Path.cwd()
    return next((up for up in (here, *here.parents) if (up / ".workcells").is_dir()), None)


def _parent_call(payload: Mapping[str, Any]) -> str | None:
    """The call that started the sub-agent that the payload comes from, as the file beside its transcript says."""
    agent, transcript = payload.get("agent_id"), payload.get("transcript_path")
    if not isinstance(agent, str) or not isinstance(transcript, str) or "/" in agent:
        return None
    try:
        meta = Path(transcript).with_suffix("") / "subagents" / f"agent-{agent}.meta.json"
        call = (as_object(json.loads(meta.read_bytes())) or {}).get("toolUseId")
    except (OSError, ValueError):
        return None
    return call if isinstance(call, str) else None


def _is_followers(event: Mapping[str, Any], prompt_id: object) -> bool:
    """Whether a follower told this prompt, perhaps in other words: a transcript has a command's name in a tag."""
    return prompt_id is not None and event.get("prompt_id") == prompt_id and event.get("source") != SOURCE


def _is_near(timestamp: object, at: datetime) -> bool:
    try:
        then = datetime.fromisoformat(timestamp) if isinstance(timestamp, str) else None
        return then is not None and abs((at - then).total_seconds()) < JUST_NOW_S
    except (TypeError, ValueError):
        return False


@contextmanager
def _hold(lock: Path) -> Generator[None]:
    """Be the only one who tells of this session."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _wait(lambda: fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def _wait(take: Callable[[], None]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            take()
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise HookError(
                    "somebody else has been writing this session's log for long; nothing was told"
                ) from None
            time.sleep(0.005)
        else:
            return


def _is_held(lock: Path) -> bool:
    """Whether somebody follows transcripts in this root."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _hide_from_git(cells: Path) -> None:
    """As a root does it, whose module takes longer to load than all of this."""
    ignore = cells / ".gitignore"
    if not ignore.exists():
        from workcast.broker.root import Root

        Root(cells.parent).hide_from_git()
