"""Codex: ``codex exec --json``.

Every field is optional and every kind of line may be new: a line without a rule becomes ``unknown``; nothing raises.
Codex prints neither the model nor whether a thread is resumed: both are taken from the command line, if it is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Final

from workcast.events.frozen import make
from workcast.events.models import (
    BaseEvent,
    ErrorEvent,
    ResponseComplete,
    Started,
    Thinking,
    ToolCall,
    ToolResult,
)
from workcast.producer.adapters.base import Command, fits_argument
from workcast.producer.adapters.codex_items import TOOL_ITEMS, call_events, result_events, tool_of
from workcast.producer.adapters.codex_outcome import CodexOutcome
from workcast.producer.adapters.json_lines import JsonLines, Rule
from workcast.producer.adapters.own_options import OwnOption, model_option, without_own
from workcast.producer.calls import OpenCall
from workcast.producer.fields import JsonObject, get_object, get_text
from workcast.producer.recent import RecentMap

RESUMING: Final = frozenset({"resume", "fork"})
"""The subcommands that continue a thread. If a run is taken for one by mistake, only its usage is missing."""
STDIN: Final = "-"
"""The argument by which Codex reads the prompt from stdin."""


OWN: Final = (OwnOption(("--json", "--experimental-json")), OwnOption(("--skip-git-repo-check",)))


class CodexAdapter(JsonLines):
    """Reads one run of Codex."""

    name: ClassVar[str] = "codex"
    install_hint: ClassVar[str] = "npm install -g @openai/codex"
    takes_prompt: ClassVar[bool] = True

    def __init__(self, command: Command | None = None, /) -> None:
        words = _options(command)
        self._resumed = not RESUMING.isdisjoint(words)
        self._outcome = CodexOutcome(resumed=self._resumed)
        super().__init__(self._outcome)
        self._model = _model_in(words) if words else None
        self._started = False
        self._plans: RecentMap[str, int] = RecentMap()
        """How many states of each plan were emitted, by the plan's id."""
        self._plan: object = None

    @classmethod
    def command(cls, prompt: str, options: Sequence[str] = (), model: str | None = None) -> Command:
        """Build the command; the prompt follows ``--``, as it may begin with a dash.

        A lone dash, or a prompt that is too long, is passed on stdin.
        """
        given = without_own(cls.name, (*OWN, *model_option(model)), options)
        argv = ("codex", "exec", "--json", "--skip-git-repo-check", *(("-m", model) if model else ()), *given, "--")
        on_stdin = prompt == STDIN or not fits_argument(prompt)
        return Command((*argv, STDIN if on_stdin else prompt), prompt_on_stdin=on_stdin)

    def _thread_started(self, line: JsonObject, at: datetime) -> list[BaseEvent]:
        if self._started:
            return []
        self._started = True
        return [
            make(
                Started,
                timestamp=at,
                toolchain=self.name,
                session_id=get_text(line, "thread_id"),
                model=self._model,
                resumed=self._resumed or None,
            )
        ]

    def _turn_started(self, _line: JsonObject, _at: datetime) -> list[BaseEvent]:
        self._outcome.turn_started()
        return []

    def _turn_completed(self, line: JsonObject, at: datetime) -> list[BaseEvent]:
        return self._outcome.turn_completed(line, at)

    def _turn_failed(self, line: JsonObject, at: datetime) -> list[BaseEvent]:
        return self._outcome.turn_failed(line, at)

    def _error(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        return self._outcome.error(line, at)

    def _item_started(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        item = get_object(line, "item")
        kind, item_id = get_text(item, "type"), self._id(item)
        if kind == "todo_list":
            return self._todo_list(item, at)
        if kind not in TOOL_ITEMS or item_id is None or self.calls.was_closed(item_id):
            return None
        if item_id in self.calls:
            return []  # the same call, printed again
        call = OpenCall(item_id, tool_of(item), at)
        return [*self.open_call(item_id, call), *call_events(call, item)]

    def _item_updated(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        item = get_object(line, "item")
        return self._todo_list(item, at) if get_text(item, "type") == "todo_list" else None

    def _item_completed(self, line: JsonObject, at: datetime) -> list[BaseEvent] | None:
        item = get_object(line, "item")
        kind = get_text(item, "type")
        if kind in TOOL_ITEMS:
            return self._result(item, at)
        if kind == "todo_list":
            return self._todo_list(item, at)
        text = get_text(item, "message" if kind == "error" else "text")
        if text is None:
            return None
        match kind:
            case "agent_message":
                return [make(ResponseComplete, timestamp=at, content=text, message_id=self._id(item))]
            case "reasoning":
                return [make(Thinking, timestamp=at, content=text, message_id=self._id(item))]
            case "error":  # the run goes on: an unknown model, a setting that is no longer there
                return [ErrorEvent(timestamp=at, error=text, kind="warning")]
            case _:
                return None

    def _result(self, item: JsonObject, at: datetime) -> list[BaseEvent] | None:
        item_id = self._id(item)
        if item_id is None or self.calls.was_closed(item_id):
            return None
        call = self.calls.take(item_id)
        if call is not None:
            return result_events(call, item, at)
        call = OpenCall(item_id, tool_of(item), at)  # some tools are printed only when they are done
        return [*call_events(call, item), *result_events(call, item, at)]

    def _todo_list(self, item: JsonObject, at: datetime) -> list[BaseEvent] | None:
        """Emit each new state of a plan as a call that returned at once: none stays open as long as the plan."""
        item_id, plan = self._id(item), item.get("items")
        if item_id is None or not isinstance(plan, list):
            return None
        number = self._plans.get(item_id) or 0
        if number and plan == self._plan:
            return []
        self._plan, self._plans[item_id] = plan, number + 1
        call_id = f"{item_id}.{number}" if number else item_id
        if call_id in self.calls or self.calls.was_closed(call_id):
            return None
        self.calls.take(call_id)
        return [
            ToolCall(timestamp=at, tool="todo_list", args={"items": plan}, call_id=call_id),
            ToolResult(timestamp=at, tool="todo_list", result=None, call_id=call_id, duration_ms=0),
        ]

    def _id(self, item: JsonObject) -> str | None:
        """Return an item's id, made unique in the log, as Codex counts from ``item_0`` in each run."""
        item_id = get_text(item, "id")
        return None if item_id is None else f"{self.key}-{item_id}"

    rules: Mapping[str, Rule] = {
        "thread.started": _thread_started,
        "turn.started": _turn_started,
        "turn.completed": _turn_completed,
        "turn.failed": _turn_failed,
        "error": _error,
        "item.started": _item_started,
        "item.updated": _item_updated,
        "item.completed": _item_completed,
    }


def _options(command: Command | None) -> tuple[str, ...]:
    """Return the words of the command line before the prompt."""
    if command is None:
        return ()
    argv = command.argv
    return argv[: argv.index("--")] if "--" in argv else argv[:-1]


def _model_in(words: Sequence[str]) -> str | None:
    """Return the model that the command line names last, or None."""
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
