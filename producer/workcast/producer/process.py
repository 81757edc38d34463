"""A child process whose exit and whose output are awaited separately.

The end of its output does not mean its exit: a grandchild that inherited the pipe can hold it open for ever, and an
agent may close it and go on working.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, TypeVar

import psutil

from workcast.producer import keeper as keeper_program
from workcast.producer.keeper import KILL, MAX_STOPS, STOP, Order, encode
from workcast.producer.leftovers import ROUNDS, descendants, end_all, lives, signal_all

T = TypeVar("T")

READ_BYTES: Final = 256 * 1024
PIPE_BYTES: Final = 1 << 20
"""The capacity of a pipe, where it can be set: the most that Linux gives to any user. Node writes to pipes without
waiting, and a Node program that exits (Gemini CLI does) loses what did not fit."""
GUARD_S: Final = 0.5
"""Between two checks of whether the keeper, or its backstop, is stopped."""
KEEPER: Final = Path(keeper_program.__file__)


class OutputPipe:
    """A pipe that a child writes to. Used in a running event loop."""

    def __init__(self) -> None:
        receiving, self.sending = os.pipe()
        """The child's end, to be closed here once the child has it."""
        _widen(self.sending)
        self._receiving = os.fdopen(receiving, "rb", buffering=0)
        self._reader: asyncio.StreamReader | None = None
        self._transport: asyncio.BaseTransport | None = None

    async def read(self) -> bytes:
        """Return the next piece; empty once every holder of the pipe has closed it."""
        if self._reader is None:
            self._reader = reader = asyncio.StreamReader()
            self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), self._receiving
            )
        return await self._reader.read(READ_BYTES)

    def close(self) -> None:
        """Stop reading."""
        if self._transport is None:
            self._receiving.close()
        else:
            self._transport.close()


def _widen(pipe: int) -> None:
    if sys.platform == "linux":
        with suppress(OSError):  # a user with many pipes may not widen them
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


