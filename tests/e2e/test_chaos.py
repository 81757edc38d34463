"""Whatever faults hit processes, broker, logs and viewers, every history is dense, correct, and complete in the end.

The schedule comes from a seed, not from hypothesis: a step's effect depends on the state of a dozen processes, so the
same steps seldom fail the same way again, and there is nothing to shrink. ``WORKCAST_CHAOS_SEED`` and
``WORKCAST_CHAOS_SECONDS`` set the seed of the first round and the length of the long test; each further round uses the
next seed.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import Random, SystemRandom

import pytest

from support.chaos import World, settle, world
from support.history_checker import epochs_shown, problems
from support.socket_viewers import SocketViewer
from support.waiting import wait_until_async
from workcast.broker.log import LogReader
from workcast.broker.log_facts import epoch_of

SEED = int(os.environ.get("WORKCAST_CHAOS_SEED") or SystemRandom().randrange(1_000_000))
SECONDS = float(os.environ.get("WORKCAST_CHAOS_SECONDS") or 240)
SETTLED = 60.0
"""Seconds within which every viewer must be complete; heads are compared every five."""

Step = Callable[[World], Awaitable[None] | None]
STEPS: list[tuple[int, Step]] = [
    (12, World.append),
    (3, World.append_odd_lines),
    (2, World.tear_a_line),
    (8, World.write),
    (3, World.kill_a_writer),
    (4, World.replace_a_log),
    (3, World.cut_a_log),
    (1, World.unlink_a_log),
    (8, World.start_a_dead_process),
    (2, World.kill_the_relay),
    (2, World.replace_the_relay),
    (2, World.kill_a_gateway),
    (2, World.replace_a_gateway),
    (4, World.stop_a_process),
    (8, World.resume_a_process),
    (2, World.kill_the_broker),
    (1, World.replace_the_broker),
    (3, World.replicate_the_broker),
    (2, World.fail_over),
    (3, World.flush_the_broker),
    (5, World.trim),
    (1, World.forget_a_summary),
    (4, World.add_a_viewer),
    (50, World.act_as_a_viewer),
]


async def storm(made: World, steps: int) -> list[str]:
    """Run ``steps`` random steps; return their times and names."""
    done: list[str] = []
    start = time.monotonic()
    weights = [weight for weight, _ in STEPS]
    for _ in range(steps):
        ((_, step),) = made.random.choices(STEPS, weights)
        if inspect.iscoroutinefunction(step):
            await step(made)
        elif step is World.add_a_viewer:
            step(made)
        else:
            await asyncio.to_thread(step, made)
        done.append(f"{time.monotonic() - start:6.2f} {step.__name__}")
        await asyncio.sleep(made.random.choice((0, 0, 0.02, 0.1, 0.3)))
    return done


def all_are_live(made: World) -> bool:
    return all(viewer.live == set(viewer.workcells) for viewer in made.viewers)


def epoch_on_disk(made: World, workcell: str) -> int:
    reader = LogReader(made.root.log(workcell))
    reader.refresh()
    return epoch_of(made.root, workcell, reader)


async def complete(made: World) -> None:
    """Wait until every viewer is live at the end of each log."""
    for workcell, logbook in made.logbooks.items():
        end = logbook.end
        watching = [viewer for viewer in made.viewers if workcell in viewer.workcells]

        await wait_until_async(
            partial(all_are_at, made, watching, workcell, end), SETTLED, f"every viewer is at {end} of {workcell}"
        )


def all_are_at(made: World, viewers: list[SocketViewer], workcell: str, end: int) -> bool:
    epoch = epoch_on_disk(made, workcell)
    return all(viewer.is_at(workcell, epoch, end) for viewer in viewers)


def judge(made: World) -> list[str]:
    """List the problems in the histories of all viewers."""
    found = list(made.complaints)
    for workcell, logbook in made.logbooks.items():
        logs = logbook.logs()
        shown = epochs_shown(workcell, [viewer.history for viewer in made.viewers], logs)
        found += [f"epoch {epoch} of {workcell} belongs to no log" for epoch, fitting in shown.items() if not fitting]
        known = {epoch: fitting[-1] for epoch, fitting in shown.items() if fitting}
        last = epoch_on_disk(made, workcell)
        if known.get(last) != logs[-1]:
            found.append(f"epoch {last} of {workcell} does not belong to its current log")
        for number, viewer in enumerate(made.viewers):
            if workcell in viewer.workcells:
                wrong = problems(
                    workcell, viewer.history, known, complete=last, unavailable=known.keys() - {last}
                )  # fmt: skip
                found += [f"viewer {number}, {workcell}: {problem}" for problem in wrong[:5]]
    return found


async def live_through(seed: int, steps: int, evidence: Path) -> None:
    """Run one world through a storm of faults, and check it after they have ended."""
    print(f"WORKCAST_CHAOS_SEED={seed}")
    with world(Random(seed)) as made:
        done: list[str] = []
        try:
            for _ in range(4):
                made.add_a_viewer()
            await wait_until_async(partial(all_are_live, made), SETTLED, "every viewer is live at the start")
            done = await storm(made, steps)
            await settle(made)
            await complete(made)
            found = judge(made)
        except BaseException:
            write_evidence(made, done, evidence)
            raise
        finally:
            for viewer in made.viewers:
                await viewer.leave()
        if found:
            write_evidence(made, done, evidence)
        assert found == [], f"WORKCAST_CHAOS_SEED={seed}; see {evidence}"


def write_evidence(made: World, done: list[str], evidence: Path) -> None:
    evidence.mkdir(exist_ok=True)
    (evidence / "steps").write_text("\n".join(done), encoding="utf-8")
    (evidence / "problems").write_text("\n".join(judge(made)), encoding="utf-8")
    (evidence / "printed").write_text(made.printed(), encoding="utf-8")
    for number, viewer in enumerate(made.viewers):
        history = "\n".join(map(str, viewer.history))
        (evidence / f"viewer-{number}").write_text(history, encoding="utf-8")
    for workcell, logbook in made.logbooks.items():
        for number, log in enumerate(logbook.logs()):
            (evidence / f"{workcell}-{number}").write_bytes(b"\n".join(log.lines))


async def test_every_viewer_gets_a_correct_and_finally_complete_history(tmp_path: Path) -> None:
    await live_through(SEED, 90, tmp_path / "evidence")


@pytest.mark.accept
@pytest.mark.timeout(SECONDS + 300)
async def test_every_viewer_gets_a_correct_history_for_many_rounds(tmp_path: Path) -> None:
    deadline, seed = time.monotonic() + SECONDS, SEED
    while time.monotonic() < deadline:
        await live_through(seed, 250, tmp_path / "evidence")
        seed += 1
