"""Event models: one frozen pydantic model per event type, and their union.

Names and fields are those of docs/protocol.md. Fields nobody knows are kept, a type nobody knows becomes
:class:`OtherEvent` with every field kept: what an agent prints tomorrow must survive today.
"""

# The models are frozen, so a subclass may narrow a field of its base:
# pyright: reportIncompatibleVariableOverride=false
from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from operator import add, sub
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Final, Literal, ParamSpec, TypeVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from workcast.broker.errors import EventError
from workcast.broker.json_value import as_object

Status = Literal["success", "failed", "timeout", "cancelled"]
_MAX_DEPTH: Final = 180
"""Of a field's value. The serializer writes some 250 levels of an event, and the wire shows 200 of them."""
P = ParamSpec("P")
E = TypeVar("E", bound="Frozen")


def _to_utc(value: datetime) -> datetime:
    """Read any offset; the system that came before wrote none at all and meant UTC."""
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError as error:  # the first or last hours there are, elsewhere
        raise ValueError(f"expected a time within the years 1 to 9999 of UTC, got {value.isoformat()}") from error


def format_timestamp(value: datetime) -> str:
    """ISO 8601 in UTC with ``Z`` and at least milliseconds."""
    precision = "microseconds" if value.microsecond % 1000 else "milliseconds"
    return value.astimezone(UTC).isoformat(timespec=precision)[:-6] + "Z"


def now() -> datetime:
    """The current time in UTC, to the microsecond."""
    return datetime.now(UTC)


Timestamp = Annotated[
    datetime,
    AfterValidator(_to_utc),
    PlainSerializer(format_timestamp, return_type=str, when_used="json"),
]


class Frozen(BaseModel):
    """Immutable, and keeps the fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    null_told: ClassVar[frozenset[str]] = frozenset()
    """The fields whose None says something: :func:`make` keeps it."""


def make(model: Callable[P, E], /, *_: P.args, **fields: P.kwargs) -> E:
    """A validated instance of ``fields``, of which those that are None are left out, but for ``null_told``.

    So an event says nothing about what nobody knows. It goes straight to the model's validator, past the constructor:
    1.0 µs, where ``model(**fields)`` takes 1.2.

    Raises:
        pydantic.ValidationError: a field does not fit.
    """
    kind: Any = model
    known: dict[str, Any] = fields
    for value in fields.values():  # mostly none is None; to ask with `in` would compare with each
        if value is None:
            known, told = {}, kind.null_told
            for name, given in fields.items():
                if given is not None or name in told:
                    known[name] = given
            break
    made: E = kind.__pydantic_validator__.validate_python(known)
    return made


def validator(model: type[E]) -> Callable[[dict[str, Any]], E]:
    """What makes a validated instance of a dict of fields, none of them None, in one call: 0.3 µs less than ``make``.

    No type checker looks at such fields, so this is for the events that come by the million.
    """
    validate: Callable[[dict[str, Any]], E] = model.__pydantic_validator__.validate_python
    return validate


class Usage(Frozen):
    """Tokens by kind. ``input_tokens`` counts cached input too (the OpenTelemetry GenAI convention)."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    """Those among ``cache_write_tokens`` that are kept for an hour, and cost more."""
    reasoning_tokens: int = 0

    @classmethod
    def of(cls, counts: Iterable[int]) -> Usage:
        """From the tokens of each kind, in the order of :meth:`counts`."""
        return make(cls, **dict(zip(cls.model_fields, counts, strict=True)))

    def counts(self) -> Collection[int]:
        """The tokens of each kind, in the order of the fields."""
        return self.__dict__.values()

    def __add__(self, other: Usage) -> Usage:
        return Usage.of(map(add, self.counts(), other.counts()))

    def __sub__(self, other: Usage) -> Usage:
        """Kind by kind; a kind may come out negative."""
        return Usage.of(map(sub, self.counts(), other.counts()))

    def at_least_zero(self) -> Usage:
        """With 0 in place of each negative kind."""
        return Usage.of(max(0, tokens) for tokens in self.counts())


class ModelUsage(Frozen):
    """What a run took of one model, as the agent told it."""

    model: str
    usage: Usage
    cost_usd: float | None = None


class BaseEvent(Frozen):
    """What every event has: its type, its time, and the context it was written in."""

    type: str
    timestamp: Timestamp = Field(default_factory=now)
    workcell_id: str | None = None
    issue_id: str | None = None
    toolchain: str | None = None
    model: str | None = None

    always_written: ClassVar[frozenset[str]] = frozenset()
    """The fields that :func:`dump` writes whether or not they were set: those whose default says something."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.always_written = frozenset(
            name for name, field in cls.model_fields.items() if not field.is_required() and field.default is not None
        ) | {"type", "timestamp"}