class ChildProcess:
    """A process in a session and process group of its own, and everything that it starts. Made in a running event loop.

    A keeper (:mod:`workcast.producer.keeper`) is its parent, and ends all of it on request, and when this process is
    killed. This process's own child is the keeper's backstop, where there is one.

    Args:
        stderr: a file; None: a pipe, like stdout.
        mark: the value of :data:`~workcast.producer.leftovers.MARK` in ``env``.
        grace: seconds between SIGTERM and SIGKILL for the process itself.
        leftover_grace: the same for what it leaves behind.
        held: descriptors (of a lock) that stay open until all of it is gone, even if this process is killed.
        keeper: the keeper's program.

    Raises:
        OSError: the keeper cannot be started, or the working directory is missing.
        ValueError: an argument holds a NUL.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: IO[bytes] | int,
        stderr: IO[bytes] | None,
        mark: str,
        grace: float,
        leftover_grace: float,
        held: Sequence[int] = (),
        keeper: Path = KEEPER,
    ) -> None:
        if any("\0" in text for text in (*argv, *env, *env.values())):
            raise ValueError("expected arguments without a NUL character, got one with it")
        order = Order(
            argv=[os.fsencode(word) for word in argv],
            env={os.fsencode(name): os.fsencode(value) for name, value in env.items()},
            mark=mark,
            grace=grace,
            leftover_grace=leftover_grace,
            host=os.getpid(),
            packages=str(Path(psutil.__file__).parents[1]),
        )
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[int] = loop.create_future()
        """The process id, once it runs; also the id of its session and process group. OSError: it cannot start."""
        self.exited: asyncio.Future[int] = loop.create_future()
        """The exit code as a shell reports it: 128 + N for a death by signal N."""
        self.gone: asyncio.Future[tuple[int, ...]] = loop.create_future()
        """Done when everything that it started is gone too: the ids of the processes that could not be ended."""
        self._loop = loop
        self._mark = mark
        self.stdout = OutputPipe()
        self.stderr = OutputPipe() if stderr is None else None
        self._pipes = [pipe for pipe in (self.stdout, self.stderr) if pipe is not None]
        self._control, keepers = socket.socketpair()
        try:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(keeper), *map(str, (keepers.fileno(), *held))],
                cwd=cwd,
                stdin=stdin,
                stdout=self.stdout.sending,
                stderr=stderr if self.stderr is None else self.stderr.sending,
                start_new_session=True,
                pass_fds=(keepers.fileno(), *held),
            )
        except BaseException:
            self.close()
            self._control.close()
            raise
        finally:
            keepers.close()
            for pipe in self._pipes:
                os.close(pipe.sending)
        # A thread of its own: waiters in a shared pool would starve each other, and only Linux has pidfds.
        thread = threading.Thread(target=self._listen, args=(encode(order),), name="keeper", daemon=True)
        thread.start()

    def stop(self) -> None:
        """End all of it: SIGTERM to the process's group, the grace, SIGKILL; then the same for its leftovers."""
        self._order(STOP)

    def kill(self) -> None:
        """End all of it at once."""
        self._order(KILL)

    def close(self) -> None:
        """Stop reading."""
        for pipe in self._pipes:
            pipe.close()

    async def guard(self) -> None:
        """Continue our child whenever something has stopped it; the third time, end it and all that is below it.

        The keeper may be our child's child, which continues it then.
        """
        times = 0
        while not self.gone.done():
            await asyncio.wait({self.gone}, timeout=GUARD_S)
            if not self.gone.done() and self._is_stopped():
                times += 1
                if times == MAX_STOPS:
                    await asyncio.to_thread(self._end_with_keeper)
                else:
                    with suppress(OSError):
                        self._keeper.send_signal(signal.SIGCONT)

    def _is_stopped(self) -> bool:
        with suppress(psutil.Error):
            return psutil.Process(self._keeper.pid).status() == psutil.STATUS_STOPPED
        return False

    def _end_with_keeper(self) -> None:
        """Kill what the keeper keeps while it is still its parent, then the keeper: :meth:`_listen` does the rest."""
        for _ in range(ROUNDS):
            if not (left := {process for process in descendants(self._keeper.pid) if lives(process)}):
                break
            signal_all(left, signal.SIGKILL)
        with suppress(OSError):
            self._keeper.kill()

    def _order(self, word: bytes) -> None:
        with suppress(OSError):  # the keeper is gone, and everything with it
            self._control.sendall(word)

    # ── the keeper's reports, in a thread ────────────────────────────────────────────────────────────────────────────
    def _listen(self, order: bytes) -> None:
        pid: int | None = None
        left: tuple[int, ...] | None = None
        with suppress(OSError):
            self._control.sendall(order)
            with self._control.makefile("rb") as reports:
                for line in reports:
                    word, *rest = line.split()
                    numbers = tuple(map(int, rest))
                    if word == b"started":
                        pid = numbers[0]
                        self._set(self.started, pid)
                    elif word == b"failed":
                        self._set(self.started, OSError(numbers[0], os.strerror(numbers[0])))
                    elif word == b"exited":
                        self._set(self.exited, numbers[0])
                    else:
                        left = numbers
        self._keeper.wait()
        if left is None and pid is not None:  # the keeper was killed
            end_all(self._mark, {psutil.Process(pid), *descendants(pid)} if psutil.pid_exists(pid) else (), 0.0)
        self._set(self.started, OSError("its keeper has ended"))
        self._set(self.exited, 128 + signal.SIGKILL)
        self._set(self.gone, left or ())
        self._control.close()

    def _set(self, future: asyncio.Future[T], outcome: T | OSError) -> None:
        def set_once() -> None:
            if future.done():
                return
            if isinstance(outcome, OSError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        with suppress(RuntimeError):  # the loop is closed, and no task waits any more
            self._loop.call_soon_threadsafe(set_once)
