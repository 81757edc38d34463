"""The plan of a run: which program to start, where, and how to end it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Final

from workcast.broker.below import open_below
from workcast.producer.adapters.base import Adapter, Command
from workcast.producer.changes import Changes
from workcast.producer.errors import AgentNotInstalledError
from workcast.producer.process import ChildProcess

LEFTOVER_GRACE_S: Final = 2.0
"""Between SIGTERM and SIGKILL for the processes that an agent leaves behind; at most the agent's own grace."""


def find_program(kind: type[Adapter], command: Command, cwd: Path, env: Mapping[str, str]) -> Path:
    """Return the agent's program; relative to ``cwd`` if it was named so.

    Raises:
        AgentNotInstalledError: there is no such program.
    """
    name = command.argv[0]
    if os.sep in name:
        found, where = Path(name) if shutil.which(cwd.absolute() / name) else None, f"in {cwd}"
    else:
        where = "on PATH"
        on_path = shutil.which(name, path=env.get("PATH", os.defpath))
        found = Path(on_path).absolute() if on_path else None
    if found is None:
        install = f"; install it with: {kind.install_hint}" if kind.install_hint else ""
        raise AgentNotInstalledError(f"expected the program {name!r} {where} to run {kind.name}, found none{install}")
    return found


def _open_prompt(path: Path) -> IO[bytes]:
    descriptor = open_below(path, os.O_RDONLY)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "rb")


@dataclass(frozen=True, slots=True)
class Plan:
    """The arguments of :func:`~workcast.producer.runner.run_agent`, completed."""

    run: str
    program: Path
    command: Command
    cwd: Path
    env: Mapping[str, str]
    workcell_dir: Path
    lock: int
    """The descriptor of the workcell's lock."""
    stop: asyncio.Event
    kill: asyncio.Event
    timeout: float | None
    grace: float
    clock: Callable[[], datetime]
    changes: Changes
    """Knows the working directory as it was at the start."""
    keeper: Path
    """The keeper's program."""

    async def spawn(self, prompt_file: Path, stderr: IO[bytes] | None) -> ChildProcess:
        """Start the agent; with None, its stderr is a pipe.

        Raises:
            OSError: it cannot be started.
            ValueError: an argument holds a NUL.
        """
        argv = (str(self.program.absolute()), *self.command.argv[1:])
        # opencode works in PWD whatever its directory is: with our PWD it would change other files than this run's
        env = {**self.env, "PWD": str(self.cwd.absolute())}
        with _open_prompt(prompt_file) if self.command.prompt_on_stdin else nullcontext(subprocess.DEVNULL) as stdin:
            child = ChildProcess(
                argv, cwd=self.cwd, env=env, stdin=stdin, stderr=stderr, mark=self.run, grace=self.grace,
                leftover_grace=min(LEFTOVER_GRACE_S, self.grace), held=(self.lock,), keeper=self.keeper,
            )  # fmt: skip
        try:
            await child.started
        except OSError:
            child.close()
            raise
        return child
