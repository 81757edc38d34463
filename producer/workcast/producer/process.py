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


class ChildProcess:
    """A process in a session and process group of its own. Made in a running event loop.

    Raises:
        OSError: the program cannot be started.
        ValueError: an argument holds a NUL.
    """

    def __init__(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: IO[bytes] | int, stderr: IO[bytes]
    ) -> None:
        loop = asyncio.get_running_loop()
        receiving, sending = os.pipe()
        self._receiving = os.fdopen(receiving, "rb", buffering=0)
        try:
            self._popen = subprocess.Popen(
                argv, cwd=cwd, env=env, stdin=stdin, stdout=sending, stderr=stderr, start_new_session=True
            )
        except BaseException:
            self._receiving.close()
            raise
        finally:
            os.close(sending)
        self._stdout: asyncio.StreamReader | None = None
        self._pipe: asyncio.BaseTransport | None = None
        self.exited: asyncio.Future[int] = loop.create_future()
        """The exit code as a shell says it: 128 + N for a death by signal N."""
        # A thread of its own: waiters in a shared pool would starve each other, and pidfds are Linux's alone.
        threading.Thread(target=self._wait, args=(loop,), name=f"wait-{self.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process, which leads its session and its process group."""
        return self._popen.pid

    async def read(self) -> bytes:
        """The next piece of stdout; empty once all holders of the pipe have closed it."""
        if self._stdout is None:
            self._stdout = reader = asyncio.StreamReader()
            self._pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), self._receiving
            )
        return await self._stdout.read(READ_BYTES)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group."""
        # Once it was waited for, the number of its group can belong to others. (macOS refuses a group of zombies.)
        if self._popen.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def close(self) -> None:
        """Stop reading."""
        if self._pipe is None:
            self._receiving.close()
        else:
            self._pipe.close()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        code = self._popen.wait()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._set_exited, 128 - code if code < 0 else code)

    def _set_exited(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(code)
