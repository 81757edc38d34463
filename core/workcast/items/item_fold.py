"""The fold of a log's events into items, in the order in which they become whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from workcast.items.held_texts import HeldText, HeldTexts, Key
from workcast.items.item import FieldName, Item, ItemFlag, Kind
from workcast.items.known_calls import KnownCall, KnownCalls
from workcast.items.rendered import rendered

_CONTEXT: Final = frozenset(("type", "timestamp", "workcell_id", "issue_id", "toolchain"))
"""Fields that are not searched as text of events without a text of their own."""
_NONE: Final[frozenset[ItemFlag]] = frozenset()
_FIELDS: Final[Mapping[Kind, FieldName]] = {"answer": "content", "thought": "content", "output": "output"}
"""The field of each kind that comes in pieces."""
Event = Mapping[str, Any]
Texts = dict[FieldName, str]


class ItemFold:
    """Folds events into items.

    Pieces of a text are held until the whole text comes, which replaces them, or until the text is over: at the end of
    its run or its command, when it is abandoned, or, without an id, when the agent does something else. Then they are
    joined to one item. Memory is bounded: see :mod:`workcast.items.held_texts`.

    Args:
        offset: of the first event.
        calls: the ``calls`` of the fold that this one continues.
    """

    def __init__(self, offset: int = 0, calls: Iterable[KnownCall] = ()) -> None:
        self._end = offset
        self._held = HeldTexts()
        self._nameless: Key | None = None
        """The held text without an id: only the next event can continue it."""
        self._calls = KnownCalls(calls)

    @property
    def end(self) -> int:
        """The offset after the last event."""
        return self._end

    @property
    def resume_offset(self) -> int:
        """The offset from which another fold, with these ``calls``, gives the items whose ``end`` is greater than here.

        It gives some items again whose ``end`` is not. Of texts that are too long to hold, it may divide one otherwise.
        """
        first = self._held.first_offset
        return self._end if first is None else first

    @property
    def calls(self) -> tuple[KnownCall, ...]:
        """What later events may refer to."""
        return self._calls.all()

    def open_calls(self) -> frozenset[int]:
        """Return the offsets of the calls that have no result, and whose run has not ended."""
        return self._calls.open_offsets()

    def push(self, offset: int, event: Event) -> Sequence[Item]:
        """Fold the next event.

        Args:
            offset: greater than that of the event before.
            event: its fields, with a string ``type``: see :func:`workcast.events.wire.read_event`.

        Returns:
            The items that are whole with it; texts that it ends come before the event's own item.
        """
        self._end = offset + 1
        fold = _FOLDS.get(event["type"])
        return fold(self, offset, event) if fold is not None else self._other(offset, event)

    def close(self) -> list[Item]:
        """Return the texts that are not whole, as items with the flag ``open``; the fold can go on."""
        return [self._joined(text, ("open",)) for text in self._held.all()]

    # ── texts in pieces ──────────────────────────────────────────────────────────────────────────────────────────────
    def _chunk(self, offset: int, event: Event) -> Sequence[Item]:
        return self._piece("answer", offset, event)

    def _answer(self, offset: int, event: Event) -> Sequence[Item]:
        return self._whole("answer", offset, event)

    def _thinking(self, offset: int, event: Event) -> Sequence[Item]:
        is_piece = event.get("partial") is True
        return (self._piece if is_piece else self._whole)("thought", offset, event)

    def _piece(self, kind: Kind, offset: int, event: Event) -> Sequence[Item]:
        key = _message_key(kind, event)
        before = self._interrupt(key)
        if key.owner is None:
            self._nameless = key
        held = self._held.add(_text(event, "content"), HeldText(key, offset, event["type"], _timestamp(event)))
        return (*before, *map(self._joined, held)) if before or held else ()

    def _whole(self, kind: Kind, offset: int, event: Event) -> Sequence[Item]:
        key = _message_key(kind, event)
        before = self._interrupt(key)
        self._held.discard(key)
        self._nameless = None
        return (*before, self._item(kind, offset, event, {"content": _text(event, "content")}))

    def _interrupt(self, key: Key | None = None) -> list[Item]:
        """End the text without an id, unless its key is this one."""
        if self._nameless is None or self._nameless == key:
            return []
        ended, self._nameless = self._nameless, None
        return [self._joined(text) for text in self._held.take([ended])]

    def _end_outputs(self, call_id: str, flags: Iterable[ItemFlag] = ()) -> list[Item]:
        keys = [key for key in self._held.of(call_id) if key.kind == "output"]
        return [self._joined(text, flags) for text in self._held.take(keys)]

    def _output(self, offset: int, event: Event) -> Sequence[Item]:
        call_id, stream, code = _id(event), _string(event, "stream"), event.get("exit_code")
        before = self._interrupt()
        tool = self._calls.tool(call_id)
        if call_id is None or stream is None:  # adapters that name the stream report output in pieces, others whole
            texts: Texts = {"output": _text(event, "output")}
            return (*before, self._item("output", offset, event, texts, _failed(code not in (None, 0)), tool))
        new = HeldText(Key("output", call_id, stream), offset, "bash_output", _timestamp(event))
        before += map(self._joined, self._held.add(_text(event, "output"), new))
        if code is not None:  # the command has ended
            before += self._end_outputs(call_id, _failed(code != 0))
        return before

    def _joined(self, text: HeldText, flags: Iterable[ItemFlag] = ()) -> Item:
        kind, owner, _ = text.key
        tool = self._calls.tool(owner) if kind == "output" else None
        texts: Texts = {_FIELDS[kind]: text.text}
        return Item(kind, text.offset, self._end, text.type, text.timestamp, tool, None, frozenset(flags), texts)

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _call(self, offset: int, event: Event) -> Sequence[Item]:
        before = self._interrupt()
        tool = _string(event, "tool")
        self._calls.start(KnownCall(offset, _id(event), tool, is_open=True))
        return (*before, self._item("call", offset, event, {"args": _text(event, "args")}, ("open",), tool))

    def _result(self, offset: int, event: Event) -> Sequence[Item]:
        call_id = _id(event)
        before = self._interrupt()
        if call_id is not None:
            before += self._end_outputs(call_id)
        tool = _string(event, "tool")
        tool = self._calls.end(call_id, tool) or tool
        failed = event.get("unanswered") is not True and (
            event.get("error") is not None or event.get("exit_code") not in (None, 0)
        )
        texts: Texts = {"result": _text(event, "result"), "error": _text(event, "error")}
        return (*before, self._item("result", offset, event, texts, _failed(failed), tool))

    def _command(self, offset: int, event: Event) -> Sequence[Item]:
        return self._of_call("command", offset, event, {"command": _text(event, "command")})

    def _read(self, offset: int, event: Event) -> Sequence[Item]:
        return self._of_call("read", offset, event, {"path": _text(event, "path"), "diff": _text(event, "diff")})

    def _write(self, offset: int, event: Event) -> Sequence[Item]:
        texts: Texts = {"path": _text(event, "path"), "diff": _text(event, "diff")}
        return self._of_call("change", offset, event, texts, ("change",))

    def _of_call(
        self, kind: Kind, offset: int, event: Event, texts: Texts, flags: Iterable[ItemFlag] = ()
    ) -> Sequence[Item]:
        before = self._interrupt()
        return (*before, self._item(kind, offset, event, texts, flags, self._calls.tool(_id(event))))

    # ── other events ─────────────────────────────────────────────────────────────────────────────────────────────────
    def _prompt(self, offset: int, event: Event) -> Sequence[Item]:
        return (
            *self._interrupt(),
            self._item("prompt", offset, event, {"prompt": _text(event, "prompt")}, ("prompt",)),
        )

    def _usage(self, offset: int, event: Event) -> Sequence[Item]:
        return (self._item("usage", offset, event, {}),)  # does not interrupt a text

    def _error(self, offset: int, event: Event) -> Sequence[Item]:
        before = self._interrupt()
        if event.get("kind") == "stream_abandoned" and (message := _string(event, "message_id")) is not None:
            start = event.get("from_block")
            first = start if isinstance(start, int) else 0
            texts = [key for key in self._held.of(message) if key.kind != "output"]
            ended = [key for key in texts if (key.part if isinstance(key.part, int) else 0) >= first]
            before += map(self._joined, self._held.take(ended))
        return (*before, self._item("error", offset, event, {"error": _text(event, "error")}, ("error",)))

    def _started(self, offset: int, event: Event) -> Sequence[Item]:
        before = self._end_run()
        return (*before, self._item("started", offset, event, {"raw": _other_fields(event)}))

    def _completed(self, offset: int, event: Event) -> Sequence[Item]:
        before = self._end_run()
        flags = _failed(event.get("status") != "success")
        return (*before, self._item("completed", offset, event, {"reason": _text(event, "reason")}, flags))

    def _end_run(self) -> list[Item]:
        items = [self._joined(text) for text in self._held.take(self._held.keys())]
        self._calls.end_all()
        self._nameless = None
        return items

    def _unknown(self, offset: int, event: Event) -> Sequence[Item]:
        return (*self._interrupt(), self._item("unknown", offset, event, {"raw": _text(event, "raw")}))

    def _malformed(self, offset: int, event: Event) -> Sequence[Item]:
        return (*self._interrupt(), self._item("malformed", offset, event, {"raw": _text(event, "raw")}))

    def _other(self, offset: int, event: Event) -> Sequence[Item]:
        return (*self._interrupt(), self._item("other", offset, event, {"raw": _other_fields(event)}))

    def _item(
        self,
        kind: Kind,
        offset: int,
        event: Event,
        texts: Texts,
        flags: Iterable[ItemFlag] = (),
        tool: str | None = None,
    ) -> Item:
        path = _string(event, "path") if kind in ("read", "change") else None
        shown: Texts = {name: text for name, text in texts.items() if text}
        which = frozenset(flags) if flags else _NONE
        return Item(kind, offset, self._end, event["type"], _timestamp(event), tool, path, which, shown)


_FOLDS: Final[Mapping[str, Callable[[ItemFold, int, Event], Sequence[Item]]]] = {
    "started": ItemFold._started,
    "prompt_sent": ItemFold._prompt,
    "response_chunk": ItemFold._chunk,
    "response_complete": ItemFold._answer,
    "thinking": ItemFold._thinking,
    "usage": ItemFold._usage,
    "tool_call": ItemFold._call,
    "tool_result": ItemFold._result,
    "bash_command": ItemFold._command,
    "bash_output": ItemFold._output,
    "file_read": ItemFold._read,
    "file_write": ItemFold._write,
    "completed": ItemFold._completed,
    "error": ItemFold._error,
    "unknown": ItemFold._unknown,
    "malformed": ItemFold._malformed,
}


def _text(event: Event, key: str) -> str:
    value = event.get(key)
    return "" if value is None else rendered(value)


def _string(event: Event, key: str) -> str | None:
    value = event.get(key)
    return value if isinstance(value, str) and value else None


def _failed(failed: bool) -> tuple[ItemFlag, ...]:
    return ("failed",) if failed else ()


def _id(event: Event) -> str | None:
    return _string(event, "call_id")


def _timestamp(event: Event) -> str | None:
    return _string(event, "timestamp")


def _message_key(kind: Kind, event: Event) -> Key:
    block = event.get("block")
    return Key(kind, _string(event, "message_id"), block if isinstance(block, int) else None)


def _other_fields(event: Event) -> str:
    fields = {key: value for key, value in event.items() if key not in _CONTEXT and value is not None}
    return rendered(fields) if fields else ""