class Started(BaseEvent):
    type: Literal["started"] = "started"
    cwd: str | None = None
    session_id: str | None = None
    agent_version: str | None = None
    git_commit: str | None = None
    rerun_of: str | None = None
    resumed: bool | None = None
    """True: the session had runs before this one."""


class PromptSent(BaseEvent):
    type: Literal["prompt_sent"] = "prompt_sent"
    prompt: str
    tokens: int | None = None


class ResponseChunk(BaseEvent):
    type: Literal["response_chunk"] = "response_chunk"
    content: str
    role: str = "assistant"
    message_id: str | None = None
    block: int | None = None


class ResponseComplete(BaseEvent):
    type: Literal["response_complete"] = "response_complete"
    content: str
    role: str = "assistant"
    tokens: int | None = None
    message_id: str | None = None
    block: int | None = None
    parent_call_id: str | None = None


class Thinking(BaseEvent):
    type: Literal["thinking"] = "thinking"
    content: str
    message_id: str | None = None
    block: int | None = None
    partial: bool | None = None
    """True: a piece of a thought whose whole text follows in a later event."""


class UsageEvent(BaseEvent):
    type: Literal["usage"] = "usage"
    usage: Usage
    message_id: str | None = None
    parent_call_id: str | None = None
    partial: bool | None = None
    """True: what was known when the message began; it took at least so much."""


class ToolCall(BaseEvent):
    null_told: ClassVar[frozenset[str]] = frozenset({"args"})
    type: Literal["tool_call"] = "tool_call"
    tool: str
    args: Any = None
    call_id: str | None = None
    parent_call_id: str | None = None
    message_id: str | None = None
    """The message that made the call."""


class ToolResult(BaseEvent):
    null_told: ClassVar[frozenset[str]] = frozenset({"result"})
    type: Literal["tool_result"] = "tool_result"
    tool: str | None = None
    result: Any = None
    error: str | None = None
    call_id: str | None = None
    parent_call_id: str | None = None
    duration_ms: int | None = None
    exit_code: int | None = None


class BashCommand(BaseEvent):
    type: Literal["bash_command"] = "bash_command"
    command: str
    call_id: str | None = None


class BashOutput(BaseEvent):
    type: Literal["bash_output"] = "bash_output"
    output: str
    exit_code: int | None = None
    call_id: str | None = None
    stream: str | None = None


class FileRead(BaseEvent):
    type: Literal["file_read"] = "file_read"
    path: str
    call_id: str | None = None
    lines_added: int | None = None
    lines_removed: int | None = None
    diff: str | None = None


class FileWrite(BaseEvent):
    type: Literal["file_write"] = "file_write"
    path: str
    call_id: str | None = None
    lines_added: int | None = None
    lines_removed: int | None = None
    diff: str | None = None


class Completed(BaseEvent):
    type: Literal["completed"] = "completed"
    status: Status
    reason: str | None = None
    """Why it was ended, where the status does not say it: the limit that it passed."""
    exit_code: int | None = None
    duration_ms: int | None = None
    usage: Usage | None = None
    """This run's own."""
    cost_usd: float | None = None
    models: list[ModelUsage] | None = None
    """``usage`` and ``cost_usd`` by model."""
    session_usage: Usage | None = None
    """Of all runs of the session until now, where the agent tells nothing else."""
    session_cost_usd: float | None = None


class ErrorEvent(BaseEvent):
    type: Literal["error"] = "error"
    error: str
    kind: str | None = None
    retryable: bool | None = None


class Unknown(BaseEvent):
    type: Literal["unknown"] = "unknown"
    raw: str
    """A line of the agent that no rule knows, as it was printed."""


class OtherEvent(BaseEvent):
    """An event of a type that this version does not know, with all its fields."""


