"""Runs an agent: starts it, turns its output into events as it comes, and ends every process that it leaves behind.

Once the first event is written, ``completed`` is written last, whatever happens to the agent.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

from workcast.broker.below import make_directory, open_below
from workcast.broker.files import replace_file
from workcast.broker.names import OUTPUT_DIRECTORY, PROMPT_FILE
from workcast.events.models import Completed, ErrorEvent, Status
from workcast.events.timestamp import now
from workcast.ledger.limits import UNLIMITED, Limits, Meter
from workcast.producer.adapters import adapter_for
from workcast.producer.adapters.base import Adapter, Exit, HowEnded
from workcast.producer.adapters.output import STREAMS, OutputReader, Stream, reader_of
from workcast.producer.changes import Changes
from workcast.producer.errors import EmptyPromptError
from workcast.producer.leftovers import MARK
from workcast.producer.limits import check_limits
from workcast.producer.plan import Plan, find_program
from workcast.producer.process import KEEPER, ChildProcess, OutputPipe
from workcast.producer.proof import ProofKeeper
from workcast.producer.recorder import EventSink, Recorder
from workcast.producer.unwritten import is_full
from workcast.producer.workcell import add_worktree, hide_our_files, hold_workcell_async

GRACE_S: Final = 5.0
"""Between asking an agent to end and killing it. Claude Code has taken 1.6 s."""
DRAIN_S: Final = 0.5
"""How long to read on after the exit while another process still holds the pipe."""
LAST_DRAIN_S: Final = 2.0
"""And after every known process was killed."""
ROOM_S: Final = 0.5
"""Between two attempts to write the end of a run to a full disk."""
CANNOT_START: Final = 126
"""A shell's exit code for a program that it found and could not run."""

logger = logging.getLogger("workcast.run")


@dataclass(frozen=True, slots=True)
class RunResult:
    """The outcome of a run, as its ``completed`` event has it."""

    status: Status
    exit_code: int | None
    """As a shell reports it: 128 + N for a death by signal N."""
    duration_ms: int


async def run_agent(
    agent: str,
    prompt: str,
    *,
    workcell_dir: Path,
    cwd: Path,
    writer: EventSink,
    repository: Path | None = None,
    model: str | None = None,
    options: Sequence[str] = (),
    timeout: float | None = None,  # noqa: ASYNC109 - the run goes on after it, to end the agent
    env: Mapping[str, str] | None = None,
    limits: Limits = UNLIMITED,
    stop: asyncio.Event | None = None,
    kill: asyncio.Event | None = None,
    grace: float = GRACE_S,
    clock: Callable[[], datetime] = now,
    keeper: Path = KEEPER,
) -> RunResult:
    """Run an agent to its end.

    ::

        cell = Path(".workcells/fix-17")
        with TelemetryWriter(cell / "telemetry.jsonl", {"workcell_id": cell.name}) as writer:
            result = await run_agent("codex", "Fix issue 17.", workcell_dir=cell, cwd=Path(), writer=writer)
        print(result.status)

    Everything that the agent started ends with it, in whatever session it is, also when this process is killed.
    (Elsewhere than on Linux, a process that has lost its parent is recognised by the environment variable
    ``WORKCAST_RUN`` alone, and survives if it clears that.) Cancelling this coroutine ends the agent and completes the
    run first.

    Args:
        agent: the adapter's name.
        prompt: what the agent is to do; for ``exec`` the last word of the command, after the options.
        workcell_dir: gets ``prompt.md``, ``proof.json`` and, under ``logs/``, all that the agent printed.
        cwd: where the agent works.
        writer: gets the events.
        repository: make ``workcell_dir`` a git worktree of this one first, on a branch ``workcast/<its name>``.
        model: the agent's own name of a model; None: its default.
        options: passed on to the agent.
        timeout: seconds; then the agent is ended.
        env: the agent's environment; None: that of this process. Its ``PWD`` is set to ``cwd``.
        limits: what the run may use; a run that uses more is ended, and is ``failed``.
        stop: ends the agent when it is set; the run is ``cancelled``.
        kill: the same at once, without a grace, also for an agent that is being ended already.
        grace: seconds between SIGTERM and SIGKILL.
        clock: returns the current time.
        keeper: the program that keeps the agent.

    Raises:
        UnknownAgentError: no adapter has this name. Nothing was written.
        AgentNotInstalledError: its program is not on PATH. Nothing was written.
        EmptyPromptError: the prompt is empty. Nothing was written.
        OptionError: an option contradicts one that workcast passes itself. Nothing was written.
        LimitError: the agent does not report what its limits are checked against. Nothing was written.
        WorktreeError: the worktree cannot be made. Nothing was written.
        WorkcellBusyError: another run is going on in this workcell. Nothing was written.
        LogLockedError: another writer held the log's lock for too long; the agent was ended.
        OSError: the log or the workcell cannot be written; the agent was ended. A disk that fills up ends no agent:
            events are counted, and the end of the run waits for room until ``stop`` or ``kill`` is set. On one that is
            full already, the agent is not started.
    """
    kind = adapter_for(agent)
    if kind.takes_prompt and not prompt.strip():
        raise EmptyPromptError(f"expected a prompt for {agent}, got an empty one; say what it should do")
    prices = check_limits(limits, kind)
    command = kind.command(prompt, options, model)
    run = uuid.uuid4().hex
    environment = {**(os.environ if env is None else env), **command.env, MARK: run}
    program = find_program(kind, command, cwd if repository is None else repository, environment)
    if repository is not None:
        await asyncio.to_thread(add_worktree, repository, workcell_dir)
    stopping = asyncio.Event() if stop is None else stop
    killing = asyncio.Event() if kill is None else kill
    async with hold_workcell_async(workcell_dir) as lock:
        environment |= await asyncio.to_thread(hide_our_files, workcell_dir, cwd, environment)
        changes = Changes(cwd, workcell_dir)
        await asyncio.to_thread(changes.begin)
        plan = Plan(
            run=run, program=cwd / program, command=command, cwd=cwd, env=environment, workcell_dir=workcell_dir,
            lock=lock, stop=stopping, kill=killing, timeout=timeout, grace=grace, clock=clock, changes=changes,
            keeper=keeper,
        )  # fmt: skip
        proof = ProofKeeper(workcell_dir, cwd, agent, model, clock())
        recorder = Recorder(agent, writer, Meter(limits, prices, model), proof)
        going = asyncio.ensure_future(_Run(kind(command), recorder, proof, plan).go(prompt))
        try:
            return await asyncio.shield(going)
        except asyncio.CancelledError:
            stopping.set()
            while not going.done():  # even if it is cancelled again and again: the agent must be gone first
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({going})
            raise


