"""``demo``: recordings of real agents, played through the real adapter at their own pace, several at once."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from workcast.broker.root import Root
from workcast.cli.up import serve_root
from workcast.consumer.settings import GatewaySettings
from workcast.producer.replay import RECORDINGS, Recording, replay
from workcast.producer.writer import TelemetryWriter

_PAUSE_SECONDS: Final = 4.0
"""Between two runs of one workcell."""


@dataclass(frozen=True, slots=True)
class Act:
    """One workcell of the demo: a recording that is played again and again."""

    workcell: str
    issue: str
    recording: str
    prompt: str
    delay: float
    """Seconds before the first run."""


ACTS: Final = (
    Act("wc-tour", "DOCS-12", "claude-2.1.330-basic", "Give me a tour of this repository.", 0.0),
    Act("wc-readme", "DOCS-31", "claude-2.1.330-tools", "Rename the README's title and check the scripts.", 1.0),
    Act("wc-unicode", "BUG-207", "claude-2.1.330-nasty", "Why does the parser break on odd characters?", 2.0),
    Act("wc-explore", "OPS-8", "claude-2.1.330-subagent-foreground", "Delegate a look around to a sub-agent.", 3.0),
    Act("wc-flaky-api", "OPS-9", "claude-2.1.330-flaky", "Summarise the open issues.", 4.0),
    Act("wc-overloaded", "OPS-10", "claude-2.1.330-e529", "Upgrade the dependencies.", 5.0),
    Act("wc-wrong-tool", "BUG-188", "claude-2.1.330-badtool", "Use the deployment tool.", 6.0),
    Act("wc-codex-tour", "DOCS-14", "codex-0.169.0-basic", "Show me around, and leave a note.", 1.5),
    Act("wc-codex-fix", "BUG-211", "codex-0.169.0-tools", "Fix the title and run the checks.", 4.5),
    Act("wc-cancelled", "FEAT-77", "claude-2.1.330-hangtext-sigterm", "Write the release notes, all of them.", 7.0),
)


def serve_demo(settings: GatewaySettings) -> None:
    """Serve a temporary root until interrupted; it is removed at the end.

    Raises:
        WorkcastError: the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="workcast-demo-") as directory:
        serve_root(Path(directory), settings, [play])


async def play(root: Root) -> None:
    """Play all acts until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        for act in ACTS:
            tasks.create_task(_perform(root, act))


async def _perform(root: Root, act: Act) -> None:
    recording = Recording.load(RECORDINGS / f"{act.recording}.jsonl")
    context = {"workcell_id": act.workcell, "issue_id": act.issue, "toolchain": recording.agent}
    await asyncio.sleep(act.delay)
    with TelemetryWriter(root.log(act.workcell), context) as writer:
        for _ in itertools.count():
            await replay(recording, writer, prompt=act.prompt)
            await asyncio.sleep(_PAUSE_SECONDS)
