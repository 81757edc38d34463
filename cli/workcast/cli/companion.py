"""A process that runs beside an ``up``, so that the gateway is not slowed down, and is started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Final

AGAIN_S: Final = 2.0
END_S: Final = 5.0


async def keep_running(what: str, module: str, function: str, arguments: Sequence[str]) -> None:
    """Run ``function`` of ``module`` with these arguments in a process; start it again whenever it ends.

    The process ends with this one, even if that is killed, because its stdin does: it must call :func:`stop_at_eof`.
    """
    while True:
        code = await _run(module, function, arguments)
        logging.getLogger("workcast").warning("%s ended with exit code %s; it is started again", what, code)
        await asyncio.sleep(AGAIN_S)


def stop_at_eof(stop: Callable[[], None]) -> None:
    """Call ``stop``, in a thread, once stdin ends."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        stop()

    threading.Thread(target=wait, daemon=True).start()


async def _run(module: str, function: str, arguments: Sequence[str]) -> int:
    code = f"import sys; from {module} import {function}; {function}(*sys.argv[2:])"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, module.rpartition(".")[2], *arguments,
        stdin=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), END_S)
            if process.returncode is None:
                process.kill()
                await process.wait()
