"""``proof.json``: the outcome of a run on one page, beside its log."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Final

from workcast.broker.below import remove_below
from workcast.broker.files import replace_file
from workcast.broker.names import PROOF_FILE
from workcast.events.frozen import Frozen
from workcast.events.models import BaseEvent, Completed, FileWrite, PromptSent, Started, Status
from workcast.events.timestamp import Timestamp
from workcast.events.usage import Usage
from workcast.producer.changes import Changed

_MAX_FILES: Final = 10_000
_MAX_PATH: Final = 4096
"""Of a path, in characters: no system has longer ones."""


class Proof(Frozen):
    """The last run of a workcell; a value that is unknown is null."""

    workcell_id: str
    agent: str
    model: str | None
    session_id: str | None
    prompt_sha256: str | None
    """Of the bytes of ``prompt.md``."""
    status: Status
    reason: str | None
    """Which limit the run has exceeded, and by how much."""
    exit_code: int | None
    duration_ms: int | None
    usage: Usage | None
    cost_usd: float | None
    files_changed: tuple[str, ...]
    """The paths of all ``file_write`` events, and of all files that git found changed since the start, sorted."""
    files_changed_note: str | None
    """What is missing in ``files_changed``: why git could not find the files, and how many paths were left out."""
    started: Timestamp
    ended: Timestamp


class ProofKeeper:
    """Gathers the proof of one run from its events, and writes it into the workcell."""

    def __init__(self, workcell_dir: Path, cwd: Path, agent: str, model: str | None, started: datetime) -> None:
        self._path = workcell_dir / PROOF_FILE
        self._agent = agent
        self._model = model
        self._started = started
        self._session_id: str | None = None
        self._prompt_sha256: str | None = None
        self._cwd = cwd.absolute()
        self._files: set[str] = set()
        self._left_out = 0
        self._note: str | None = None

    def clear(self) -> None:
        """Remove the proof of an earlier run."""
        remove_below(self._path)

    def add(self, event: BaseEvent) -> None:
        """Fold the next event of the run."""
        match event:
            case Started():
                self._model = event.model or self._model
                self._session_id = event.session_id or self._session_id
            case PromptSent():
                self._prompt_sha256 = hashlib.sha256(event.prompt.encode("utf-8", "replace")).hexdigest()
            case FileWrite():
                self._keep(event.path)
            case _:
                pass

    def add_changed(self, changed: Changed) -> None:
        """Add the files that git found changed, unless an event has reported them under another path already."""
        reported = {(self._cwd / path).resolve() for path in self._files}
        for path in changed.paths:
            if Path(path).resolve() not in reported:
                self._keep(path)
        self._note = changed.note

    def _keep(self, path: str) -> None:
        if len(path) > _MAX_PATH or (path not in self._files and len(self._files) >= _MAX_FILES):
            self._left_out += 1
        else:
            self._files.add(path)

    def write(self, completed: Completed) -> None:
        """Write the proof, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        proof = Proof(
            workcell_id=self._path.parent.name,
            agent=self._agent,
            model=self._model,
            session_id=self._session_id,
            prompt_sha256=self._prompt_sha256,
            status=completed.status,
            reason=completed.reason,
            exit_code=completed.exit_code,
            duration_ms=completed.duration_ms,
            usage=completed.usage,
            cost_usd=completed.cost_usd,
            files_changed=tuple(sorted(self._files)),
            files_changed_note=self._describe_missing(),
            started=self._started,
            ended=completed.timestamp,
        )
        replace_file(self._path, proof.model_dump_json(indent=2).encode("utf-8", "replace") + b"\n", durable=True)

    def _describe_missing(self) -> str | None:
        if not self._left_out:
            return self._note
        left_out = (
            f"{self._left_out:,} changes are not listed: expected at most {_MAX_FILES:,} files with paths of at most "
            f"{_MAX_PATH:,} characters"
        )
        return f"{self._note}; {left_out}" if self._note else left_out
