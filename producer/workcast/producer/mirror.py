"""The mirror: a second file with shortened events, for programs that read the log of an earlier system."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json, to_json

from workcast.broker.appender import Appender
from workcast.broker.below import make_directory
from workcast.events.json_value import as_array, as_object

_ENVELOPE: Final = ("type", "timestamp", "issue_id", "workcell_id")

logger = logging.getLogger("workcast.writer")


class Mirror:
    """Writes ``{"type":"<prefix>.<type>","timestamp","issue_id","workcell_id","data":{…}}``, one line per event.

    Args:
        path: the file; its directory is created.
        event_types: only these types; None: all.
        prefix: put before the type, with a dot.
        max_chars: longer strings are cut to this many code points and marked with ``…``.
        lock_timeout: seconds for which a line waits for other writers of the file.
    """

    def __init__(
        self, path: Path, event_types: Iterable[str] | None, prefix: str, max_chars: int, lock_timeout: float
    ) -> None:
        make_directory(path.parent)
        self._path = path
        self._appender = Appender(path, lock_timeout=lock_timeout)
        self._event_types = None if event_types is None else frozenset(event_types)
        self._prefix = prefix
        self._max_chars = max_chars
        self._warned = False

    def write(self, event_type: str, line: bytes) -> None:
        """Mirror an event that is in the log already; an error is logged, once."""
        if self._event_types is not None and event_type not in self._event_types:
            return
        fields: dict[str, Any] = from_json(line)
        data = {key: self._cut(value) for key, value in fields.items() if key not in _ENVELOPE}
        mirrored = {
            "type": f"{self._prefix}.{event_type}",
            "timestamp": fields.get("timestamp"),
            "issue_id": fields.get("issue_id"),
            "workcell_id": fields.get("workcell_id"),
            "data": data,
        }
        try:
            self._appender.append(to_json(mirrored) + b"\n")
        except OSError as error:
            if not self._warned:
                logger.warning("cannot write the mirror %s: %s; the log itself is complete", self._path, error)
            self._warned = True

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        self._appender.close()

    def _cut(self, value: Any) -> Any:
        if isinstance(value, str):
            return value if len(value) <= self._max_chars else value[: self._max_chars] + "…"
        if (array := as_array(value)) is not None:
            return [self._cut(item) for item in array]
        if (fields := as_object(value)) is not None:
            return {key: self._cut(item) for key, item in fields.items()}
        return value
