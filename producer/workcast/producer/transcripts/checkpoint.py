"""How far a session was read and written: kept beside its log, so that a start reads neither of them again."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workcast.broker.damaged import ignore
from workcast.broker.names import TRANSCRIPT_SUFFIX, state_file
from workcast.broker.root import Root

_Size = Annotated[int, Field(ge=0, lt=1 << 63)]


class TailState(BaseModel):
    """How far a file was read, and what identifies it."""

    model_config = ConfigDict(frozen=True)

    path: str
    position: _Size
    stamp: tuple[int, int, int]
    """Inode, size and time of change when it was read to its end; zeros if it was not."""
    head: str
    """Its first bytes, in hexadecimal digits."""
    last: str
    """The bytes before the position, in hexadecimal digits."""


class Checkpoint(BaseModel):
    """The state of a session. ``inode`` and ``size`` are the log's, which then held all lines up to the positions."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    inode: _Size
    size: _Size
    safe: _Size
    """Up to here, every event of the log has had its line."""
    settled: bool
    """Nothing waits for its end."""
    ending: list[str]
    """The files in which a turn is over whose end is not written yet."""
    abandoned: list[str]
    """The files whose end was written because of a silence."""
    files: dict[str, TailState]
    """By name; also of files that were not read this time."""


def load(root: Root, workcell: str) -> Checkpoint | None:
    """Return the checkpoint; None if it is missing or malformed: it only saves work."""
    state = root.read_state(_name(root, workcell))
    try:
        return None if state is None else Checkpoint.model_validate(state)
    except ValidationError as error:
        ignore(root.state / _name(root, workcell), ValueError(error.errors()[0]["msg"]))
        return None


def save(root: Root, workcell: str, checkpoint: Checkpoint) -> None:
    """Write the checkpoint.

    Raises:
        OSError: it cannot be written.
    """
    root.write_state(_name(root, workcell), checkpoint.model_dump_json())


def _name(root: Root, workcell: str) -> str:
    return state_file(root.local(workcell), TRANSCRIPT_SUFFIX)
