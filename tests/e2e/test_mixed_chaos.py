"""Hostile workcells, agents and clients beside calm ones in one root, under a real ``up`` that is killed and stopped.

Whatever they do, the calm workcells' viewers get every event once, in order, and none of another workcell.
``WORKCAST_MIXED_SECONDS`` sets the length of the long test, ``WORKCAST_CHAOS_SEED`` the seed of both.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random, SystemRandom

import pytest

from support.calm import CALM, STEADY, CalmWorld, percentile
from support.hostilities import HOSTILITIES, Hostile
from support.processes import Program

SEED = int(os.environ.get("WORKCAST_CHAOS_SEED") or SystemRandom().randrange(1_000_000))
SECONDS = float(os.environ.get("WORKCAST_MIXED_SECONDS") or 600)
SHORT_SECONDS = 25.0
FAULTS = ("kill up", "kill broker", "stop")
FAULT_S = 12.0
"""Between two faults, on average."""
CLIENTS = (sys.executable, "-m", "support.hostile_clients")
ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parents[1])}
PAUSES_S = (0.0, 0.02, 0.05, 0.1, 0.2)


async def storm(calm: CalmWorld, hostile: Hostile, seconds: float) -> Counter[str]:
    """Do what is in the tables, at random, for so many seconds; return how often each was done."""
    done: Counter[str] = Counter()
    random, end = hostile.random, time.monotonic() + seconds
    next_fault = time.monotonic() + random.uniform(2, FAULT_S)
    weights = [weight for weight, _ in HOSTILITIES]
    while time.monotonic() < end:
        ((_, hostility),) = random.choices(HOSTILITIES, weights)
        with contextlib.suppress(OSError):  # two of them were in each other's way
            await asyncio.to_thread(hostility, hostile)
        done[hostility.__name__] += 1
        if random.random() < 0.3:
            await random.choice(calm.viewers[STEADY:]).act()
        if time.monotonic() >= next_fault:
            fault = random.choice(FAULTS)
            done[fault] += 1
            await calm.disturb(fault)
            next_fault = time.monotonic() + random.uniform(0.5, 1.5) * FAULT_S
        await asyncio.sleep(random.choice(PAUSES_S))
    return done


async def live_through(seed: int, seconds: float) -> None:
    print(f"WORKCAST_CHAOS_SEED={seed}")
    random = Random(seed)
    with tempfile.TemporaryDirectory(prefix="workcast-mixed-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        calm = CalmWorld(directory, random)
        stack.callback(calm.close)
        hostile = Hostile(calm.root, directory / "outside", random)
        stack.callback(hostile.close)
        try:
            await calm.begin()
            with Program(str(calm.port), str(seed), program=CLIENTS, env=ENVIRONMENT) as clients:
                done = await storm(calm, hostile, seconds)
            done.update(clients.out.split())
            hostile.release_locks()
            counts = await asyncio.to_thread(calm.end_producers)
            await calm.complete()
        finally:
            for viewer in calm.viewers:
                await viewer.leave()
        every, undisturbed = calm.delays()
        print("done:", ", ".join(f"{name} {count}" for name, count in done.most_common()))
        print(f"calm events: {counts}, at {STEADY} steady viewers: {len(every)}")
        for what, delays in (("all", every), ("outside of faults of up and broker", undisturbed)):
            shares = [f"p{round(100 * share)} {1000 * percentile(delays, share):.1f}" for share in (0.5, 0.9, 0.99)]
            print(f"delays in ms, {what}: {', '.join(shares)}, longest {1000 * delays[-1]:.0f}")
        found = hostile.harmed() + calm.judge(counts)
        assert found == [], f"WORKCAST_CHAOS_SEED={seed}:\n" + "\n".join(found)
        assert set(CALM) <= set(calm.root.ids())


@pytest.mark.timeout(SHORT_SECONDS + 300)
async def test_calm_workcells_are_shown_right_beside_hostile_ones() -> None:
    await live_through(SEED, SHORT_SECONDS)


@pytest.mark.accept
@pytest.mark.timeout(SECONDS + 600)
async def test_calm_workcells_are_shown_right_beside_hostile_ones_for_long() -> None:
    await live_through(SEED, SECONDS)