KnownEvent = Annotated[
    Started
    | PromptSent
    | ResponseChunk
    | ResponseComplete
    | Thinking
    | UsageEvent
    | ToolCall
    | ToolResult
    | BashCommand
    | BashOutput
    | FileRead
    | FileWrite
    | Completed
    | ErrorEvent
    | Unknown,
    Field(discriminator="type"),
]
"""The discriminated union on ``type``."""

Event = BaseEvent
"""Any event: a :data:`KnownEvent` or an :class:`OtherEvent`."""

MODELS: Final[Mapping[str, type[BaseEvent]]] = {
    model.model_fields["type"].default: model
    for model in (
        Started, PromptSent, ResponseChunk, ResponseComplete, Thinking, UsageEvent, ToolCall, ToolResult,
        BashCommand, BashOutput, FileRead, FileWrite, Completed, ErrorEvent, Unknown,
    )
}  # fmt: skip


class Malformed(Frozen):
    """What the wire carries in place of a line that is no event (see :func:`workcast.broker.wire.wire`)."""

    type: Literal["malformed"] = "malformed"
    reason: Literal["utf8", "json", "object", "type"]
    bytes: int
    raw: str


def build(fields: Mapping[str, Any]) -> BaseEvent:
    """Validate one event given as a mapping with a string ``type``.

    Raises:
        EventError: ``type`` is missing or a field does not fit the model of its type.
    """
    kind = fields.get("type")
    if not isinstance(kind, str):
        raise EventError(f"expected an event with a string 'type', got type={kind!r}")
    try:
        return MODELS.get(kind, OtherEvent).model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise EventError(f"expected a valid {kind!r} event; {problems}") from error


def dump(event: BaseEvent) -> bytes:
    """One event as the bytes of its line, without the newline: the fields that were set and those with a default.

    Values that JSON has no form for are written as ``str(value)``, NaN and infinities as null, lone surrogates and
    bytes that are no UTF-8 as U+FFFD; what lies some hundreds of levels deep is written as a text of its JSON: an event
    is never refused for what an agent put in it.

    Raises:
        EventError: a value holds itself, is nested a thousand deep, or cannot say what it is.
    """
    event.__pydantic_fields_set__.update(event.always_written)
    try:
        return event.__pydantic_serializer__.to_json(event, exclude_unset=True, fallback=str)
    except PydanticSerializationError:
        return _dump_clean(event)


def _dump_clean(event: BaseEvent) -> bytes:
    """Like :func:`dump`, of what can be written of each value; by the same serializer, so in the same form."""
    try:
        fields: dict[str, Any] = _clean(_shallow(event.model_dump(exclude_unset=True, warnings=False)))
        clean = type(event).model_construct(set(fields), **fields)
        return clean.__pydantic_serializer__.to_json(
            clean, exclude_unset=True, fallback=lambda value: _clean(str(value)), warnings=False
        )
    except (ValueError, RecursionError) as error:
        raise EventError(f"expected an event that can be written as JSON, got {event.type!r}: {error}") from error


def _shallow(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with a text of its JSON in place of each value that lies too deep: level by level, without calls."""
    level: list[Any] = [fields]
    for depth in range(_MAX_DEPTH):
        below: list[Any] = []
        for outer in level:
            keys: Iterable[Any] = range(len(outer)) if as_object(outer) is None else list(outer)
            for key in keys:
                inner: Any = outer[key]
                fields_of = as_object(inner)
                if fields_of is None and not isinstance(inner, list | tuple | set | frozenset):
                    continue
                if depth == _MAX_DEPTH - 1:
                    outer[key] = json.dumps(inner, ensure_ascii=False, default=str)
                    continue
                outer[key] = [*inner] if fields_of is None else {**fields_of}
                below.append(outer[key])
        level = below
    return fields


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, bytes | bytearray):
        return value.decode(errors="replace")
    if isinstance(value, PurePath):
        return _clean(str(value))
    if (fields := as_object(value)) is not None:
        return {_clean(key): _clean(item) for key, item in fields.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in cast("Iterable[Any]", value)]
    return value


def json_schema() -> dict[str, Any]:
    """JSON Schema of the union of all known event types."""
    schema: dict[str, Any] = TypeAdapter(KnownEvent).json_schema()
    return schema
