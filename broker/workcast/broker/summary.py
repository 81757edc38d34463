"""The summary of a workcell: a pure fold over its events, small enough to show a fleet at a glance."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from workcast.broker.event import Usage

WorkcellStatus = Literal["new", "running", "success", "failed", "timeout", "cancelled", "lost"]

MAX_BYTES: Final = 4096
"""A summary's JSON is never longer."""
MAX_OPEN_CALLS: Final = 16
MAX_TEXT: Final = 160


class OpenCall(BaseModel):
    """A tool call that has no result yet."""

    model_config = ConfigDict(frozen=True)

    call_id: str | None = None
    tool: str
    since: str
    """The timestamp of the call's event."""


class EventMark(BaseModel):
    """Which event, and when: enough to link to it."""

    model_config = ConfigDict(frozen=True)

    offset: int
    type: str
    timestamp: str | None = None


class Summary(BaseModel):
    """The running state of one workcell, as shown in the fleet."""

    model_config = ConfigDict(frozen=True)

    id: str
    epoch: int = 0
    base: int = 0
    head: int = 0
    status: WorkcellStatus = "new"
    agent: str | None = None
    model: str | None = None
    issue_id: str | None = None
    counts: dict[str, int] = Field(default_factory=dict)
    """Events by type; ``malformed`` counts lines that are no event."""
    usage: Usage = Usage()
    cost_usd: float | None = None
    errors: int = 0
    open_calls: list[OpenCall] = Field(default_factory=list)
    activity: str = ""
    """What the agent does now, in words."""
    first: EventMark | None = None
    last: EventMark | None = None
    origin: str = ""


def empty(workcell: str) -> Summary:
    """The summary of a workcell without events."""
    return Summary(id=workcell)


type_of_json = dict[str, Any]
