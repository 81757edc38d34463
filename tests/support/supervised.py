"""Finding what a run might have left behind: by its mark, and by the session of each process it has told of."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

from support.processes import gone
from support.waiting import wait_until


def reported_pids(file: Path, count: int) -> list[int]:
    """The process ids that an agent has written into a file, one a line, once there are so many."""

    def pids() -> list[int]:
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    return wait_until(lambda: pids() if len(pids()) >= count else [], what=f"{count} processes in {file}")


def all_gone(pids: list[int], seconds: float = 20) -> None:
    """Wait until none of these processes lives."""
    wait_until(lambda: all(map(gone, pids)), seconds, what=f"an end of {pids}")


def marked(name: str, value: str) -> list[psutil.Process]:
    """All processes that live and have this in their environment."""
    return [process for process in psutil.process_iter() if _environment(process).get(name) == value]


def _environment(process: psutil.Process) -> dict[str, str]:
    with suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.environ()
    return {}


def keepers_of(pid: int) -> list[psutil.Process]:
    """The keepers of a process that runs agents."""
    with suppress(psutil.NoSuchProcess):
        return [child for child in psutil.Process(pid).children() if is_keeper(child)]
    return []


def is_keeper(process: psutil.Process) -> bool:
    """Whether a process is a keeper, by its program."""
    with suppress(psutil.Error):
        return any("keeper" in Path(word).name for word in process.cmdline())
    return False


def zombies_of(pid: int) -> list[int]:
    """The children of a process that wait to be asked for their exit code."""
    return [child.pid for child in psutil.Process(pid).children() if child.status() == psutil.STATUS_ZOMBIE]
