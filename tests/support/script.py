"""The scripted model's scenarios: each a list of turns, each a list of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

PIECE: Final = 24
"""Characters per chunk."""
SLOW_CHUNKS: Final = 40


@dataclass(frozen=True)
class Think:
    """Emit a thought."""

    text: str


@dataclass(frozen=True)
class Say:
    """Emit a text."""

    text: str


@dataclass(frozen=True)
class Call:
    """Call a tool; ``{cwd}`` in its arguments is the agent's working directory."""

    tool: str
    arguments: Mapping[str, str]


@dataclass(frozen=True)
class TalkForever:
    """Continue the previous text, chunk after chunk, until the agent disconnects."""


@dataclass(frozen=True)
class Drop:
    """Drop the connection in the middle of the previous text: always, or only the first ``times`` times."""

    times: int | None = None


@dataclass(frozen=True)
class Delegate:
    """Start a sub-agent."""

    task: str


@dataclass(frozen=True)
class AwaitTeam:
    """Wait for the sub-agents, for agents that do not wait by themselves."""


@dataclass(frozen=True)
class Refuse:
    """Answer with an HTTP error: always, or only the first ``times`` times."""

    status: int
    kind: str
    message: str
    times: int | None = None


Step = Think | Say | Call | TalkForever | Drop | Delegate | AwaitTeam | Refuse


def _run(command: str) -> Call:
    return Call("Bash", {"command": command, "description": "Run a scripted command"})


SCENARIOS: Final[Mapping[str, Sequence[Sequence[Step]]]] = {
    "basic": [
        [
            Think("The user wants a tour. First look at the directory, then write a file."),
            Say("I'll start by looking at the working directory."),
            _run("echo hello && ls"),
        ],
        [
            Say("Now I'll write the file."),
            Call(
                "Write",
                {"file_path": "{cwd}/notes/hello.txt", "content": "Hello from the scripted model.\nSecond line.\n"},
            ),
        ],
        [Think("Check a file that does not exist."), Call("Read", {"file_path": "{cwd}/does-not-exist.txt"})],
        [Say("Done. I listed the directory, wrote `notes/hello.txt`, and found that `does-not-exist.txt` is missing.")],
    ],
    "plain": [[Say("Just a short answer, in a few pieces.")]],
    "tools": [
        [Call("Read", {"file_path": "{cwd}/README.md"})],
        [Call("Edit", {"file_path": "{cwd}/README.md", "old_string": "# scratch", "new_string": "# edited"})],
        [_run("echo one"), _run("echo two; exit 7"), Call("Read", {"file_path": "{cwd}/README.md"})],
        [Say("Three in parallel are done.")],
    ],
    "hangtool": [[Say("A long command."), _run("echo begin; sleep 600")], [Say("It ended.")]],
    "hangtext": [[Say("I will talk forever."), TalkForever()]],
    "slow": [[Say("".join(f"This is sentence {n:02d}.   " for n in range(SLOW_CHUNKS)))]],
    "e401": [[Refuse(401, "authentication_error", "invalid x-api-key")]],
    "overloaded": [[Refuse(529, "overloaded_error", "Overloaded", times=2), Say("Fine after two failures.")]],
    "drop": [[Say("This connection drops in the mid"), Drop()]],
    "drop-once": [[Say("This connection drops in the mid"), Drop(times=1)]],
    "fails": [[Say("A command that fails."), _run("echo two; exit 7")], [Say("It failed.")]],
    "subagent": [[Delegate("[[scenario:child]] Look around.")], [Say("The sub-agent reported back.")]],
    "team": [[Delegate("[[scenario:child]] Look around.")], [AwaitTeam()], [Say("The team is done.")]],
    "child": [[Say("I am the sub-agent."), _run("echo from the child")], [Say("Child report: fine.")]],
}
"""By name: turns, each the steps of one message."""


def cut(text: str) -> list[str]:
    """Split a text into the chunks in which it is streamed."""
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)]


def endless(steps: Sequence[Step]) -> bool:
    """Whether these steps continue until the agent disconnects."""
    return any(isinstance(step, TalkForever) for step in steps)


def dropped(steps: Sequence[Step]) -> bool:
    """Whether the connection is dropped before these steps are over."""
    return any(isinstance(step, Drop) for step in steps)
