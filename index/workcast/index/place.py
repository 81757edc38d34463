"""Places in the order of hits, and the opaque cursors that stand for them."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from workcast.events.errors import WorkcastError
from workcast.events.json_value import as_array

END: Final = 2**53
"""After all offsets."""
_MAX_CURSOR: Final = 1000


class CursorError(WorkcastError):
    """A cursor is malformed, or belongs to another question."""


class Place(NamedTuple):
    """What of the logs has been searched: those before this one in the order of hits, and this one up to an item.

    The newest log comes first, by its first event; in a log, items come in the order in which they became whole.
    """

    started: int
    """The time of the log's first event, in milliseconds since 1970; 0 if it has none."""
    workcell: str
    epoch: int
    resume: int
    """The offset from which to fold again."""
    end: int
    """Of the last item; one more for a text that was not whole."""
    offset: int
    """Of the last item."""

    @property
    def rank(self) -> tuple[int, str]:
        """The log's rank."""
        return -self.started, self.workcell


BEGINNING: Final = Place(END, "", 0, 0, 0, 0)
"""Before all logs."""


class Cursor(NamedTuple):
    """Where a search goes on, and the time from which its ages count."""

    now: datetime
    place: Place

    def write(self, question: str) -> str:
        """Return the cursor as the text that only :meth:`parse` understands."""
        fields = [_digest(question), round(self.now.timestamp() * 1000), *self.place]
        return base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str, question: str) -> Cursor:
        """Parse a cursor.

        Raises:
            CursorError: it is malformed, or belongs to another question.
        """
        fields = _fields(text)
        if len(fields) != 2 + len(Place._fields):
            raise CursorError(f"expected the cursor of an answer, got {text[:40]!r}; search without one first")
        digest, now, started, workcell, *numbers = fields
        whole = all(type(number) is int and 0 <= number <= END for number in (now, *numbers))
        if not whole or type(started) is not int or abs(started) > END or not isinstance(workcell, str):
            raise CursorError(f"expected the cursor of an answer, got {text[:40]!r}; search without one first")
        if digest != _digest(question):
            raise CursorError("expected a cursor of the same question, got that of another; search without one first")
        try:
            at = datetime.fromtimestamp(now / 1000, UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise CursorError(f"expected the cursor of an answer, got {text[:40]!r}") from error
        return cls(at, Place(started, workcell, *numbers))


def _fields(text: str) -> list[Any]:
    if len(text) > _MAX_CURSOR or not text.isascii():
        return []
    try:
        return as_array(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))) or []
    except (ValueError, RecursionError):
        return []


def _digest(question: str) -> str:
    return hashlib.sha256(question.encode(errors="replace")).hexdigest()[:16]
