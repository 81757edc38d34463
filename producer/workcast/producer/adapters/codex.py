"""Codex: ``codex exec --json``.

Every field is optional and every line kind may be new: what no rule knows becomes ``unknown``, and nothing raises.
Codex prints neither the model nor whether a thread is resumed: both are taken from the command line, if it is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from workcast.broker.event import (
    BaseEvent,
    ErrorEvent,
    PromptSent,
    ResponseComplete,
    Started,
    Thinking,
    ToolCall,
    ToolResult,
)
from workcast.producer.adapters.base import (
    Command,
    Exit,
    OpenCall,
    close_calls,
    fits_argument,
    optional,
    run_key,
    unknown_line,
)
from workcast.producer.adapters.codex_items import TOOL_ITEMS, call_events, result_events, tool_of
from workcast.producer.adapters.codex_outcome import Outcome
from workcast.producer.adapters.fields import JsonObject, get_object, get_text, parse_object

RESUMING: Final = frozenset({"resume", "fork"})
"""The subcommands that go on with a thread. Taken for one by mistake, a run only keeps its usage to itself."""
STDIN: Final = "-"
"""What Codex takes for "the prompt is on stdin"."""


@dataclass(frozen=True, slots=True)
class _Line:
    json: JsonObject
    at: datetime

    @property
    def item(self) -> JsonObject:
        return get_object(self.json, "item")


class CodexAdapter:
    """Reads one run of Codex."""

    name: ClassVar[str] = "codex"
    install_hint: ClassVar[str] = "npm install -g @openai/codex"
    takes_prompt: ClassVar[bool] = True

    def __init__(self, command: Command | None = None, /) -> None:
        words = _options(command)
        self._model = _model_in(words)
        self._key = ""
        self._started = False
        self._ended = False
        self._calls: dict[str, OpenCall] = {}
        self._closed: set[str] = set()
        self._plans: dict[str, int] = {}
        self._plan: object = None
        self._resumed = not RESUMING.isdisjoint(words)
        self._outcome = Outcome(resumed=self._resumed)
        self._readers: Mapping[str, Callable[[_Line], list[BaseEvent] | None]] = {
            "thread.started": self._thread_started,
            "turn.started": self._turn_started,
            "turn.completed": lambda line: self._outcome.turn_completed(line.json, line.at),
            "turn.failed": lambda line: self._outcome.turn_failed(line.json, line.at),
            "error": lambda line: self._outcome.error(line.json, line.at),
            "item.started": self._item_started,
            "item.updated": self._item_updated,
            "item.completed": self._item_completed,
        }

    @classmethod
    def command(cls, prompt: str, options: Sequence[str] = (), model: str | None = None) -> Command:
        """The prompt follows ``--``: it may begin with a dash. A lone dash, or one too long, goes through stdin."""
        argv = ("codex", "exec", "--json", "--skip-git-repo-check", *(("-m", model) if model else ()), *options, "--")
        on_stdin = prompt == STDIN or not fits_argument(prompt)
        return Command((*argv, STDIN if on_stdin else prompt), prompt_on_stdin=on_stdin)

    def begin(self, prompt: str, at: datetime) -> list[BaseEvent]:
        """The prompt."""
        return [PromptSent(timestamp=at, prompt=prompt)]

    def feed(self, line: bytes, at: datetime) -> list[BaseEvent]:
        """Read one line."""
        if not line or line.isspace():
            return []
        self._key = self._key or run_key(at)
        parsed = parse_object(line)
        read = None if parsed is None else self._readers.get(get_text(parsed, "type") or "")
        events = None if parsed is None or read is None else read(_Line(parsed, at))
        return [unknown_line(self.name, line, at)] if events is None else events

    def end(self, exit: Exit, at: datetime) -> list[BaseEvent]:  # noqa: A002
        """Close what is open and tell what the run came to."""
        if self._ended:
            return []
        self._ended = True
        closed = close_calls(self._calls.values(), at)
        self._calls.clear()
        return [*closed, self._outcome.completed(exit, at)]

    def _thread_started(self, line: _Line) -> list[BaseEvent]:
        if self._started:
            return []
        self._started = True
        thread = get_text(line.json, "thread_id")
        said = optional(session_id=thread, model=self._model, resumed=self._resumed or None)
        return [Started(timestamp=line.at, toolchain=self.name, **said)]

    def _turn_started(self, _: _Line) -> list[BaseEvent]:
        self._outcome.turn_started()
        return []

    def _item_started(self, line: _Line) -> list[BaseEvent] | None:
        kind, item_id = get_text(line.item, "type"), self._id(line.item)
        if kind == "todo_list":
            return self._todo_list(line)
        if kind not in TOOL_ITEMS or item_id is None or item_id in self._closed:
            return None
        if item_id in self._calls:
            return []  # told again: still the same call
        call = OpenCall(item_id, tool_of(line.item), line.at)
        self._calls[item_id] = call
        return call_events(call, line.item)

    def _item_updated(self, line: _Line) -> list[BaseEvent] | None:
        return self._todo_list(line) if get_text(line.item, "type") == "todo_list" else None

    def _item_completed(self, line: _Line) -> list[BaseEvent] | None:
        item, at = line.item, line.at
        kind, item_id = get_text(item, "type"), self._id(item)
        if kind in TOOL_ITEMS:
            return self._result(line, item_id)
        if kind == "todo_list":
            return self._todo_list(line)
        text = get_text(item, "message" if kind == "error" else "text")
        if text is None:
            return None
        match kind:
            case "agent_message":
                return [ResponseComplete(timestamp=at, content=text, **optional(message_id=item_id))]
            case "reasoning":
                return [Thinking(timestamp=at, content=text, **optional(message_id=item_id))]
            case "error":  # the run goes on: an unknown model, a setting that is no longer there
                return [ErrorEvent(timestamp=at, error=text, kind="warning")]
            case _:
                return None

    def _result(self, line: _Line, item_id: str | None) -> list[BaseEvent] | None:
        if item_id is None or item_id in self._closed:
            return None
        self._closed.add(item_id)
        call = self._calls.pop(item_id, None)
        if call is not None:
            return result_events(call, line.item, line.at)
        call = OpenCall(item_id, tool_of(line.item), line.at)  # some tools are told only when they are done
        return [*call_events(call, line.item), *result_events(call, line.item, line.at)]

    def _todo_list(self, line: _Line) -> list[BaseEvent] | None:
        """Each new state of the plan is a call that was done at once: none stays open as long as the plan does."""
        item_id, plan = self._id(line.item), line.item.get("items")
        if item_id is None or not isinstance(plan, list):
            return None
        number = self._plans.get(item_id, 0)
        if number and plan == self._plan:
            return []
        self._plan, self._plans[item_id] = plan, number + 1
        call = OpenCall(f"{item_id}.{number}" if number else item_id, "todo_list", line.at)
        if call.call_id in self._calls or call.call_id in self._closed:
            return None
        self._closed.add(call.call_id)
        return [
            ToolCall(timestamp=call.at, tool=call.tool, args={"items": plan}, call_id=call.call_id),
            ToolResult(timestamp=call.at, tool=call.tool, result=None, call_id=call.call_id, duration_ms=0),
        ]

    def _id(self, item: JsonObject) -> str | None:
        """An item's id; Codex counts from ``item_0`` in each run."""
        item_id = get_text(item, "id")
        return None if item_id is None else f"{self._key}-{item_id}"


def _options(command: Command | None) -> tuple[str, ...]:
    """What stands on the command line before the prompt."""
    if command is None:
        return ()
    argv = command.argv
    return argv[: argv.index("--")] if "--" in argv else argv[:-1]


def _model_in(words: Sequence[str]) -> str | None:
    """The model that the command line names, if it does: the last one counts."""
    found: str | None = None
    for word, after in zip(words, (*words, "")[1:], strict=True):
        name, _, value = word.partition("=")
        if word in {"-m", "--model"}:
            found = after or found
        elif name == "--model":
            found = value or found
        elif word in {"-c", "--config"} and after.partition("=")[0].strip() == "model":
            found = after.partition("=")[2].strip().strip("'\"") or found
    return found
