"""The description of a workcell, from its directory and its summary, as the REST API lists it."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from workcast.broker.below import is_directory_below, is_file_below, stat_below
from workcast.broker.errors import WorkcellIdError
from workcast.broker.names import OUTPUT_DIRECTORY, PROOF_FILE
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.consumer.hub import Hub, origin_conflict
from workcast.consumer.protocol import Workcell
from workcast.events.timestamp import Timestamp, format_timestamp
from workcast.ledger.summary import Summary

_TIMESTAMP: Final = TypeAdapter[datetime](Timestamp)


def describe(hub: Hub, roots: Roots, workcell: str) -> Workcell:
    """Return what directory and broker have about a workcell; reads the file system, so not for the event loop."""
    summary = hub.fleet.get(workcell) or Summary(id=workcell)
    created, telemetry, proof, logs = None, False, False, False
    root = root_holding(roots, workcell)
    if root is not None:
        if summary.origin not in ("", root.origin()):
            # The summary of another root beside the files of this one would describe neither.
            summary = Summary(id=workcell, origin=root.origin(), activity=origin_conflict(workcell))
        path = root.workcell(workcell)
        with contextlib.suppress(OSError):  # it may be removed at any time
            created = _created(path, summary)
            telemetry, proof = is_file_below(root.log(workcell)), is_file_below(path / PROOF_FILE)
            logs = is_directory_below(path / OUTPUT_DIRECTORY)
        if (not telemetry or not summary.head) and (what := root.oddity(workcell)):
            summary = summary.model_copy(update={"activity": what})
    return Workcell(
        id=workcell,
        issueId=summary.issue_id,
        toolchain=summary.agent,
        created=created,
        hasTelemetry=telemetry,
        hasProof=proof,
        hasLogs=logs,
        summary=summary,
    )


def root_holding(roots: Roots, workcell: str) -> Root | None:
    """Return the root that holds a workcell; None if none does, or the id is malformed."""
    try:
        return roots.holding(workcell)
    except WorkcellIdError:
        return None


def _created(path: Path, summary: Summary) -> str | None:
    """Return the time of the first event, or else of the directory's last change: Linux gives Python no birth time."""
    if summary.first and summary.first.timestamp:
        with contextlib.suppress(ValueError, OverflowError):  # not a time, or not one of the calendar
            return format_timestamp(_TIMESTAMP.validate_python(summary.first.timestamp))
    found = stat_below(path)
    return None if found is None else format_timestamp(datetime.fromtimestamp(found.st_ctime, UTC))
