"""What a run is to start, where, and how it is to end it."""

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

from workcast.producer.adapters.base import Adapter, Command
from workcast.producer.changes import Changes
from workcast.producer.errors import AgentNotInstalledError
from workcast.producer.process import ChildProcess

LEFTOVER_GRACE_S: Final = 2.0
"""Between asking what an agent has left running to end, and killing it; less if the agent's own grace is less."""


def find_program(kind: type[Adapter], command: Command, cwd: Path, env: Mapping[str, str]) -> Path:
    """The program; relative to where it will run if that is how it was named.

    Raises:
        AgentNotInstalledError: there is none.
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


@dataclass(frozen=True, slots=True)
class Plan:
    """What :func:`~workcast.producer.runner.run_agent` was told."""

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
    """Has looked at the working directory as it was."""

    async def spawn(self, prompt_file: Path, stderr: IO[bytes] | None) -> ChildProcess:
        """Start the agent; with None, its stderr is a pipe.

        Raises:
            OSError: it cannot be started.
            ValueError: an argument holds a NUL.
        """
        argv = (str(self.program.absolute()), *self.command.argv[1:])
        # opencode works in PWD, whatever its directory is: ours would lead it into other files than those of this run
        env = {**self.env, "PWD": str(self.cwd.absolute())}
        with prompt_file.open("rb") if self.command.prompt_on_stdin else nullcontext(subprocess.DEVNULL) as stdin:
            child = ChildProcess(
                argv, cwd=self.cwd, env=env, stdin=stdin, stderr=stderr, mark=self.run, grace=self.grace,
                leftover_grace=min(LEFTOVER_GRACE_S, self.grace), held=(self.lock,),
            )  # fmt: skip
        try:
            await child.started
        except OSError:
            child.close()
            raise
        return child