class _Run:
    """One run, from the prompt to ``completed``."""

    def __init__(self, adapter: Adapter, recorder: Recorder, proof: ProofKeeper, plan: Plan) -> None:
        self._adapter = adapter
        self._reader = reader_of(adapter)
        self._reads_stderr = isinstance(adapter, OutputReader)
        self._recorder = recorder
        self._proof = proof
        self._plan = plan
        self._began = asyncio.get_running_loop().time()

    async def go(self, prompt: str) -> RunResult:
        """Run the agent to its end."""
        logs = self._plan.workcell_dir / OUTPUT_DIRECTORY
        make_directory(logs, trusted=self._plan.workcell_dir)
        text = prompt.encode("utf-8", "replace")  # a command line can hold bytes that are not text
        prompt_file = self._plan.workcell_dir / PROMPT_FILE
        if self._adapter.takes_prompt:
            replace_file(prompt_file, text)
        self._proof.clear()
        name = f"{self._adapter.name}-{self._plan.clock():%Y%m%dT%H%M%S.%fZ}"
        self._recorder.write_all(self._adapter.begin(text.decode(), self._plan.clock()))
        if self._recorder.unwritten:
            raise self._no_room()
        with (
            self._open_copy(logs / f"{name}.stdout") as stdout,
            self._open_copy(logs / f"{name}.stderr") as stderr,
        ):
            try:
                child = await self._plan.spawn(prompt_file, None if self._reads_stderr else stderr)
            except (OSError, ValueError) as error:
                why = f"{self._plan.program} cannot be started: {error}"
                self._recorder.write(ErrorEvent(timestamp=self._plan.clock(), error=why, retryable=False))
                return await self._complete(CANNOT_START, "exited", stderr)
            code, how = await self._watch(child, {"stdout": stdout, "stderr": stderr})
            return await self._complete(code, how, stderr)

    def _open_copy(self, path: Path) -> IO[bytes]:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        descriptor = open_below(path, flags, trusted=self._plan.workcell_dir)
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "a+b", buffering=0)

    async def _complete(self, exit_code: int, how: HowEnded, stderr: IO[bytes]) -> RunResult:
        duration_ms = round((asyncio.get_running_loop().time() - self._began) * 1000)
        changed = await asyncio.to_thread(self._plan.changes.end)
        ending = self._adapter.end(Exit(exit_code, how, duration_ms), self._plan.clock())
        interrupted = how == "timeout" or self._plan.stop.is_set() or self._plan.kill.is_set()
        unread = None if self._reads_stderr else stderr
        completed = self._recorder.complete(ending, exit_code, changed, unread, interrupted=interrupted)
        await self._finish(completed)
        return RunResult(completed.status, completed.exit_code, duration_ms)

    async def _finish(self, completed: Completed) -> None:
        """Write the end of the run as soon as there is room, or give up when ordered to stop."""
        orders = [self._plan.kill] if self._plan.stop.is_set() else [self._plan.kill, self._plan.stop]
        warned = False
        while not self._recorder.finish(completed):
            if any(order.is_set() for order in orders):
                raise self._no_room()
            if not warned:
                logger.warning("%s: no room for the end of the run; waiting for it", self._plan.workcell_dir.name)
            warned = True
            waits = [asyncio.ensure_future(order.wait()) for order in orders]
            await asyncio.wait(waits, timeout=ROOM_S, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    def _no_room(self) -> OSError:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._plan.workcell_dir))

    # ── the agent's process ──────────────────────────────────────────────────────────────────────────────────────────
    async def _watch(self, child: ChildProcess, copies: Mapping[Stream, IO[bytes]]) -> tuple[int, HowEnded]:
        """Read until the process has ended, end it if necessary, and clean up; return its exit code and the cause."""
        guard = asyncio.ensure_future(child.guard())
        pump = asyncio.ensure_future(self._pump_all(child, copies))
        try:
            how = await self._until_over(child, pump)
            if how == "exited":  # the processes it leaves behind may still print something
                await self._until_any(pump, child.gone, timeout=DRAIN_S)
        finally:
            left = await self._end(child)
            await guard
            await asyncio.wait({pump}, timeout=LAST_DRAIN_S)
            pump.cancel()
            child.close()
            failed = (await asyncio.gather(pump, return_exceptions=True))[0]
        if isinstance(failed, Exception):
            raise failed
        for stream in STREAMS:
            self._recorder.write_all(self._reader.end_output(stream, self._plan.clock()))
        if left:
            text = f"these processes of the agent could not be ended: {', '.join(map(str, left))}"
            self._recorder.write(ErrorEvent(timestamp=self._plan.clock(), error=text, kind="leftover"))
        return child.exited.result(), how

    async def _until_over(self, child: ChildProcess, pump: asyncio.Future[None]) -> HowEnded:
        """Wait for the exit, the order to stop, the timeout or a limit, whichever comes first."""
        loop = asyncio.get_running_loop()
        orders = [event.wait() for event in (self._plan.stop, self._plan.kill, self._recorder.over_limit)]
        stopped = [asyncio.ensure_future(order) for order in orders]
        awaited: set[asyncio.Future[Any]] = {child.exited, pump, *stopped}
        try:
            while True:
                left = None if self._plan.timeout is None else max(0.0, self._began + self._plan.timeout - loop.time())
                done, _ = await asyncio.wait(awaited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if child.exited in done:
                    return "exited"
                if not done.isdisjoint(stopped):
                    return "cancelled"
                if not done:
                    return "timeout"
                pump.result()  # raises if the log cannot be written
                awaited.discard(pump)  # the agent has closed its stdout, and goes on working
        finally:
            for order in stopped:
                order.cancel()

    async def _end(self, child: ChildProcess) -> tuple[int, ...]:
        """End everything that is left, with its graces, or at once if ordered to; return what could not be ended."""
        child.stop()
        await self._until_any(child.gone)
        if not child.gone.done():
            child.kill()
        return await child.gone

    async def _until_any(self, *futures: asyncio.Future[Any], timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Wait for one of these, or for the order to kill."""
        killed = asyncio.ensure_future(self._plan.kill.wait())
        await asyncio.wait({killed, *futures}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        killed.cancel()

    # ── its output ───────────────────────────────────────────────────────────────────────────────────────────────────
    async def _pump_all(self, child: ChildProcess, copies: Mapping[Stream, IO[bytes]]) -> None:
        pumps = [asyncio.ensure_future(self._pump(child.stdout, "stdout", copies["stdout"]))]
        if child.stderr is not None:
            pumps.append(asyncio.ensure_future(self._pump(child.stderr, "stderr", copies["stderr"])))
        try:
            await asyncio.gather(*pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)

    async def _pump(self, pipe: OutputPipe, stream: Stream, copy: IO[bytes]) -> None:
        """Turn output into events. Only the pipe buffers: while the log is being written, the agent waits for it."""
        reading = asyncio.ensure_future(pipe.read())
        try:
            while True:
                await asyncio.wait({reading}, timeout=self._until_due())
                if not reading.done():
                    self._recorder.write_all(self._reader.flush_output(self._plan.clock()))
                    continue
                piece = reading.result()
                if not piece:
                    self._recorder.write_all(self._reader.end_output(stream, self._plan.clock()))
                    return
                _copy(piece, copy)
                self._recorder.write_all(self._reader.feed_output(piece, stream, self._plan.clock()))
                reading = asyncio.ensure_future(pipe.read())
        finally:
            reading.cancel()

    def _until_due(self) -> float | None:
        due = self._reader.due
        return None if due is None else max(0.0, (due - self._plan.clock()).total_seconds())


def _copy(piece: bytes, copy: IO[bytes]) -> None:
    """Append output to its unbuffered copy, as far as the disk has room."""
    rest = memoryview(piece)
    try:
        while rest:
            rest = rest[copy.write(rest) :]
    except OSError as error:
        if not is_full(error):
            raise
