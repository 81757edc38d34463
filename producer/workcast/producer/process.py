"""A child process whose exit and whose output are waited for apart.

The end of its output says nothing: a grandchild that inherited the pipe can hold it open for ever, and an agent may
close it and go on working.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

READ_BYTES: Final = 256 * 1024


class OutputPipe:
    """A pipe that a child writes to. Used in a running event loop."""

    def __init__(self) -> None:
        receiving, self.sending = os.pipe()
        """The end for the child: ours is to be closed once the child has it."""
        self._receiving = os.fdopen(receiving, "rb", buffering=0)
        self._reader: asyncio.StreamReader | None = None
        self._transport: asyncio.BaseTransport | None = None

    async def read(self) -> bytes:
        """The next piece; empty once all holders of the pipe have closed it."""
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


class ChildProcess:
    """A process in a session and process group of its own. Made in a running event loop.

    Args:
        stderr: a file; None: a pipe, like stdout.

    Raises:
        OSError: the program cannot be started.
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
    ) -> None:
        loop = asyncio.get_running_loop()
        self.stdout = OutputPipe()
        self.stderr = OutputPipe() if stderr is None else None
        self._pipes = [pipe for pipe in (self.stdout, self.stderr) if pipe is not None]
        try:
            self._popen = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=stdin,
                stdout=self.stdout.sending,
                stderr=stderr if self.stderr is None else self.stderr.sending,
                start_new_session=True,
            )
        except BaseException:
            self.close()
            raise
        finally:
            for pipe in self._pipes:
                os.close(pipe.sending)
        self.exited: asyncio.Future[int] = loop.create_future()
        """The exit code as a shell says it: 128 + N for a death by signal N."""
        # A thread of its own: waiters in a shared pool would starve each other, and pidfds are Linux's alone.
        threading.Thread(target=self._wait, args=(loop,), name=f"wait-{self.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process, which leads its session and its process group."""
        return self._popen.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group."""
        # Once it was waited for, the number of its group can belong to others. (macOS refuses a group of zombies.)
        if self._popen.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def close(self) -> None:
        """Stop reading."""
        for pipe in self._pipes:
            pipe.close()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        code = self._popen.wait()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._set_exited, 128 - code if code < 0 else code)

    def _set_exited(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(code)
