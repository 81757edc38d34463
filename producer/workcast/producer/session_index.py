"""What a session's log contains, in short: its recent calls, results and prompts, and whether a turn is open.

A hook has to find out within milliseconds whether an event is in the log already, however long the log is. So this
index, a small text file beside it, is kept up to date by every writer of the log, and read as a whole. A line is

- ``c ID`` or ``r ID``: the log contains this call, or the result of it;
- ``p [BEGINNING, LENGTH, PROMPT_ID, TIMESTAMP, SOURCE]``: a prompt;
- ``o`` or ``x``: a turn was opened, or is over;
- ``@ INODE POSITION LAST;``: all of this describes the log with this inode up to the position, before which the bytes
  ``LAST`` stand, in hexadecimal digits.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from workcast.broker.below import open_below, read_below
from workcast.broker.files import replace_file
from workcast.events.json_value import as_object

MAX_BYTES: Final = 1 << 20
"""Some 5,000 calls. Beyond it, the older half is dropped, but for calls that have no result yet."""
_LARGEST_BYTES: Final = 4 << 20
"""Of any index that is read: one that was shortened has at most 1,000 old calls and a newer half, under 2 MiB."""
_MAX_ID: Final = 128
"""Characters; a longer one is indexed by its hash."""
MAX_OPEN_CALLS: Final = 1000
"""Calls without a result that are kept from the older half: the newest."""
JUST_NOW_S: Final = 10.0
"""Two equal prompts within so many seconds are the same one."""
_PROMPTS: Final = 5
"""How many prompts are compared: the newest."""
_PROMPT_FIELDS: Final = 5
_BEGINNING: Final = 200
_LAST_BYTES: Final = 32
_BLOCK_BYTES: Final = 1 << 20
_INDEXED: Final = tuple(
    b'{"type":%s"%s"' % (space, kind)
    for kind in (b"started", b"prompt_sent", b"tool_call", b"tool_result", b"completed")
    for space in (b"", b" ")
)
"""How the lines of indexed events begin. No regular expressions: compiling them takes a hook some 0.3 ms each."""


class SessionIndex:
    """The index of one log, read when it is made. Its caller holds the session's lock.

    Args:
        path: the index.
        log: the log.
    """

    def __init__(self, path: Path, log: Path) -> None:
        self._path = path
        self._log = log
        try:
            self._text = b"\n" + read_below(path, _LARGEST_BYTES)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.EFBIG}:  # too large: it is no index
                raise
            self._text = b"\n"
        self._new: list[str] = []

    def has_call(self, call_id: str) -> bool:
        """Whether the log contains a call."""
        return _entry("c", call_id) in self._text

    def has_result(self, call_id: str) -> bool:
        """Whether the log contains the result of a call."""
        return _entry("r", call_id) in self._text

    def has_prompt(self, prompt: str, prompt_id: object, at: datetime) -> bool:
        """Whether the log contains a prompt that was given just now.

        One from a transcript is the same if its id is, whatever its text: a transcript puts a command's name in a tag.
        """
        for beginning, length, its_id, timestamp, source in self._prompts():
            same = [beginning, length] == [prompt[:_BEGINNING], len(prompt)]
            transcribed = prompt_id is not None and its_id == _short(prompt_id) and source != "hook"
            if (same or transcribed) and _is_near(timestamp, at):
                return True
        return False

    def _prompts(self) -> Iterator[list[Any]]:
        """Return the newest prompts, the last one first."""
        end = len(self._text)
        for _ in range(_PROMPTS):
            start = self._text.rfind(b"\np ", 0, end)
            if start < 0:
                return
            with suppress(ValueError, RecursionError):  # a damaged line
                prompt = json.loads(self._text[start + 3 : self._text.find(b"\n", start + 1)])
                if isinstance(prompt, list) and len(prompt) == _PROMPT_FIELDS:  # pyright: ignore[reportUnknownArgumentType]
                    yield prompt
            end = start + 1

    @property
    def is_open(self) -> bool:
        """Whether a turn was opened and is not over."""
        return self._text.rfind(b"\no\n") > self._text.rfind(b"\nx\n")

    def catch_up(self, limit: int | None = None) -> None:
        """Index what was added to the log, but no more than its last ``limit`` bytes.

        A call that is skipped for the limit counts as missing. That needs a writer that does not keep the index, or
        an index that was deleted.

        Raises:
            OSError: log or index cannot be read or written.
        """
        try:
            log = os.fdopen(open_below(self._log, os.O_RDONLY), "rb")
        except FileNotFoundError:
            self._text = b"\n"
            self._save(whole=True)
            return
        with log:
            status = os.fstat(log.fileno())
            start, kept = self._start(log.fileno(), status)
            if not kept:
                self._text = b"\n"
            if start == status.st_size and kept:
                return
            if limit is not None and status.st_size - start > limit:
                log.seek(status.st_size - limit - 1)
                log.readline()
            else:
                log.seek(start)
            position = log.tell()
            while lines := log.readlines(_BLOCK_BYTES):
                if not lines[-1].endswith(b"\n"):
                    lines.pop()  # torn: its writer will finish or close it
                    if not lines:
                        break
                position += sum(map(len, lines))
                self._new += [entry for line in lines if line.startswith(_INDEXED) for entry in _entries_of(line)]
            self._mark(log.fileno(), status.st_ino, position)
        self._save(whole=not kept)

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Index events that the caller has appended to the log.

        Raises:
            OSError: log or index cannot be read or written.
        """
        self._new += [entry for event in events for entry in _entries(event)]
        log = open_below(self._log, os.O_RDONLY)
        try:
            status = os.fstat(log)
            self._mark(log, status.st_ino, status.st_size)
        finally:
            os.close(log)
        self._save()

    def _start(self, log: int, status: os.stat_result) -> tuple[int, bool]:
        """Return where to continue, and whether the entries hold: for the same log, and for a pruned one."""
        found = self._text.rfind(b";\n")  # only marks end so; one without is torn
        start = self._text.rfind(b"\n@ ", 0, found)
        if start < 0:
            return 0, False
        try:
            inode, position, last = self._text[start + 3 : found].split(b" ")
            end, expected = int(position), bytes.fromhex(last.decode())
            is_same = int(inode) == status.st_ino and len(expected) <= end <= status.st_size
        except ValueError:  # it is damaged, and only saves reading the log
            return 0, False
        if is_same and os.pread(log, len(expected), end - len(expected)) == expected:
            return end, True
        return 0, os.pread(log, 13, 0) == b'{"type":"log"'  # its header: what was pruned was in the log

    def _mark(self, log: int, inode: int, position: int) -> None:
        count = min(position, _LAST_BYTES)
        self._new.append(f"@ {inode} {position} {os.pread(log, count, position - count).hex()};")

    def _save(self, *, whole: bool = False) -> None:
        added = "".join(f"{entry}\n" for entry in self._new).encode("utf-8", "replace")
        self._new.clear()
        self._text += added
        if len(self._text) > MAX_BYTES:
            self._shorten()
            whole = True
        if whole:
            replace_file(self._path, self._text[1:])
        else:
            descriptor = open_below(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            try:
                os.write(descriptor, b"\n" + added)  # which ends a line that another writer left torn
            finally:
                os.close(descriptor)

    def _shorten(self) -> None:
        """Drop the older half, again and again, until the index is small or has only calls that have not returned."""
        before = len(self._text) + 1
        while MAX_BYTES < len(self._text) < before:
            before = len(self._text)
            self._compact()

    def _compact(self) -> None:
        half = self._text.find(b"\n", len(self._text) // 2)
        older, newer = self._text[:half].split(b"\n"), self._text[half:]
        returned = {line[2:] for line in self._text.split(b"\n") if line.startswith(b"r ")}
        calls = [line for line in older if line.startswith(b"c ") and line[2:] not in returned]
        state = b"o" if self.is_open else b"x"
        self._text = b"\n" + b"\n".join([*calls[-MAX_OPEN_CALLS:], state]) + newer


def _entry(kind: str, call_id: str) -> bytes:
    return f"\n{kind} {json.dumps(_short(call_id))}\n".encode()


def _short(value: object) -> str | None:
    """Return a text as the index has it; None for anything else."""
    if not isinstance(value, str) or len(value) <= _MAX_ID:
        return value if isinstance(value, str) else None
    from hashlib import sha256  # seldom needed, and takes a hook half a millisecond

    return sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def _entries_of(line: bytes) -> list[str]:
    try:
        event = as_object(json.loads(line))
    except (ValueError, RecursionError):
        return []
    return [] if event is None else _entries(event)


def _entries(event: Mapping[str, Any]) -> list[str]:
    call_id = event.get("call_id")
    match event.get("type"):
        case "tool_call" if isinstance(call_id, str):
            return [f"c {json.dumps(_short(call_id))}"]
        case "tool_result" if isinstance(call_id, str):
            return [f"r {json.dumps(_short(call_id))}"]
        case "started":
            return ["o"]
        case "prompt_sent":
            prompt = str(event.get("prompt"))
            known = [_short(event.get(key)) for key in ("prompt_id", "timestamp", "source")]
            return ["p " + json.dumps([prompt[:_BEGINNING], len(prompt), *known]), "o"]
        case "completed":
            return ["x"]
        case _:
            return []


def _is_near(timestamp: object, at: datetime) -> bool:
    try:
        then = datetime.fromisoformat(timestamp) if isinstance(timestamp, str) else None
        return then is not None and abs((at - then).total_seconds()) < JUST_NOW_S
    except (TypeError, ValueError):
        return False
