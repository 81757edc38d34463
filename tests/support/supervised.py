"""Find processes that a run might have left behind, by the run's mark or by the process ids it reported."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

from support.processes import gone
from support.waiting import wait_until


def reported_pids(file: Path, count: int) -> list[int]:
    """Wait until an agent has written ``count`` process ids into a file, one per line; return them."""

    def pids() -> list[int]:
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    return wait_until(lambda: pids() if len(pids()) >= count else [], what=f"{count} processes in {file}")


def all_gone(pids: list[int], seconds: float = 20) -> None:
    """Wait until all of these processes have ended."""
    wait_until(lambda: all(map(gone, pids)), seconds, what=f"the end of {pids}")


def marked(name: str, value: str) -> list[psutil.Process]:
    """Return all live processes with this variable in their environment."""
    return [process for process in psutil.process_iter() if _environment(process).get(name) == value]


def _environment(process: psutil.Process) -> dict[str, str]:
    with suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.environ()
    return {}


def keepers_of(pid: int) -> list[psutil.Process]:
    """Return the keepers that a process has started; a backstop without a keeper counts as one."""
    return [keeper for child in backstops_of(pid) for keeper in backstops_of(child.pid) or [child]]


def backstops_of(pid: int) -> list[psutil.Process]:
    """Return the backstops that a process has started; where there are none, its keepers."""
    with suppress(psutil.NoSuchProcess):
        return [child for child in psutil.Process(pid).children() if is_keeper(child)]
    return []


def is_keeper(process: psutil.Process) -> bool:
    """Whether a process is a keeper or a backstop, judging by its command line."""
    with suppress(psutil.Error):
        return any("keeper" in Path(word).name for word in process.cmdline())
    return False


def zombies_of(pid: int) -> list[int]:
    """Return the zombie children of a process."""
    return [child.pid for child in psutil.Process(pid).children() if child.status() == psutil.STATUS_ZOMBIE]
