"""Runs an agent: starts it, turns what it prints into events while it prints, and leaves nothing of it behind.

Once the first event is written, ``completed`` is written last, whatever happens to the agent.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, Protocol

from workcast.broker.names import OUTPUT_DIRECTORY, PROMPT_FILE
from workcast.events.models import BaseEvent, Completed, ErrorEvent, Status, Unknown
from workcast.events.timestamp import now
from workcast.ledger.limits import UNLIMITED, Limits, Meter
from workcast.producer.adapters import adapter_for
from workcast.producer.adapters.base import Adapter, Exit, HowEnded
from workcast.producer.adapters.output import STREAMS, OutputReader, Stream, reader_of
from workcast.producer.changes import Changes
from workcast.producer.errors import EmptyPromptError
from workcast.producer.last_words import cut_bytes, last_words
from workcast.producer.leftovers import MARK
from workcast.producer.limits import check_limits
from workcast.producer.plan import Plan, find_program
from workcast.producer.process import ChildProcess, OutputPipe
from workcast.producer.proof import ProofKeeper
from workcast.producer.workcell import add_worktree, hide_our_files, hold_workcell_async

GRACE_S: Final = 5.0
"""Between asking an agent to end and killing it. Claude Code has taken 1.6 s."""
DRAIN_S: Final = 0.5
"""How long output is awaited after the exit while somebody else still holds the pipe."""
LAST_DRAIN_S: Final = 2.0
"""And once everybody was killed whom we know of."""
CANNOT_START: Final = 126
"""What a shell answers for a program that it found and could not run."""


class EventSink(Protocol):
    """Where events go: a :class:`~workcast.producer.writer.TelemetryWriter`."""

    def write(self, event: BaseEvent) -> None:
        """Append an event."""
        ...


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run came to, as its ``completed`` event says."""

    status: Status
    exit_code: int | None
    """As a shell says it: 128 + N for a death by signal N."""
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
    timeout: float | None = None,  # noqa: ASYNC109 - the run goes on after it, to end the agent and tell so
    env: Mapping[str, str] | None = None,
    limits: Limits = UNLIMITED,
    stop: asyncio.Event | None = None,
    kill: asyncio.Event | None = None,
    grace: float = GRACE_S,
    clock: Callable[[], datetime] = now,
) -> RunResult:
    """Run an agent to its end.

    ::

        cell = Path(".workcells/fix-17")
        with TelemetryWriter(cell / "telemetry.jsonl", {"workcell_id": cell.name}) as writer:
            result = await run_agent("codex", "Fix issue 17.", workcell_dir=cell, cwd=Path(), writer=writer)
        print(result.status)

    Everything that the agent started ends with it, in whatever session it hides, also when this process is killed.
    (Elsewhere than on Linux, what has lost its parent is known by the environment variable ``WORKCAST_RUN`` alone, and
    lives on if it clears that.) Cancelling this coroutine ends the agent too, and tells so, before it is cancelled.

    Args:
        agent: the adapter's name.
        prompt: what the agent is to do; for ``exec`` the last word of the command, after the options.
        workcell_dir: gets ``prompt.md``, ``proof.json`` and, under ``logs/``, all that the agent printed.
        cwd: where the agent works.
        writer: gets the events.
        repository: make ``workcell_dir`` a git worktree of this one first, on a branch ``workcast/<its name>``.
        model: the agent's own name of a model; None: its default.
        options: handed on to the agent.
        timeout: seconds; then the agent is ended.
        env: the agent's environment; None: ours. Its ``PWD`` is set to ``cwd``.
        limits: what the run may take; one that takes more is ended, and is ``failed``.
        stop: ends the agent when it is set; the run is ``cancelled``.
        kill: the same at once, without any grace, for an agent that is being ended already too.
        grace: seconds between SIGTERM and SIGKILL.
        clock: what time it is.

    Raises:
        UnknownAgentError: no adapter has this name. Nothing was written.
        AgentNotInstalledError: its program is not on PATH. Nothing was written.
        EmptyPromptError: the prompt is empty. Nothing was written.
        OptionError: an option says otherwise than one that workcast passes itself. Nothing was written.
        LimitError: the agent does not report what its limits are checked against. Nothing was written.
        WorktreeError: the worktree cannot be made. Nothing was written.
        WorkcellBusyError: another run is going on in this workcell. Nothing was written.
        OSError: the log or the workcell cannot be written; the agent was ended.
    """
    kind = adapter_for(agent)
    if kind.takes_prompt and not prompt.strip():
        raise EmptyPromptError(f"expected a prompt for {agent}, got an empty one; say what it is to do")
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
            run, cwd / program, command, cwd, environment, workcell_dir, lock, stopping, killing, timeout, grace, clock,
            changes,
        )  # fmt: skip
        meter = Meter(limits, prices, model)
        going = asyncio.ensure_future(_Run(kind(command), writer, plan, meter, model).go(prompt))
        try:
            return await asyncio.shield(going)
        except asyncio.CancelledError:
            stopping.set()
            while not going.done():  # cancelled again and again, perhaps: the agent must be gone first
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({going})
            raise


