"""What the scripted model says and does: scenarios, each a list of turns, each a list of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

PIECE: Final = 24
"""Characters in a chunk."""
SLOW_CHUNKS: Final = 40


@dataclass(frozen=True)
class Think:
    """A thought."""

    text: str


@dataclass(frozen=True)
class Say:
    """A text."""

    text: str


@dataclass(frozen=True)
class Call:
    """A tool call; ``{cwd}`` in its arguments is the agent's working directory."""

    tool: str
    arguments: Mapping[str, str]


@dataclass(frozen=True)
class TalkForever:
    """Go on with the text before, chunk after chunk, until the agent hangs up."""


@dataclass(frozen=True)
class Refuse:
    """No message at all, but an HTTP error."""

    status: int
    kind: str
    message: str


Step = Think | Say | Call | TalkForever | Refuse


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
}
"""By name: turns, each of them the steps of one message."""


def cut(text: str) -> list[str]:
    """A text in the pieces in which it is streamed."""
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
