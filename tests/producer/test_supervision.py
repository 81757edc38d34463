"""Agents that resist their end, and runs that are killed: no process is left behind, and the log is completed.

Each agent is a small program that writes the process ids of all it starts into a file.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from support import keeper_elsewhere
from support.processes import gone
from support.supervised import backstops_of, is_keeper, keepers_of, reported_pids, zombies_of
from support.waiting import wait_until_async
from workcast.broker.names import RUN_LOCK_FILE, RUN_VARIABLE
from workcast.broker.run_lock import HEARTBEAT_S, RunLockedError, hold_lock, writer_signs
from workcast.events.models import BashOutput, Completed, ErrorEvent, ToolResult
from workcast.ledger.lost import STALE_S, writer_is_gone
from workcast.producer.leftovers import MARK
from workcast.producer.runner import RunResult, run_agent

from .conftest import Sink, stop_at

REPORTING = """
import os, signal, subprocess, sys, time

def report(pid):
    with open("pids", "a") as file:
        file.write(f"{pid}\\n")

def daemon(program, env={"PATH": os.environ["PATH"]}):
    "Start a program twice removed, in its own session and without our environment; it reports its id itself."
    if os.fork():
        os.wait()
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    report(os.getpid())
    os.execve("/bin/sh", ["sh", "-c", program], env)

def forever():
    while True:
        time.sleep(60)

def until_reported(count):
    while len(open("pids").readlines()) < count:
        time.sleep(0.01)

report(os.getpid())
"""
DEAF = "trap '' TERM INT HUP; while :; do sleep 600 & wait; done"


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")


class Place:
    """Where one run goes on."""

    def __init__(self, path: Path, sink: Sink) -> None:
        self.cwd = path
        self.cell = path / "cell"
        self.sink = sink

    def start(self, source: str, grace: float = 0.3, **options: Any) -> asyncio.Task[RunResult]:
        """Run a Python program as an agent, in a task."""
        run = run_agent(
            "exec",
            REPORTING + source,
            options=[sys.executable, "-IS", "-c"],
            workcell_dir=self.cell,
            cwd=self.cwd,
            writer=self.sink,
            grace=grace,
            **options,
        )
        return asyncio.create_task(run)

    async def pids(self, count: int) -> list[int]:
        """The first processes that the agent has reported."""
        return await asyncio.to_thread(reported_pids, self.cwd / "pids", count)

    @property
    def output(self) -> str:
        """All that the agent has printed so far."""
        return "".join(event.output for event in self.sink.events if isinstance(event, BashOutput))

    @property
    def completed(self) -> Completed:
        """The last event."""
        last = self.sink.events[-1]
        assert isinstance(last, Completed)
        return last


@pytest.fixture
def place(tmp_path: Path, sink: Sink) -> Place:
    return Place(tmp_path, sink)


def not_one_lives(pids: list[int]) -> bool:
    return all(map(gone, pids)) and keepers_of(os.getpid()) == [] and zombies_of(os.getpid()) == []


@pytest.mark.parametrize("what", ["sleep 600", DEAF, "exec sleep 600 >/dev/null 2>&1"])
async def test_a_daemon_without_our_environment_ends_with_the_agent(place: Place, what: str) -> None:
    ended = await place.start(f"daemon({what!r})\nuntil_reported(2)")
    pids = await place.pids(2)
    assert (ended.status, ended.exit_code) == ("success", 0)
    assert not_one_lives(pids)


@pytest.mark.parametrize("how", ["timeout", "stop", "kill"])
async def test_however_a_run_is_ended_its_daemons_end_too(place: Place, how: str) -> None:
    stop, kill = asyncio.Event(), asyncio.Event()
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    run = place.start(
        deaf + f"daemon({DEAF!r})\ndaemon('sleep 600')\nforever()",
        timeout=1.0 if how == "timeout" else None, stop=stop, kill=kill,
    )  # fmt: skip
    pids = await place.pids(3)
    {"timeout": lambda: None, "stop": stop.set, "kill": kill.set}[how]()
    ended = await run
    assert (ended.status, ended.exit_code) == ("timeout" if how == "timeout" else "cancelled", 137)
    assert not_one_lives(pids)


async def test_an_order_to_kill_does_not_wait_for_the_grace(place: Place) -> None:
    stop, kill = asyncio.Event(), asyncio.Event()
    source = "signal.signal(signal.SIGTERM, lambda *_: print('not yet', flush=True))\nprint('ready', flush=True)"
    seen = stop_at(place.sink, "bash_output")
    run = place.start(f"{source}\nwhile True: time.sleep(60)", grace=3600, stop=stop, kill=kill)
    await seen.wait()
    stop.set()
    await wait_until_async(lambda: "not yet" in place.output)
    kill.set()
    assert (await run).status == "cancelled"
    assert place.completed.exit_code == 137
    assert not_one_lives(await place.pids(1))


async def test_the_children_of_an_agent_that_is_killed_end_too(place: Place) -> None:
    run = place.start("report(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)\nforever()")
    pids = await place.pids(2)
    os.kill(pids[0], signal.SIGKILL)
    ended = await asyncio.wait_for(run, 20)
    assert (ended.status, ended.exit_code) == ("failed", 137)
    assert not_one_lives(pids)


async def test_a_child_that_holds_the_pipe_of_a_killed_wrapper_does_not_hold_up_the_run(place: Place) -> None:
    """As the wrapper that people start Codex with, which leaves the native program at its pipe."""
    native = "while :; do echo working; sleep 0.05; done"
    run = place.start(f"report(subprocess.Popen(['sh', '-c', {native!r}]).pid)\nforever()")
    pids = await place.pids(2)
    os.kill(pids[0], signal.SIGKILL)
    assert (await asyncio.wait_for(run, 20)).exit_code == 137
    assert not_one_lives(pids)


async def test_a_program_that_respawns_itself_and_ignores_signals_to_its_parent_is_ended(place: Place) -> None:
    """As Gemini: signals to the process that was started alone do nothing, those to its group do."""
    child = "import time; time.sleep(600)"
    source = (
        "for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, signal.SIG_IGN)\n"
        "restore = lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        f"process = subprocess.Popen([sys.executable, '-IS', '-c', {child!r}], preexec_fn=restore)\n"
        "report(process.pid)\nsys.exit(128 + abs(process.wait()))"
    )
    stop = asyncio.Event()
    run = place.start(source, stop=stop, grace=60)
    pids = await place.pids(2)
    stop.set()
    ended = await asyncio.wait_for(run, 20)
    assert (ended.status, ended.exit_code) == ("cancelled", 143)
    assert not_one_lives(pids)


async def test_a_storm_of_forks_is_ended(place: Place) -> None:
    """Each process reports itself and forks again, some as daemons, until there are many; all ignore SIGTERM."""
    source = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for depth in range(6):
    if os.fork() == 0:
        report(os.getpid())
        if depth % 2:
            os.setsid()
    if depth == 3 and os.fork():
        os._exit(0)
forever()
"""
    stop = asyncio.Event()
    run = place.start(source, stop=stop, grace=0.1)
    pids = await place.pids(60)
    stop.set()
    await asyncio.wait_for(run, 30)
    assert not_one_lives(await place.pids(60))
    assert len(pids) >= 60


