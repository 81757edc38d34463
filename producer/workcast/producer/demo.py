"""The demo's fleet: recordings of real agents, played through the real adapters, several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from workcast.broker.below import is_file_below, remove_below, stat_below
from workcast.broker.files import create_file_once
from workcast.broker.names import DEMO_FILE
from workcast.broker.root import Root
from workcast.producer.errors import DemoError
from workcast.producer.replay import RECORDINGS, Recording, converse, replay
from workcast.producer.workcell import hold_workcell
from workcast.producer.writer import TelemetryWriter

ENDLESS_LOG_BYTES: Final = 4 << 20
"""The log of an endless run that has reached this size is recreated: a forgotten demo must not fill the disk."""
LOG_BYTES: Final = 64 << 10
"""The same for the other logs: a handful of runs is enough to look at, and keeps their total cost believable."""


@dataclass(frozen=True, slots=True)
class Act:
    """One workcell of the demo, and the recording that is played there again and again."""

    workcell: str
    issue: str
    recording: str
    prompt: str
    delay: float
    """Seconds before the first run."""
    pause: float
    """Seconds between two runs, or between two rounds of one that never completes."""
    endless: bool = False
    """Whether all rounds are turns of one run, which never completes."""


_TOUR: Final = (
    "I am new here: give me a tour. List the directory, leave a two-line hello in notes/hello.txt, and check whether "
    "the does-not-exist.txt that the handbook mentions is really there. Close with two bullets: one, two."
)
_TITLE: Final = (
    "The README still calls this repository “scratch”: make it “edited”. Then, in parallel, run the two checks "
    "(`echo one`, and `echo two; exit 7`, which is known to fail) and read the README back."
)
_ESCAPES: Final = (
    "Reproduce the escaping bug: say the whole torture text (Unicode, terminal codes, HTML), print bytes that are not "
    "UTF-8 from a shell, and write a file whose name needs escaping everywhere."
)

ACTS: Final = (
    Act("readme-title-claude", "DOCS-31", "claude-2.1.330-tools", _TITLE, 0.0, pause=6.0),
    Act("readme-title-codex", "DOCS-31", "codex-0.169.0-tools", _TITLE, 0.4, pause=7.0),
    Act("readme-title-gemini", "DOCS-31", "gemini-0.61.0-tools", _TITLE, 5.4, pause=8.0),
    Act("readme-title-opencode", "DOCS-31", "opencode-1.18.33-tools", _TITLE, 4.2, pause=6.5),
    Act("tour-claude", "ONB-12", "claude-2.1.330-basic", _TOUR, 1.0, pause=5.0),
    Act("tour-codex", "ONB-12", "codex-0.169.0-basic", _TOUR, 2.6, pause=8.0),
    Act("tour-gemini", "ONB-12", "gemini-0.61.0-basic", _TOUR, 6.6, pause=9.0),
    Act("tour-opencode", "ONB-12", "opencode-1.18.33-basic", _TOUR, 0.8, pause=6.0),
    Act("xss-repro-claude", "SEC-88", "claude-2.1.330-nasty", _ESCAPES, 1.8, pause=6.0),
    Act("xss-repro-codex", "SEC-88", "codex-0.169.0-nasty", _ESCAPES, 5.0, pause=4.0),
    Act(
        "watch-readme", "OPS-77", "claude-2.1.330-tools",
        "Keep watch over the README: whenever its title is set back to “scratch”, make it “edited” again, "
        "run both checks beside it, and read it back. Go on until I stop you.",
        0.2, pause=4.0, endless=True,
    ),
    Act(
        "explore-subagent", "ARCH-5", "claude-2.1.330-subagent-foreground",
        "Send a sub-agent to look around, and tell me once it has reported back.", 3.0, pause=5.0,
    ),
    Act(
        "ping-model-api", "OPS-9", "claude-2.1.330-flaky",
        "The model's API answered 529 all morning. Keep trying, and say so once you get through.", 3.8, pause=6.0,
    ),
    Act(
        "upgrade-deps", "DEPS-142", "claude-2.1.330-e529",
        "Upgrade all dependencies to their newest versions and fix what breaks.", 4.6, pause=12.0,
    ),
    Act(
        "missing-mcp-tool", "BUG-188", "claude-2.1.330-badtool",
        "Call the tool NoSuchTool with x = 1. Has our MCP server registered it by now?", 6.0, pause=9.0,
    ),
    Act(
        "soak-streaming", "QA-64", "claude-2.1.330-hangtext-sigterm",
        "We are testing how a long answer streams: talk without end. I will stop you.", 2.2, pause=7.0,
    ),
)  # fmt: skip
"""Several agents may work on one issue, each in a workcell of its own."""


@contextmanager
def hold_stage(root: Root) -> Generator[None]:
    """Hold the workcells of all acts, which must be free or the demo's own: logs that have grown are deleted.

    Raises:
        DemoError: another log is in one of them.
        WorkcellBusyError: another demo plays there.
        RootError: the root cannot be written.
    """
    root.prepare()
    with ExitStack() as stack:
        for act in ACTS:
            directory = root.workcell(act.workcell)
            is_used = stat_below(root.log(act.workcell)) is not None
            if is_used and not is_file_below(directory / DEMO_FILE):
                raise DemoError(
                    f"expected {directory} to be free or the demo's own, but it holds another log; "
                    f"choose another --root"
                )
            stack.enter_context(hold_workcell(directory))
            create_file_once(directory / DEMO_FILE, b"")
        yield


async def play(root: Root) -> None:
    """Play all acts until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        for act in ACTS:
            tasks.create_task(perform(root, act))


async def perform(root: Root, act: Act, keep_bytes: int | None = None, speed: float = 1.0) -> None:
    """Play one act until cancelled; the run that is cancelled completes as such.

    Args:
        root: where.
        act: what.
        keep_bytes: the log is recreated once it has reached this size; None: the usual size for such an act.
        speed: 2.0 plays in half the time.
    """
    recording = Recording.load(RECORDINGS / f"{act.recording}.jsonl")
    context = {"workcell_id": act.workcell, "issue_id": act.issue, "toolchain": recording.agent}
    log = root.log(act.workcell)
    limit = keep_bytes or (ENDLESS_LOG_BYTES if act.endless else LOG_BYTES)

    def has_room() -> bool:
        found = stat_below(log)
        return found is None or found.st_size < limit

    await asyncio.sleep(act.delay / speed)
    with TelemetryWriter(log, context, relay=False) as writer:  # one relay carries the whole root
        while True:
            if not has_room():
                remove_below(log)  # the writer makes another, and viewers get `reset`
            if act.endless:
                await converse(recording, writer, prompt=act.prompt, go_on=has_room, pause=act.pause, speed=speed)
            else:
                await replay(recording, writer, prompt=act.prompt, speed=speed)
            await asyncio.sleep(act.pause / speed)
