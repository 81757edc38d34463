"""Says whether what a viewer was told of one workcell is its log: dense, in order, byte for byte, nothing twice.

It reads the wire alone and shares no code with the gateway. A history is what happened at a viewer's socket, in
order: :class:`Connected`, :class:`Asked` for each ``subscribe`` it sent, and the text of each message it got.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Connected:
    """A new socket: what was subscribed to is forgotten."""


@dataclass(frozen=True)
class Asked:
    """A ``subscribe``: to what, and its ``from``."""

    workcell: str
    place: Any


@dataclass(frozen=True)
class Log:
    """One epoch of a log, as it should be on the wire."""

    lines: Sequence[bytes]
    base: int = 0

    @property
    def end(self) -> int:
        return self.base + len(self.lines)


Happening = Connected | Asked | str


def problems(
    workcell: str,
    history: Iterable[Happening],
    logs: Mapping[int, Log],
    *,
    complete: int | None = None,
    unavailable: Container[int] = (),
) -> list[str]:
    """What is wrong with a viewer's history; nothing if all is well.

    Args:
        workcell: what it watches; messages about others are passed over.
        history: what happened at its sockets.
        logs: every epoch that the log has had.
        complete: the epoch in which the viewer should have reached the log's end and been told so.
        unavailable: the epochs in which a gap may say that events cannot be had: those whose log is gone.
    """
    checker = _Checker(workcell, logs, unavailable=unavailable)
    for happening in history:
        checker.take(happening)
    if complete is not None:
        checker.end(complete)
    return checker.found


class _Checker:
    def __init__(self, workcell: str, logs: Mapping[int, Log], *, unavailable: Container[int]) -> None:
        self.found: list[str] = []
        self._workcell = workcell
        self._logs = logs
        self._unavailable = unavailable
        self._asked: deque[Any] = deque()
        self._greeted = True
        self._epoch: int | None = None
        self._cursor = 0
        self._head = 0
        self._live = False

    def take(self, happening: Happening) -> None:
        match happening:
            case Connected():
                self._asked.clear()
                self._greeted, self._epoch = False, None
            case Asked(workcell, place):
                if workcell == self._workcell:
                    self._asked.append(place)
            case str(text):
                message: dict[str, Any] = json.loads(text)
                if message["op"] == "hello":
                    self._check(not self._greeted, "a second hello")
                    self._greeted = True
                    return
                self._check(self._greeted, f"{message['op']} before hello")
                if message.get("workcell") == self._workcell:
                    self._about(message, text)

    def end(self, epoch: int) -> None:
        """The viewer should have all that there is of this epoch."""
        self._check(self._epoch == epoch, f"expected to end in epoch {epoch}, it is in {self._epoch}")
        end = self._logs[epoch].end
        self._check(self._cursor >= end, f"incomplete: it has come to {self._cursor} of {end}")
        self._check(self._live, "never live")

    def _about(self, message: dict[str, Any], text: str) -> None:
        match message["op"]:
            case "subscribed":
                self._subscribed(message)
            case "reset":
                self._reset(message)
            case "error":
                self._asked.popleft()
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
                self._problem(f"{op} is no message about a workcell")

    def _subscribed(self, message: dict[str, Any]) -> None:
        if not self._asked:
            self._problem("subscribed without having asked")
            return
        place, epoch, offset, head = self._asked.popleft(), message["epoch"], message["offset"], message["head"]
        base = self._base(epoch)
        match place:
            case {"epoch": asked, "offset": wanted}:
                self._check(epoch == asked, f"subscribed to epoch {epoch} at a cursor of {asked}: no reset")
                self._check(offset == wanted, f"subscribed at {offset}, asked for {wanted}")
            case {"last": int() as last}:
                self._check(offset == max(base, head - last), f"subscribed at {offset}, asked for the last {last}")
            case "tail":
                self._check(offset == head, f"subscribed at {offset}, asked for the tail {head}")
            case _:
                self._check(offset == base, f"subscribed at {offset}, asked for the start {base}")
        self._begin(message)

    def _reset(self, message: dict[str, Any]) -> None:
        if self._epoch is not None and not self._asked:
            self._check(message["epoch"] != self._epoch, f"reset to epoch {self._epoch}, which is in force")
        elif self._asked:
            # It may be the answer, or come before it and belong to the old subscription.
            match self._asked[0]:
                case {"epoch": asked} if asked != message["epoch"]:
                    self._asked.popleft()
                case _:
                    self._check(self._epoch not in (None, message["epoch"]), "reset though the epoch is in force")
        else:
            self._problem("reset without having asked")
        self._check(message["offset"] == self._base(message["epoch"]), f"reset to {message['offset']}, not the base")
        self._begin(message)

    def _begin(self, message: dict[str, Any]) -> None:
        epoch: int = message["epoch"]
        self._epoch, self._cursor, self._head = epoch, message["offset"], message["head"]
        self._live = False
        if epoch in self._logs:
            self._check(self._head <= self._logs[epoch].end, f"a head of {self._head} past the log")
        else:
            self._check(epoch == self._head == 0, f"epoch {epoch} has never been")

    def _events(self, message: dict[str, Any], text: str) -> None:
        offset, count = message["offset"], len(message["events"])
        self._check(offset == self._cursor, f"events from {offset} at {self._cursor}: not dense")
        self._check(count > 0, "events without any")
        log = self._logs[message["epoch"]]
        lines = log.lines[offset - log.base : offset - log.base + count]
        start = f'{{"op":"events","workcell":{json.dumps(self._workcell)},"epoch":{self._epoch},"offset":{offset},'
        expected = f'{start}"head":{message["head"]},"events":[{b",".join(lines).decode()}]}}'
        self._check(text == expected, f"events {offset} to {offset + count - 1} are not those of the log")
        self._check(message["head"] >= offset + count, f"events past their head {message['head']}")
        self._raise_head(message["head"])
        self._cursor = offset + count

    def _gap(self, message: dict[str, Any]) -> None:
        offset, until, reason = message["offset"], message["until"], message["reason"]
        self._check(offset == self._cursor, f"a gap from {offset} at {self._cursor}")
        self._check(until > offset, f"an empty gap at {offset}")
        if reason == "pruned":
            base = self._base(message["epoch"])
            self._check(until <= base, f"events up to {until} said to be pruned, the base is {base}")
        else:
            self._check(message["epoch"] in self._unavailable, f"events {offset} to {until - 1} said to be {reason}")
        self._cursor = until

    def _raise_head(self, head: int) -> None:
        log = self._logs.get(self._epoch or 0, Log(()))  # an empty log has an epoch too: 0
        self._check(head <= log.end, f"a head of {head} past the log")
        self._head = max(self._head, head)

    def _base(self, epoch: int) -> int:
        return self._logs[epoch].base if epoch in self._logs else 0

    def _check(self, sound: bool, problem: str) -> None:
        if not sound:
            self._problem(problem)

    def _problem(self, problem: str) -> None:
        self.found.append(problem)
