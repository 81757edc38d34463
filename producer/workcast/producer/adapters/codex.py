"""Codex: ``codex exec --json``.

Every field is optional and every line kind may be new: what no rule knows becomes ``unknown``, and nothing raises.
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
)
from workcast.producer.adapters.codex_items import TOOL_ITEMS, call_events, result_events, tool_of
from workcast.producer.adapters.codex_outcome import Outcome
from workcast.producer.adapters.fields import JsonObject, get_object, get_text
from workcast.producer.adapters.json_lines import JsonLines, Rule
from workcast.producer.adapters.marks import Marks
from workcast.producer.adapters.own_options import OwnOption, model_option, without_own

RESUMING: Final = frozenset({"resume", "fork"})
"""The subcommands that go on with a thread. Taken for one by mistake, a run only keeps its usage to itself."""
STDIN: Final = "-"
"""What Codex takes for "the prompt is on stdin"."""


OWN: Final = (OwnOption(("--json", "--experimental-json")), OwnOption(("--skip-git-repo-check",)))


class CodexAdapter(JsonLines):
    """Reads one run of Codex."""

    name: ClassVar[str] = "codex"
    install_hint: ClassVar[str] = "npm install -g @openai/codex"
    takes_prompt: ClassVar[bool] = True

    def __init__(self, command: Command | None = None, /) -> None:
        super().__init__()
        words = _options(command)
        self._model = _model_in(words) if words else None
        self._started = False
        self._calls: dict[str, OpenCall] = {}
        self._closed = Marks()
        self._plans: dict[str, int] = {}
        self._plan: object = None
        self._resumed = not RESUMING.isdisjoint(words)
        self._outcome = Outcome(resumed=self._resumed)

    @classmethod
    def command(cls, prompt: str, options: Sequence[str] = (), model: str | None = None) -> Command:
        """The prompt follows ``--``: it may begin with a dash. A lone dash, or one too long, goes through stdin."""
        given = without_own(cls.name, (*OWN, *model_option(model)), options)
        argv = ("codex", "exec", "--json", "--skip-git-repo-check", *(("-m", model) if model else ()), *given, "--")
        on_stdin = prompt == STDIN or not fits_argument(prompt)
        return Command((*argv, STDIN if on_stdin else prompt), prompt_on_stdin=on_stdin)

    def begin(self, prompt: str, at: datetime) -> list[BaseEvent]:
        """The prompt."""
        return [PromptSent(timestamp=at, prompt=prompt)]

    def ending(self, exit: Exit, at: datetime) -> list[BaseEvent]:  # noqa: A002
        """Close what is open and tell what the run came to."""
        closed = close_calls(self._calls.values(), at)
        self._calls.clear()
        return [*closed, self._outcome.completed(exit, at)]

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
        if kind not in TOOL_ITEMS or item_id is None or item_id in self._closed:
            return None
        if item_id in self._calls:
            return []  # told again: still the same call
        call = self._calls[item_id] = OpenCall(item_id, tool_of(item), at)
        return call_events(call, item)

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
        if item_id is None or item_id in self._closed:
            return None
        self._closed.add(item_id)
        call = self._calls.pop(item_id, None)
        if call is not None:
            return result_events(call, item, at)
        call = OpenCall(item_id, tool_of(item), at)  # some tools are told only when they are done
        return [*call_events(call, item), *result_events(call, item, at)]

    def _todo_list(self, item: JsonObject, at: datetime) -> list[BaseEvent] | None:
        """Each new state of the plan is a call that was done at once: none stays open as long as the plan does."""
        item_id, plan = self._id(item), item.get("items")
        if item_id is None or not isinstance(plan, list):
            return None
        number = self._plans.get(item_id, 0)
        if number and plan == self._plan:
            return []
        self._plan, self._plans[item_id] = plan, number + 1
        call_id = f"{item_id}.{number}" if number else item_id
        if call_id in self._calls or call_id in self._closed:
            return None
        self._closed.add(call_id)
        return [
            ToolCall(timestamp=at, tool="todo_list", args={"items": plan}, call_id=call_id),
            ToolResult(timestamp=at, tool="todo_list", result=None, call_id=call_id, duration_ms=0),
        ]

    def _id(self, item: JsonObject) -> str | None:
        """An item's id; Codex counts from ``item_0`` in each run."""
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
