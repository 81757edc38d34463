"""What is kept of a session beside its log, so that a start reads neither its files nor its log again."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from workcast.broker.root import Root

KIND: Final = "transcript"


class TailState(BaseModel):
    """How far a file was told, and what it was then."""

    model_config = ConfigDict(frozen=True)

    path: str
    position: int
    stamp: tuple[int, int, int]
    """Inode, size and time of change when it was read to its end; zeros if it was not."""
    head: str
    """How it begins, in hexadecimal digits."""
    last: str
    """What stands before the position, in hexadecimal digits."""


class Checkpoint(BaseModel):
    """All of it. ``inode`` and ``size`` are the log's: what it held then tells all lines up to the positions."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    inode: int
    size: int
    safe: int
    """Up to here, the log tells of nothing whose line was still to come."""
    settled: bool
    """Nothing waits for its end."""
    ending: list[str]
    """The files in which a turn is over without that it was told."""
    abandoned: list[str]
    """The files whose end was told because of a silence."""
    files: dict[str, TailState]
    """By name; also of files that were not looked at this time."""


def load(root: Root, workcell: str) -> Checkpoint | None:
    """What was kept; None if there is nothing, or it cannot be read: it only saves work."""
    state = root.read_state(_name(root, workcell))
    try:
        return None if state is None else Checkpoint.model_validate(state)
    except ValidationError:
        return None


def save(root: Root, workcell: str, checkpoint: Checkpoint) -> None:
    """Keep it.

    Raises:
        OSError: it cannot be written.
    """
    root.write_state(_name(root, workcell), checkpoint.model_dump_json())


def _name(root: Root, workcell: str) -> str:
    return f"{root.local(workcell)}.{KIND}"
