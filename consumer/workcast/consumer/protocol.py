"""The wire protocol, version 1: the JSON messages between a viewer and the gateway (docs/protocol.md)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    Tag,
    TypeAdapter,
)

from workcast.events.json_value import as_object
from workcast.events.usage import Usage
from workcast.ledger.account import Rows
from workcast.ledger.rows import CallRow, MessageRow, RunRow, SubagentRow, Totals
from workcast.ledger.stats import StatsKey
from workcast.ledger.summary import Summary

VERSION: Final = 1
SUBPROTOCOL: Final = "workcast.v1"

Offset = Annotated[StrictInt, Field(ge=0, lt=2**53)]
Epoch = Annotated[StrictInt, Field(ge=0, lt=2**48)]


def _is_bool(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError(f"expected true, got {type(value).__name__}")  # noqa: TRY004 - pydantic takes no TypeError
    return value


Yes = Annotated[Literal[True], BeforeValidator(_is_bool)]
"""``true``, but not the number 1, which equals it in Python."""
ErrorCode = Literal[
    "bad_message", "unknown_op", "unknown_workcell", "bad_cursor", "too_many_subscriptions", "origin_conflict"
]


class Message(BaseModel):
    """A JSON object with an ``op``; unknown members are ignored, so that the protocol can grow."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Cursor(Message):
    """The next event that a viewer needs, and the epoch of its offset."""

    epoch: Epoch
    offset: Offset


class LastEvents(Message):
    """The last ``last`` events, or all if there are fewer."""

    last: Offset


# ── from the client ──────────────────────────────────────────────────────────────────────────────────────────────────
def _one_start(value: object) -> object:
    fields = as_object(value)
    if fields is not None and "last" in fields and not fields.keys().isdisjoint(("epoch", "offset")):
        raise ValueError("expected either last or epoch and offset, got both")
    return value


From = Annotated[Literal["start", "tail"] | LastEvents | Cursor, BeforeValidator(_one_start)]


class Subscribe(Message):
    op: Literal["subscribe"]
    workcell: StrictStr
    from_: From = Field(alias="from")


class SubscribeFleet(Message):
    op: Literal["subscribe"]
    fleet: Yes


class Unsubscribe(Message):
    op: Literal["unsubscribe"]
    workcell: StrictStr


class UnsubscribeFleet(Message):
    op: Literal["unsubscribe"]
    fleet: Yes


class Follow(Message):
    op: Literal["follow"]
    workcell: StrictStr
    follow: StrictBool
    epoch: Epoch | None = None
    offset: Offset | None = None


class Ping(Message):
    op: Literal["ping"]


ClientMessage = Subscribe | SubscribeFleet | Unsubscribe | UnsubscribeFleet | Follow | Ping


def _tag(value: object) -> str:
    fields = as_object(value)
    fields = vars(value) if fields is None else fields
    op = str(fields.get("op"))
    return f"{op}_fleet" if "fleet" in fields and op in ("subscribe", "unsubscribe") else op


client_messages: Final[TypeAdapter[ClientMessage]] = TypeAdapter(
    Annotated[
        Annotated[Subscribe, Tag("subscribe")]
        | Annotated[SubscribeFleet, Tag("subscribe_fleet")]
        | Annotated[Unsubscribe, Tag("unsubscribe")]
        | Annotated[UnsubscribeFleet, Tag("unsubscribe_fleet")]
        | Annotated[Follow, Tag("follow")]
        | Annotated[Ping, Tag("ping")],
        Discriminator(_tag),
    ]
)


# ── from the server ──────────────────────────────────────────────────────────────────────────────────────────────────
class Limits(Message):
    """The limits of one connection."""

    max_message_bytes: int
    max_subscriptions: int
    max_frame_bytes: int


class Hello(Message):
    op: Literal["hello"] = "hello"
    version: int = VERSION
    limits: Limits


class Subscribed(Message):
    op: Literal["subscribed"] = "subscribed"
    workcell: str
    epoch: int
    offset: int
    head: int


class Reset(Message):
    op: Literal["reset"] = "reset"
    workcell: str
    epoch: int
    offset: int
    head: int


class Events(Message):
    """Dense: ``events[i]`` has the offset ``offset + i``. Built from the lines' own bytes, not from this model."""

    op: Literal["events"] = "events"
    workcell: str
    epoch: int
    offset: int
    head: int
    events: list[dict[str, Any]]


class Gap(Message):
    op: Literal["gap"] = "gap"
    workcell: str
    epoch: int
    offset: int
    until: int
    reason: Literal["pruned", "unavailable"]


class Live(Message):
    op: Literal["live"] = "live"
    workcell: str
    epoch: int
    offset: int


class Head(Message):
    op: Literal["head"] = "head"
    workcell: str
    epoch: int
    head: int


class Fleet(Message):
    """First pages of whole summaries (``more`` until the last), then ``id`` and the fields that changed."""

    op: Literal["fleet"] = "fleet"
    workcells: list[dict[str, Any]]
    removed: list[str]
    more: bool


class Error(Message):
    op: Literal["error"] = "error"
    code: ErrorCode
    message: str
    workcell: str | None = None


class Pong(Message):
    op: Literal["pong"] = "pong"


ServerMessage = Annotated[
    Hello | Subscribed | Reset | Events | Gap | Live | Head | Fleet | Error | Pong, Field(discriminator="op")
]