async def test_many_short_orphans_leave_no_zombie_while_the_run_goes_on(place: Place) -> None:
    source = "for _ in range(50): daemon('exit')\nprint('done', flush=True)\nforever()"
    stop = stop_at(place.sink, "bash_output")
    holding = asyncio.Event()
    run = place.start(source, stop=holding)
    await stop.wait()
    pids = await place.pids(51)
    (kept_by,) = keepers_of(os.getpid())
    await wait_until_async(lambda: all(not psutil.pid_exists(pid) for pid in pids[1:]), what="zombies to be reaped")
    assert zombies_of(kept_by.pid) == []
    holding.set()
    await run
    assert not_one_lives(pids)


async def test_a_keeper_ignores_signals_that_are_meant_for_others(place: Place) -> None:
    stop = asyncio.Event()
    run = place.start("forever()", stop=stop)
    pids = await place.pids(1)
    (kept_by,) = keepers_of(os.getpid())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        kept_by.send_signal(number)
    assert kept_by.name() == "workcast-keeper" or sys.platform != "linux"
    assert psutil.Process(pids[0]).ppid() == kept_by.pid
    stop.set()
    assert (await run).status == "cancelled"
    assert not_one_lives(pids)


@pytest.mark.parametrize("again", [False, True], ids=["", "deaf"])
async def test_a_killed_keeper_takes_all_that_it_kept_with_it_and_the_log_ends(place: Place, *, again: bool) -> None:
    child = "report(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
    run = place.start(f"{child}\ndaemon({DEAF if again else 'exec sleep 600'!r})\nforever()")
    pids = await place.pids(3)
    (kept_by,) = keepers_of(os.getpid())
    kept_by.kill()
    ended = await asyncio.wait_for(run, 20)
    assert (ended.status, ended.exit_code) == ("failed", 137)
    if sys.platform == "linux":
        assert not_one_lives(pids)
    else:
        os.kill(pids[2], signal.SIGKILL)  # its environment was cleared, and its keeper is gone: it cannot be found