class _Run:
    def __init__(self, adapter: Adapter, writer: EventSink, plan: Plan, meter: Meter, model: str | None) -> None:
        self._adapter = adapter
        self._reader = reader_of(adapter)
        self._reads_stderr = isinstance(adapter, OutputReader)
        self._writer = writer
        self._plan = plan
        self._meter = meter
        self._over_limit = asyncio.Event()
        self._proof = ProofKeeper(plan.workcell_dir, plan.cwd, adapter.name, model, plan.clock())
        self._longest_cut = 0
        self._error_told = False
        self._began = asyncio.get_running_loop().time()

    async def go(self, prompt: str) -> RunResult:
        """From the prompt to ``completed``."""
        logs = self._plan.workcell_dir / OUTPUT_DIRECTORY
        logs.mkdir(parents=True, exist_ok=True)
        text = prompt.encode("utf-8", "replace")  # a command line can hold bytes that are no text
        prompt_file = self._plan.workcell_dir / PROMPT_FILE
        if self._adapter.takes_prompt:
            prompt_file.write_bytes(text)
        self._proof.clear()
        name = f"{self._adapter.name}-{self._plan.clock():%Y%m%dT%H%M%S.%fZ}"
        self._write_all(self._adapter.begin(text.decode(), self._plan.clock()))
        with (logs / f"{name}.stdout").open("ab") as stdout, (logs / f"{name}.stderr").open("a+b") as stderr:
            try:
                child = await self._plan.spawn(prompt_file, None if self._reads_stderr else stderr)
            except (OSError, ValueError) as error:
                why = f"{self._plan.program} cannot be started: {error}"
                self._write(ErrorEvent(timestamp=self._plan.clock(), error=why, retryable=False))
                return await self._complete(CANNOT_START, "exited", stderr)
            code, how = await self._watch(child, {"stdout": stdout, "stderr": stderr})
            return await self._complete(code, how, stderr)

    async def _watch(self, child: ChildProcess, copies: Mapping[Stream, IO[bytes]]) -> tuple[int, HowEnded]:
        """Read until the process is over, end it if it must, and sweep up. The exit code, and how it came to it."""
        pump = asyncio.ensure_future(self._pump_all(child, copies))
        try:
            how = await self._until_over(child, pump)
            if how == "exited":  # what it leaves behind may have something to say still
                await self._until_any(pump, child.gone, timeout=DRAIN_S)
        finally:
            left = await self._end(child)
            await asyncio.wait({pump}, timeout=LAST_DRAIN_S)
            pump.cancel()
            child.close()
            failed = (await asyncio.gather(pump, return_exceptions=True))[0]
        if isinstance(failed, Exception):
            raise failed
        for stream in STREAMS:
            self._write_all(self._reader.end_output(stream, self._plan.clock()))
        if left:
            text = f"these processes of the agent could not be ended: {', '.join(map(str, left))}"
            self._write(ErrorEvent(timestamp=self._plan.clock(), error=text, kind="leftover"))
        return child.exited.result(), how

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
        """Nothing is queued but a pipe's buffer: while the log is being written the agent waits at its pipe."""
        reading = asyncio.ensure_future(pipe.read())
        try:
            while True:
                await asyncio.wait({reading}, timeout=self._until_due())
                if not reading.done():
                    self._write_all(self._reader.flush_output(self._plan.clock()))
                    continue
                piece = reading.result()
                if not piece:
                    self._write_all(self._reader.end_output(stream, self._plan.clock()))
                    return
                copy.write(piece)
                copy.flush()
                self._write_all(self._reader.feed_output(piece, stream, self._plan.clock()))
                reading = asyncio.ensure_future(pipe.read())
        finally:
            reading.cancel()

    def _until_due(self) -> float | None:
        due = self._reader.due
        return None if due is None else max(0.0, (due - self._plan.clock()).total_seconds())

    async def _until_over(self, child: ChildProcess, pump: asyncio.Future[None]) -> HowEnded:
        """Wait for the exit, the order to stop, or a limit: whichever comes first."""
        loop = asyncio.get_running_loop()
        orders = [event.wait() for event in (self._plan.stop, self._plan.kill, self._over_limit)]
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
                awaited.discard(pump)  # it closed its stdout, and works on
        finally:
            for order in stopped:
                order.cancel()

    async def _end(self, child: ChildProcess) -> tuple[int, ...]:
        """End all that is left of it, with its graces, or at once if somebody is impatient. Who could not be ended."""
        child.stop()
        await self._until_any(child.gone)
        if not child.gone.done():
            child.kill()
        return await child.gone

    async def _until_any(self, *futures: asyncio.Future[Any], timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Wait for one of these, or an order to kill."""
        killed = asyncio.ensure_future(self._plan.kill.wait())
        await asyncio.wait({killed, *futures}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        killed.cancel()

    def _write_all(self, events: Sequence[BaseEvent]) -> None:
        for event in events:
            self._write(event)

    def _write(self, event: BaseEvent) -> None:
        if isinstance(event, ErrorEvent) and event.retryable is False:
            self._error_told = True
        if isinstance(event, Unknown):
            self._longest_cut = max(self._longest_cut, cut_bytes(event))
        self._proof.add(event)
        self._writer.write(event)
        self._measure(event)

    def _measure(self, event: BaseEvent) -> None:
        if self._over_limit.is_set():
            return
        self._meter.add(event)
        if self._meter.reason:
            self._over_limit.set()
            text = f"the run is ended because it exceeded its limit: {self._meter.reason}"
            self._write(ErrorEvent(timestamp=event.timestamp, error=text, kind=self._meter.kind, retryable=False))

    async def _complete(self, exit_code: int, how: HowEnded, stderr: IO[bytes]) -> RunResult:
        duration_ms = round((asyncio.get_running_loop().time() - self._began) * 1000)
        self._proof.add_changed(await asyncio.to_thread(self._plan.changes.end))
        at = self._plan.clock()
        ending = self._adapter.end(Exit(exit_code, how, duration_ms), at)
        completed = next(event for event in ending if isinstance(event, Completed))
        self._write_all([event for event in ending if event is not completed])
        completed = self._judge(completed, how)
        silent = not self._error_told and not self._reads_stderr
        if completed.status == "failed" and silent:
            text = last_words(self._adapter.name, exit_code, stderr, self._longest_cut)
            self._write(ErrorEvent(timestamp=at, error=text, retryable=False))
        try:
            self._proof.write(completed)  # first: who sees the end finds the proof
        finally:
            self._write(completed)
        return RunResult(completed.status, completed.exit_code, duration_ms)

    def _judge(self, completed: Completed, how: HowEnded) -> Completed:
        """What it comes to with its limits: one that has passed them has failed, whenever that was noticed."""
        self._measure(completed)
        by_us = how == "timeout" or self._plan.stop.is_set() or self._plan.kill.is_set()
        if self._meter.reason and not by_us:
            return completed.model_copy(update={"status": "failed", "reason": self._meter.reason})
        if self._meter.is_blind and completed.status == "success":
            text = f"{self._adapter.name} has reported neither tokens nor costs, so its limits could not be checked"
            self._write(ErrorEvent(timestamp=completed.timestamp, error=text, kind=self._meter.kind))
        return completed
