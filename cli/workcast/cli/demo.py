"""``demo``: recordings of real agents, played through the real adapters at their own pace, several at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer

from workcast.broker.names import DEMO_FILE
from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.cli.serving import wait_for_redis
from workcast.cli.up import serve_roots
from workcast.consumer.settings import GatewaySettings
from workcast.events.errors import WorkcastError
from workcast.producer.replay import RECORDINGS, Recording, converse, replay
from workcast.producer.workcell import hold_workcell
from workcast.producer.writer import TelemetryWriter

KEEP_BYTES: Final = 4 << 20
"""The log of an endless run that has come to this is begun anew: a demo that is forgotten fills no disk."""
KEEP_RUNS_BYTES: Final = 64 << 10
"""The same for logs of runs: a handful of each is enough to look at, and what they cost stays believable."""
_DRAIN_SECONDS: Final = 2.0


class DemoError(WorkcastError):
    """The demo cannot play here."""


@dataclass(frozen=True, slots=True)
class Act:
    """One workcell of the demo: a recording that is played again and again."""

    workcell: str
    issue: str
    recording: str
    prompt: str
    delay: float
    """Seconds before the first run."""
    pause: float
    """Seconds between two runs, or between two rounds of one that goes on and on."""
    endless: bool = False
    """Whether all rounds are turns of one run, which does not complete."""


_TOUR: Final = (
    "I am new here: give me a tour. List the directory, leave a two-line hello in notes/hello.txt, and check whether "
    "the does-not-exist.txt that the handbook mentions is really there. Close with two bullets: one, two."
)
_TITLE: Final = (
    "The README still calls this repository “scratch”: make it “edited”. Then, in parallel, run the two checks "
    "(`echo one`, and `echo two; exit 7`, which is known to fail) and read the README back."
)
_ESCAPES: Final = (
    "Reproduce the escaping bug: say the whole torture text (Unicode, terminal codes, HTML), print bytes that are no "
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
        "Keep watch over the README: whenever somebody has set its title back to “scratch”, make it “edited” again, "
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


def serve_demo(settings: GatewaySettings, directory: Path | None = None) -> None:
    """Play and serve until interrupted, in ``directory``, else in a temporary root that is removed at the end.

    Raises:
        WorkcastError: the port is taken, or the root is not to be had.
    """
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="workcast-demo-")))
        stack.enter_context(_workcells(Root(directory)))
        serve_roots(Roots(Root(directory)), settings, [play])


def play_demo(directory: Path, redis_url: str | None, patience: float) -> None:
    """Play until SIGINT or SIGTERM, for whoever serves the root; with ``redis_url``, relay its logs as well.

    Raises:
        WorkcastError: the root is not to be had or cannot be written, or Redis not within ``patience`` seconds.
    """
    root = Root(directory)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the loop takes it over
    with _workcells(root), contextlib.ExitStack() as stack:
        if redis_url:
            wait_for_redis(redis_url, patience)
            relay = Relay(root, redis_url)
            relay.start()
            stack.callback(relay.close, _DRAIN_SECONDS)
        typer.echo(f"{len(ACTS)} workcells play in {root.directory}")
        asyncio.run(_play_until_told(root))


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
        keep_bytes: the log is begun anew once it has come to so many; None: what is usual for such an act.
        speed: 2.0 plays in half the time.
    """
    recording = Recording.load(RECORDINGS / f"{act.recording}.jsonl")
    context = {"workcell_id": act.workcell, "issue_id": act.issue, "toolchain": recording.agent}
    log = root.log(act.workcell)
    limit = keep_bytes or (KEEP_BYTES if act.endless else KEEP_RUNS_BYTES)

    def has_room() -> bool:
        return not log.exists() or log.stat().st_size < limit

    await asyncio.sleep(act.delay / speed)
    with TelemetryWriter(log, context, relay=False) as writer:  # one relay carries the whole root
        while True:
            if not has_room():
                log.unlink()  # the writer makes another; viewers are told `reset`
            if act.endless:
                await converse(recording, writer, prompt=act.prompt, go_on=has_room, pause=act.pause, speed=speed)
            else:
                await replay(recording, writer, prompt=act.prompt, speed=speed)
            await asyncio.sleep(act.pause / speed)


async def _play_until_told(root: Root) -> None:
    playing = asyncio.ensure_future(play(root))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, playing.cancel)
    await asyncio.wait({playing})
    if playing.cancelled():
        return
    try:
        playing.result()
    except* OSError as failed:
        raise DemoError(f"cannot write the demo's logs in {root.workcells}: {failed.exceptions[0]}") from None


@contextlib.contextmanager
def _workcells(root: Root) -> Generator[None]:
    """Hold the workcells of all acts; nobody else's, because a log that has grown is thrown away."""
    root.prepare()
    with contextlib.ExitStack() as stack:
        for act in ACTS:
            directory = root.workcell(act.workcell)
            if root.log(act.workcell).exists() and not (directory / DEMO_FILE).exists():
                raise DemoError(
                    f"expected {directory} to be free or the demo's own, but it holds somebody's log; "
                    f"choose another --root"
                )
            stack.enter_context(hold_workcell(directory))
            (directory / DEMO_FILE).touch()
        yield
