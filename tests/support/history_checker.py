"""Check that the messages to a viewer about a workcell are its log: dense, in order, byte for byte, nothing twice.

It reads only the wire and shares no code with the gateway. A history is what happened at a viewer's socket, in order:
:class:`Connected`, :class:`Requested` for each ``subscribe`` it sent, and the text of each message it received.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Connected:
    """A new socket, without subscriptions."""


@dataclass(frozen=True)
class Requested:
    """A ``subscribe``: its workcell and its ``from``."""

    workcell: str
    place: Any


@dataclass(frozen=True)
class Log:
    """One epoch of a log: its lines as they should be on the wire, the first at offset ``base``."""

    lines: Sequence[bytes]
    base: int = 0

    @property
    def end(self) -> int:
        return self.base + len(self.lines)


Entry = Connected | Requested | str


def problems(
    workcell: str,
    history: Iterable[Entry],
    logs: Mapping[int, Log],
    *,
    complete: int | None = None,
    unavailable: Container[int] = (),
) -> list[str]:
    """List the problems of a viewer's history.

    Args:
        workcell: the workcell to check; messages about others are ignored.
        history: the entries of its sockets, in order.
        logs: every epoch that the log has had.
        complete: the epoch in which the viewer should have reached the log's end and got ``live``.
        unavailable: the epochs in which a gap may be ``unavailable``: those whose log is gone.
    """
    checker = _Checker(workcell, logs, unavailable=unavailable)
    for entry in history:
        checker.add(entry)
    if complete is not None:
        checker.end(complete)
    return checker.found


def epochs_shown(workcell: str, histories: Iterable[Iterable[Entry]], logs: Sequence[Log]) -> dict[int, list[Log]]:
    """Map each epoch to those of a workcell's logs that all messages of that epoch agree with.

    The relay decides which epoch a replaced log gets, but one epoch belongs to one log for ever: an epoch without any
    log showed events of several logs, or of none.

    Args:
        workcell: the workcell to check; messages about others are ignored.
        histories: those of all viewers of all gateways.
        logs: every log that the workcell has had.
    """
    fitting: dict[int, list[Log]] = {}
    for history in histories:
        for text in history:
            if not isinstance(text, str):
                continue
            message: dict[str, Any] = json.loads(text)
            if message.get("workcell") != workcell or not message.get("epoch"):
                continue
            epoch, head = message["epoch"], message.get("head", 0)
            candidates = [log for log in fitting.get(epoch, logs) if head <= log.end]
            if message["op"] == "events":
                candidates = [log for log in candidates if _carries(text, message, log)]
            elif message["op"] == "reset":
                candidates = [log for log in candidates if log.base == message["offset"]]
            fitting[epoch] = candidates
    return fitting


def _carries(text: str, message: Mapping[str, Any], log: Log) -> bool:
    """Whether an ``events`` message is, byte for byte, the one that this log should produce."""
    at = message["offset"] - log.base
    lines = log.lines[at : at + len(message["events"])] if at >= 0 else ()
    start = f'{{"op":"events","workcell":{json.dumps(message["workcell"])},"epoch":{message["epoch"]},'
    numbers = f'"offset":{message["offset"]},"head":{message["head"]},'
    return text == f'{start}{numbers}"events":[{b",".join(lines).decode()}]}}'


class _Checker:
    def __init__(self, workcell: str, logs: Mapping[int, Log], *, unavailable: Container[int]) -> None:
        self.found: list[str] = []
        self._workcell = workcell
        self._logs = logs
        self._unavailable = unavailable
        self._requests: list[Any] = []
        self._answered = {0}
        """Possible numbers of answered requests: a reset may be an answer, or precede it."""
        self._hello = True
        self._epoch: int | None = None
        self._cursor = 0
        self._head = 0
        self._live = False

    def add(self, entry: Entry) -> None:
        match entry:
            case Connected():
                self._requests, self._answered = [], {0}
                self._hello, self._epoch = False, None
            case Requested(workcell, place):
                if workcell == self._workcell:
                    self._requests.append(place)
            case str(text):
                message: dict[str, Any] = json.loads(text)
                if message["op"] == "hello":
                    self._check(not self._hello, "a second hello")
                    self._hello = True
                    return
                self._check(self._hello, f"{message['op']} before hello")
                if message.get("workcell") == self._workcell:
                    self._about(message, text)

    def end(self, epoch: int) -> None:
        """Check that the viewer has all events of this epoch."""
        self._check(self._epoch == epoch, f"expected to end in epoch {epoch}, it is in {self._epoch}")
        end = self._logs.get(epoch, Log(())).end
        self._check(self._cursor >= end, f"incomplete: it has reached {self._cursor} of {end}")
        self._check(self._live, "never live")
        self._check(len(self._requests) in self._answered, "not every request was answered")

    def _about(self, message: dict[str, Any], text: str) -> None:
        match message["op"]:
            case "subscribed":
                self._subscribed(message)
            case "reset":
                self._reset(message)
            case "error":
                answered = {count + 1 for count in self._answered if count < len(self._requests)}
                self._check(bool(answered), "error without a request")
                self._answered = answered or self._answered
            case op if self._epoch is None:
                self._problem(f"{op} before subscribed or reset")
            case op if message["epoch"] != self._epoch:
                self._problem(f"{op} of epoch {message['epoch']} while {self._epoch} is in force")
            case "events":
                self._events(message, text)
            case "gap":
                self._gap(message)
            case "live":
                self._check(not self._live, "live twice")
                self._check(message["offset"] == self._cursor, f"live at {message['offset']}, not {self._cursor}")
                self._check(self._cursor >= self._head, f"live at {self._cursor}, before the head {self._head}")
                self._live = True
            case "head":
                self._raise_head(message["head"])
            case op:
                self._problem(f"{op} is not a message about a workcell")

    def _subscribed(self, message: dict[str, Any]) -> None:
        found: dict[int, str] = {}
        for count in self._answered:
            if count < len(self._requests):
                found[count] = self._misplaced(self._requests[count], message)
        self._check(bool(found), "subscribed without a request")
        right = {count for count, problem in found.items() if not problem}
        if found and not right:
            self._problem(found[max(found)])
        self._answered = {count + 1 for count in right or found} or self._answered
        self._begin(message)

    def _misplaced(self, place: Any, message: dict[str, Any]) -> str:
        """Return the problem of a ``subscribed`` that answers a subscription from ``place``; empty if none."""
        epoch, offset, head = message["epoch"], message["offset"], message["head"]
        base = self._base(epoch)
        match place:
            case {"epoch": wanted, "offset": _} if wanted != epoch:
                return f"subscribed to epoch {epoch} at a cursor of {wanted}: no reset"
            case {"epoch": _, "offset": wanted}:
                return "" if offset == wanted else f"subscribed at {offset}, expected {wanted}"
            case {"last": int() as last}:
                return "" if offset == max(base, head - last) else f"subscribed at {offset}, expected the last {last}"
            case "tail":
                return "" if offset == head else f"subscribed at {offset}, expected the tail {head}"
            case _:
                return "" if offset == base else f"subscribed at {offset}, expected the start {base}"

    def _reset(self, message: dict[str, Any]) -> None:
        epoch: int = message["epoch"]
        possible: set[int] = set()
        for count in self._answered:
            if self._epoch not in (None, epoch):
                possible.add(count)  # unsolicited
            match self._requests[count : count + 1]:
                case [{"epoch": wanted}] if wanted != epoch:
                    possible.add(count + 1)
                case _:
                    pass
        if possible:
            self._answered = possible
        elif self._epoch is not None:
            self._problem(f"reset to epoch {epoch}, which is in force")
        else:
            pending = any(count < len(self._requests) for count in self._answered)
            self._problem("reset though the epoch is in force" if pending else "reset without a request")
        self._check(message["offset"] == self._base(message["epoch"]), f"reset to {message['offset']}, not the base")
        self._begin(message)

    def _begin(self, message: dict[str, Any]) -> None:
        epoch: int = message["epoch"]
        self._epoch, self._cursor, self._head = epoch, message["offset"], message["head"]
        self._live = False
        if epoch in self._logs:
            self._check(self._head <= self._logs[epoch].end, f"a head of {self._head} past the log")
        else:
            self._check(epoch == self._head == 0, f"epoch {epoch} never existed")

    def _events(self, message: dict[str, Any], text: str) -> None:
        offset, count = message["offset"], len(message["events"])
        self._check(offset == self._cursor, f"events from {offset} at {self._cursor}: not dense")
        self._check(count > 0, "events without any")
        log = self._logs.get(message["epoch"], Log(()))
        what = f"events {offset} to {offset + count - 1}"
        self._check(_carries(text, message, log), f"{what} are not those of the log")
        self._check(message["head"] >= offset + count, f"events past their head {message['head']}")
        self._raise_head(message["head"])
        self._cursor = offset + count

    def _gap(self, message: dict[str, Any]) -> None:
        offset, until, reason = message["offset"], message["until"], message["reason"]
        self._check(offset == self._cursor, f"a gap from {offset} at {self._cursor}")
        self._check(until > offset, f"an empty gap at {offset}")
        if reason == "pruned":
            base = self._base(message["epoch"])
            self._check(until <= base, f"events up to {until} reported as pruned, the base is {base}")
        else:
            self._check(message["epoch"] in self._unavailable, f"events {offset} to {until - 1} reported as {reason}")
        self._cursor = until

    def _raise_head(self, head: int) -> None:
        log = self._logs.get(self._epoch or 0, Log(()))  # an empty log has an epoch too: 0
        self._check(head <= log.end, f"a head of {head} past the log")
        self._check(head >= self._head, f"a head of {head} after one of {self._head}")
        self._head = head

    def _base(self, epoch: int) -> int:
        return self._logs[epoch].base if epoch in self._logs else 0

    def _check(self, sound: bool, problem: str) -> None:
        if not sound:
            self._problem(problem)

    def _problem(self, problem: str) -> None:
        self.found.append(problem)