@linux
async def test_a_killed_backstop_ends_the_agent(place: Place) -> None:
    run = place.start(f"daemon({DEAF!r})\nforever()")
    pids = await place.pids(2)
    (backstop,) = backstops_of(os.getpid())
    backstop.kill()
    ended = await asyncio.wait_for(run, 30)
    assert (ended.status, ended.exit_code) == ("cancelled", 143)  # it was asked to end
    assert not_one_lives(pids)


async def test_the_agent_finds_its_signals_as_a_shell_leaves_them(place: Place) -> None:
    source = "print([n.name for n in signal.valid_signals() if n < 32 and signal.getsignal(n) == signal.SIG_IGN])"
    assert (await place.start(source)).status == "success"
    assert place.output == "['SIGPIPE', 'SIGXFSZ']\n"  # Python itself ignores these two


async def test_open_calls_are_closed_when_the_agent_is_killed(
    tmp_path: Path, sink: Sink, fake_claude: Callable[[str], dict[str, str]]
) -> None:
    source = """
import json, os, signal
block = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "sleep 600"}}
print(json.dumps({"type": "assistant", "message": {"id": "m", "content": [block]}}), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    await run_agent("claude", "go", workcell_dir=tmp_path / "c", cwd=tmp_path, writer=sink, env=fake_claude(source))
    result = next(event for event in sink.events if isinstance(event, ToolResult))
    assert (result.call_id, result.error) == ("t1", "no result: the agent ended")
    assert sink.types[-1] == "completed"


# ── without subreapers, as on macOS ───────────────────────────────────────────────────────────────────────────────────


ELSEWHERE = Path(keeper_elsewhere.__file__)
"""The keeper as it is on a kernel without subreapers."""


@pytest.mark.parametrize("how", ["exit", "stop", "kill"])
async def test_without_a_subreaper_daemons_are_found_by_their_mark(place: Place, how: str) -> None:
    stop, kill = asyncio.Event(), asyncio.Event()
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if how == "kill" else ""
    keep = "{**os.environ}"
    source = f"{deaf}daemon({DEAF!r}, {keep})\ndaemon('exec sleep 600', {keep})\nuntil_reported(3)\n"
    run = place.start(source + ("" if how == "exit" else "forever()"), stop=stop, kill=kill, keeper=ELSEWHERE)
    pids = await place.pids(3)
    {"exit": lambda: None, "stop": stop.set, "kill": kill.set}[how]()
    assert (await asyncio.wait_for(run, 30)).status == ("success" if how == "exit" else "cancelled")
    assert not_one_lives(pids)


async def test_without_a_subreaper_children_are_found_although_they_clear_their_environment(place: Place) -> None:
    stop = asyncio.Event()
    child = "subprocess.Popen(['sleep', '600'], start_new_session=True, env={'PATH': os.environ['PATH']}).pid"
    run = place.start(f"report({child})\nforever()", stop=stop, keeper=ELSEWHERE)
    pids = await place.pids(2)
    stop.set()
    assert (await asyncio.wait_for(run, 30)).status == "cancelled"
    assert not_one_lives(pids)


# ── the lock and its heartbeat ────────────────────────────────────────────────────────────────────────────────────────


def is_gone(cell: Path) -> bool:
    return writer_is_gone(writer_signs(cell))


def make_stale(cell: Path) -> None:
    at = (cell / RUN_LOCK_FILE).stat().st_mtime - 2 * STALE_S
    os.utime(cell / RUN_LOCK_FILE, (at, at))


async def test_a_quiet_run_renews_its_heartbeat(place: Place) -> None:
    assert not is_gone(place.cell)  # no run was ever here
    stop = asyncio.Event()
    run = place.start("forever()", stop=stop)
    await place.pids(1)
    make_stale(place.cell)
    assert not is_gone(place.cell)
    before = (place.cell / RUN_LOCK_FILE).stat().st_mtime
    await wait_until_async(lambda: (place.cell / RUN_LOCK_FILE).stat().st_mtime > before, 10 * HEARTBEAT_S)
    stop.set()
    await run
    assert not is_gone(place.cell)  # it has ended this moment: what it wrote last is being read
    make_stale(place.cell)
    assert is_gone(place.cell)


def test_a_held_lock_without_a_heartbeat_is_a_live_run(tmp_path: Path) -> None:
    with hold_lock(tmp_path):
        make_stale(tmp_path)
        assert not is_gone(tmp_path)
    make_stale(tmp_path)
    assert is_gone(tmp_path)


def test_a_heartbeat_without_a_lock_is_a_live_run_in_another_container(tmp_path: Path) -> None:
    (tmp_path / RUN_LOCK_FILE).touch()
    assert not is_gone(tmp_path)
    make_stale(tmp_path)
    assert is_gone(tmp_path)


def test_a_check_of_the_lock_does_not_keep_a_run_out(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / RUN_LOCK_FILE, os.O_RDONLY | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    threading.Timer(0.015, os.close, (descriptor,)).start()
    with hold_lock(tmp_path), pytest.raises(RunLockedError, match=str(os.getpid())), hold_lock(tmp_path):
        pass


async def test_a_run_that_waits_for_its_workcell_lets_other_tasks_go_on(place: Place) -> None:
    place.cell.mkdir(parents=True)
    descriptor = os.open(place.cell / RUN_LOCK_FILE, os.O_RDONLY | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # as a check holds it, though not for so long
    asyncio.get_running_loop().call_later(0.05, os.close, descriptor)
    ended = await run_agent("exec", "true", workcell_dir=place.cell, cwd=place.cwd, writer=place.sink)
    assert ended.status == "success"


def test_the_mark_of_a_run_is_the_variable_that_other_programs_read() -> None:
    assert MARK == RUN_VARIABLE  # spelled out twice, as the keeper loads leftovers.py alone


async def test_a_program_that_cannot_be_started_leaves_no_keeper(place: Place) -> None:
    (place.cwd / "broken").write_text("#!/no/such/interpreter\n")
    (place.cwd / "broken").chmod(0o755)
    ended = await run_agent("exec", "./broken", workcell_dir=place.cell, cwd=place.cwd, writer=place.sink)
    assert (ended.status, ended.exit_code) == ("failed", 126)
    errors = [event.error for event in place.sink.events if isinstance(event, ErrorEvent)]
    assert len(errors) == 1
    assert "broken cannot be started" in errors[0]
    await wait_until_async(lambda: not [p for p in psutil.Process().children() if is_keeper(p)])


@pytest.mark.parametrize("how", ["timeout", "stop", "kill"])
@pytest.mark.parametrize("again", [False, True])
async def test_an_agent_that_stops_its_keeper_is_ended_all_the_same(place: Place, how: str, *, again: bool) -> None:
    stop, kill = asyncio.Event(), asyncio.Event()
    attack = "keeper = os.getppid()\nos.kill(keeper, signal.SIGSTOP)\n"
    source = f"daemon({DEAF!r})\nuntil_reported(2)\n{attack}print('stopped', flush=True)\n"
    source += "while True:\n    time.sleep(0.01)\n" + ("    os.kill(keeper, signal.SIGSTOP)\n" if again else "")
    run = place.start(source, timeout=1.0 if how == "timeout" else None, stop=stop, kill=kill)
    pids = await place.pids(2)
    {"timeout": lambda: None, "stop": stop.set, "kill": kill.set}[how]()
    ended = await asyncio.wait_for(run, 60)
    assert ended.status in {"timeout", "cancelled", "failed"}
    assert not_one_lives(pids)


@linux
@pytest.mark.parametrize("stopped", ["keeper", "backstop", "both"])
async def test_whatever_of_a_run_is_stopped_goes_on_or_is_ended(place: Place, stopped: str) -> None:
    attack = (
        "keeper = os.getppid()\nbackstop = int(open(f'/proc/{keeper}/stat').read().rpartition(')')[2].split()[1])\n"
    )
    whom = "(backstop, keeper)" if stopped == "both" else f"({stopped},)"
    source = f"daemon({DEAF!r})\nuntil_reported(2)\n{attack}print('ready', flush=True)\n"
    source += f"while True:\n    time.sleep(0.01)\n    for pid in {whom}: os.kill(pid, signal.SIGSTOP)\n"
    ended = await asyncio.wait_for(place.start(source), 60)
    assert (ended.status, ended.exit_code) == ("failed", 137)
    assert not_one_lives(await place.pids(2))


@linux
async def test_a_keeper_that_was_stopped_once_continues_at_once(place: Place) -> None:
    stop = asyncio.Event()
    run = place.start("forever()", stop=stop)
    pids = await place.pids(1)
    (kept_by,) = keepers_of(os.getpid())
    kept_by.send_signal(signal.SIGSTOP)
    await wait_until_async(lambda: kept_by.status() != psutil.STATUS_STOPPED)
    stop.set()
    assert (await asyncio.wait_for(run, 20)).status == "cancelled"
    assert not_one_lives(pids)


@linux
async def test_an_agent_is_bound_to_its_keeper_by_the_kernel(place: Place) -> None:
    await place.start(DIES_WITH)
    assert place.output == "9\n"


DIES_WITH = """
import ctypes
number = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(number))
print(number.value, flush=True)
"""