# ── REST ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
class Workcell(BaseModel):
    """One workcell as ``GET /api/workcells`` lists it, with the names that outside clients use."""

    model_config = ConfigDict(frozen=True)

    id: str
    issueId: str | None = None  # noqa: N815
    toolchain: str | None = None
    created: str | None = None
    speculateTag: str | None = None  # noqa: N815
    hasTelemetry: bool  # noqa: N815
    hasProof: bool  # noqa: N815
    hasLogs: bool  # noqa: N815
    summary: Summary | None = None


class Workcells(BaseModel):
    workcells: list[Workcell]


class EventPage(BaseModel):
    """``GET /api/workcells/{id}/events``. Built from the lines' own bytes, not from this model."""

    epoch: int
    base: int
    head: int
    offset: int
    events: list[dict[str, Any]]


class PriceSource(BaseModel):
    """Which price table costs are computed by."""

    model_config = ConfigDict(frozen=True)

    source: str
    date: str
    """The day that the table is of."""


class AccountPage(BaseModel):
    """``GET /api/workcells/{id}/account``. Built from the rows' own bytes, not from this model."""

    epoch: int
    base: int
    """The figures start here: events that were pruned before the first request are in none of them."""
    head: int
    """All events below it are counted, and no others."""
    totals: Totals
    prices: PriceSource
    rows: Rows
    """What ``items`` are."""
    offset: int
    """The number of the first item."""
    count: int
    """How many rows of this kind there are."""
    items: list[RunRow] | list[MessageRow] | list[CallRow] | list[SubagentRow]


class CallMs(BaseModel):
    """How long calls took, in milliseconds: from a call's event to its result's."""

    p50: int | None
    """Half of the calls took no longer; to within 2 %."""
    p95: int | None
    max: int | None
    sum: int


class StatsFigures(BaseModel):
    """The sums of a group of runs, or of the calls of a tool or the changes of a file in them.

    None: the figure has no meaning for the key, or is not known.
    """

    runs: int
    failed_runs: int
    """Those that failed, timed out or were lost; not those that were cancelled."""
    events: int | None = None
    calls: int | None = None
    failed_calls: int | None = None
    errors: int | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    """As the agents reported it, of the runs where they did."""
    cost_computed_usd: float | None = None
    """By the price table, of the runs whose models all have prices."""
    unpriced: list[str] | None = None
    """The models without a price."""
    duration_ms: int | None = None
    tools_ms: int | None = None
    call_ms: CallMs | None = None
    carried_tokens: int | None = None
    """An estimate of what the results of these calls cost when later messages read them again."""
    changes: int | None = None
    """Events that report a change of the file."""
    lines_added: int | None = None
    lines_removed: int | None = None


class StatsRow(StatsFigures):
    """One group."""

    key: str | list[str | None] | None
    """What its runs, calls or changes have in common; a list if ``by`` names two keys. None: it is not known."""


class StatsPage(BaseModel):
    """``GET /api/stats``."""

    by: list[StatsKey]
    rows: list[StatsRow]
    total: StatsFigures
    """Of all runs that were asked for, whatever page this is."""
    next: str | None
    """The ``cursor`` of the next page."""
    complete: bool
    """Whether all lines of all logs are counted; if not, ask again later."""
    missing: int
    """How many lines are not."""


class Bucket(BaseModel):
    """What happened in a part of a log."""

    events: int
    prompts: int
    answers: int
    calls: int
    failed: int
    """Results that are errors."""
    changes: int
    errors: int
    tokens: int
    """Input and output of the messages whose usage was reported here."""


class Overview(BaseModel):
    """``GET /api/workcells/{id}/overview``."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    epoch: int
    base: int
    head: int
    """All events below it are counted."""
    by: Literal["offset", "time"]
    from_: Annotated[int | str | None, Field(alias="from")]
    """Where the first bucket begins: an offset, or a time."""
    to: int | str | None
    """Where the last bucket ends, which may be past the head."""
    width: int
    """Of each bucket: events, or seconds."""
    buckets: list[Bucket]
    """Those of pruned events are still counted."""
    complete: bool
    """Whether the log was read to its end; if not, ask again later."""


class SearchHit(BaseModel):
    """An item of a log that answers a question. Built from the hits' own bytes, not from this model."""

    model_config = ConfigDict(frozen=True)

    workcell: str
    epoch: int
    offset: int
    """Of the event to show."""
    type: str
    timestamp: str | None
    field: str | None
    """What the snippet is from: ``prompt``, ``content``, ``args`` and so on; null if the item has no text."""
    snippet: str
    marks: list[tuple[int, int]]
    """Where terms occur in the snippet: from and to, in code points."""


class SearchPage(BaseModel):
    """``GET /api/search``."""

    hits: list[SearchHit]
    next: str | None
    """The cursor of the next page; null if everything was searched."""
    complete: bool
    """Whether everything was searched, and no log had to be left out."""
    scanned: int
    """Events that were read for this page."""
    skipped: int
    """Logs that were left out: they could not be read, were replaced meanwhile, or are published from another root."""


class SearchEnd(BaseModel):
    """The last line of a stream of hits; the other fields are those of a page."""

    done: Literal[True] = True
    total: int
    """Hits in the stream."""
    next: str | None
    complete: bool
    scanned: int
    skipped: int
