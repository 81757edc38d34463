"""Recording a hook's payload in the log of its session's workcell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any, Final

from workcast.broker import names
from workcast.broker.appender import Appender
from workcast.broker.below import make_directory, stat_below
from workcast.broker.environment import Environment
from workcast.broker.files import LockedError, is_locked, lock_file, read_regular
from workcast.events.depth import MAX_DIGITS, is_shallow, shallow
from workcast.events.errors import WorkcastError
from workcast.events.json_value import as_array, as_object
from workcast.producer.hooks.payload import events_of
from workcast.producer.session_index import SessionIndex

LOCK_WAIT_S: Final = 2.0
CATCH_UP_BYTES: Final = 1 << 20
"""The most that is read of the log: what writers that do not keep the index have added to it."""
MAX_METADATA_BYTES: Final = 1 << 16
"""Of a sub-agent; Claude Code writes some 100."""
MAX_PATH_CHARS: Final = 4096
"""No system takes a longer path."""
_IN_IDS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class HookError(WorkcastError):
    """The payload is malformed, or its session's log cannot be written now."""


def record(raw: bytes, root: str | None, environment: Environment) -> None:
    """Append the events of a payload to its session's log; nothing if ``workcast run`` started it, or without a root.

    Args:
        raw: what Claude Code passed on stdin.
        root: the root directory; None: that of the environment, else the nearest one above the session's directory.
        environment: the settings from the environment.

    Raises:
        HookError: the payload is malformed, the root is missing, or another process has held the log for 2 s.
        OSError: the log cannot be written.
    """
    at = datetime.now(UTC)
    payload = _parse(raw)
    session = payload.get("session_id")
    if not isinstance(session, str) or not session:
        raise HookError("expected a session_id in the payload, got none; is this a hook of Claude Code?")
    directory = _find_root(root or environment.root, payload)
    if environment.run is not None or directory is None:
        return
    workcell = "".join(char if char in _IN_IDS else "-" for char in f"claude-{session}"[:128])
    cells = directory / names.WORKCELLS_DIRECTORY
    state = cells / names.STATE_DIRECTORY
    make_directory(state)
    try:
        with lock_file(state / names.state_file(workcell, names.SESSION_LOCK_SUFFIX), wait=LOCK_WAIT_S):
            _append(payload, at, cells, workcell)
    except LockedError:
        raise HookError(
            f"expected the session's log to be free within {LOCK_WAIT_S:g} s, but another process is still writing it; "
            "nothing was recorded"
        ) from None


def _append(payload: Mapping[str, Any], at: datetime, cells: Path, workcell: str) -> None:
    state, log = cells / names.STATE_DIRECTORY, cells / workcell / names.LOG_FILE
    index = SessionIndex(state / names.state_file(workcell, names.SESSION_INDEX_SUFFIX), log)
    index.catch_up(CATCH_UP_BYTES)
    followed = is_locked(state / names.watch_lock_file("claude"), shared_too=True)
    events = events_of(payload, at, index, _parent_call(payload), is_new=_is_empty(log), followed=followed)
    if not events:
        return
    make_directory(log.parent)
    _hide_from_git(cells)
    with Appender(log) as appender:
        appender.append(b"".join(_line({**event, "workcell_id": workcell}) for event in events))
    index.add(events)


def _is_empty(log: Path) -> bool:
    found = stat_below(log)
    return found is None or found.st_size == 0


def _line(event: dict[str, Any]) -> bytes:
    """Write an event like all others: without spaces, its type first, and so that the wire carries it.

    As in :func:`~workcast.events.codec.dump`, infinity becomes null, lone surrogates become U+FFFD, and values nested
    more than 180 levels deep a string of their JSON.
    """
    try:
        if is_shallow(line := _to_json(event)):
            return line + b"\n"
    except (ValueError, RecursionError):  # not finite, or nested very deep
        pass
    return _to_json(_finite(shallow(event))) + b"\n"


def _to_json(event: Mapping[str, Any]) -> bytes:
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if (fields := as_object(value)) is not None:
        return {key: _finite(item) for key, item in fields.items()}
    if (items := as_array(value)) is not None:
        return [_finite(item) for item in items]
    return value


def _parse(raw: bytes) -> Mapping[str, Any]:
    try:
        payload = as_object(json.loads(raw, parse_constant=str, parse_int=_number))
    except (ValueError, RecursionError) as error:
        raise HookError(f"expected a JSON object on stdin, got {len(raw)} bytes that are not JSON: {error}") from error
    if payload is None:
        raise HookError(f"expected a JSON object on stdin, got another value: {raw[:40]!r}")
    return payload


def _number(digits: str) -> int | str:
    """Return a whole number; one with too many digits for the wire as its text."""
    return int(digits) if len(digits) <= MAX_DIGITS else digits


def _find_root(named: str | None, payload: Mapping[str, Any]) -> Path | None:
    if named:
        root = Path(named).absolute()
        if not root.is_dir():
            raise HookError(f"expected a directory as root, got {root}; create it or name another")
        return root
    cwd = payload.get("cwd")
    if not isinstance(cwd, str | None):
        raise HookError(f"expected a path as cwd in the payload, got {str(cwd)[:40]!r}")
    if cwd and (len(cwd) > MAX_PATH_CHARS or "\0" in cwd):
        raise HookError(f"expected a path as cwd in the payload, got {len(cwd)} characters that cannot be one")
    here = Path(cwd) if cwd else Path.cwd()
    return next((up for up in (here, *here.parents) if (up / names.WORKCELLS_DIRECTORY).is_dir()), None)


def _parent_call(payload: Mapping[str, Any]) -> str | None:
    """Return the call that started the payload's sub-agent, from the file beside the sub-agent's transcript."""
    agent, transcript = payload.get("agent_id"), payload.get("transcript_path")
    if not isinstance(agent, str) or not isinstance(transcript, str) or "/" in agent:
        return None
    try:
        meta = Path(transcript).with_suffix("") / "subagents" / f"agent-{agent}.meta.json"
        call = (as_object(json.loads(read_regular(meta, MAX_METADATA_BYTES))) or {}).get("toolUseId")
    except (OSError, ValueError, RecursionError):
        return None
    return call if isinstance(call, str) else None


def _hide_from_git(cells: Path) -> None:
    """Write ``.gitignore`` as a root does, whose module takes longer to load than a hook may take."""
    if stat_below(cells / names.GITIGNORE_FILE) is None:
        from workcast.broker.root import Root

        Root(cells.parent).hide_from_git()
