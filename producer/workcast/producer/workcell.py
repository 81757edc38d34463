"""Holding a workcell: one run at a time, and, if wanted, a git worktree of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from workcast.broker.below import make_directory, stat_below
from workcast.broker.files import replace_file
from workcast.broker.names import (
    IGNORED_FILE,
    LOG_FILE,
    OUTPUT_DIRECTORY,
    PROMPT_FILE,
    PROOF_FILE,
    RUN_LOCK_FILE,
    WORKCELLS_DIRECTORY,
)
from workcast.broker.run_lock import CHECK_S, RunLockedError, hold_lock
from workcast.producer.errors import WorkcellBusyError, WorktreeError
from workcast.producer.git import git

BRANCH_PREFIX: Final = "workcast/"
OUR_FILES: Final = (LOG_FILE, PROMPT_FILE, PROOF_FILE, RUN_LOCK_FILE, f"{OUTPUT_DIRECTORY}/")
"""What workcast writes into a workcell, and an agent's ``git add --all`` must not commit."""
WORKCELLS: Final = f"{WORKCELLS_DIRECTORY}/"
"""Must not be committed either, when the agent works in the root."""
_POLL_S: Final = 0.01
_ATTEMPTS: Final = 100
"""To make a workcell that other processes remove."""


@contextmanager
def hold_workcell(directory: Path, *, wait: float = CHECK_S) -> Generator[int]:
    """Keep other runs out of a workcell, which is created if missing; yields the lock's descriptor.

    The lock is held until the last process that has the descriptor ends. While this context lasts, a heartbeat shows
    that the run is alive.

    Args:
        directory: the workcell's.
        wait: seconds to wait for the lock; 0: try once.

    Raises:
        WorkcellBusyError: another run holds it. Nothing was written.
        OSError: it cannot be created or written.
    """
    with ExitStack() as stack:
        try:
            descriptor = stack.enter_context(_hold_made(directory, wait))
        except RunLockedError as held:
            by = f" (process {held.holder})" if held.holder else ""
            raise WorkcellBusyError(
                f"expected the workcell {directory.name} to be free, but another run{by} is "
                f"writing its log; wait until that has ended, or name another workcell"
            ) from None
        yield descriptor


@contextmanager
def _hold_made(directory: Path, wait: float) -> Generator[int]:
    """Make a workcell and hold its lock; make it again if it is removed in between."""
    with ExitStack() as stack:
        for attempt in range(_ATTEMPTS):
            try:
                make_directory(directory)
                descriptor = stack.enter_context(hold_lock(directory, wait=wait))
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                yield descriptor
                return


@asynccontextmanager
async def hold_workcell_async(directory: Path, *, wait: float = CHECK_S) -> AsyncGenerator[int]:
    """Like :func:`hold_workcell`, while other tasks of the event loop go on."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    with ExitStack() as stack:
        while True:
            try:
                descriptor = stack.enter_context(hold_workcell(directory, wait=0))
                break
            except WorkcellBusyError:
                if loop.time() >= deadline:
                    raise
            await asyncio.sleep(_POLL_S)
        yield descriptor


def add_worktree(repository: Path, directory: Path) -> None:
    """Make a workcell a git worktree of a repository, on a new branch ``workcast/<its name>``.

    Raises:
        WorktreeError: git is missing, there is no such repository, the workcell exists already, or git refuses.
    """
    if shutil.which("git") is None:
        raise WorktreeError("expected git on PATH to make a worktree, found none; install git or leave out --worktree")
    top = git(repository, "rev-parse", "--show-toplevel")
    if top.returncode != 0:
        raise WorktreeError(
            f"expected a git repository to make a worktree of, got {repository}; "
            f"run 'git init' and commit there, or leave out --worktree"
        )
    if Path(os.fsdecode(top.stdout.removesuffix(b"\n"))).resolve() != repository.resolve():
        raise WorktreeError(
            f"expected the top of a git repository as root, got {repository}, which is inside of "
            f"{os.fsdecode(top.stdout).strip()}; name that one, or leave out --worktree"
        )
    if stat_below(directory) is not None:
        raise WorktreeError(
            f"expected a new workcell for --worktree, but {directory} exists already; name another, "
            f"or leave out --worktree to work in this one"
        )
    make_directory(directory.parent)  # git would make it for all users
    branch = BRANCH_PREFIX + directory.name
    added = git(repository, "worktree", "add", "--quiet", "-b", branch, str(directory.absolute()))
    if added.returncode != 0:
        reason = added.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise WorktreeError(f"git could not make the worktree {directory} on the branch {branch}: {reason}")


def hide_our_files(directory: Path, cwd: Path, env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that make an agent's git ignore our files; none outside of a repository.

    A worktree has no exclude list of its own: ``.git/info/exclude`` belongs to the whole repository, where such names
    can be the user's. So the variables name an exclude list that holds the user's own one as well.
    """
    if not (cwd / ".git").exists() or shutil.which("git") is None:
        return {}
    configured = git(cwd, "config", "--type=path", "--get", "core.excludesFile")
    settings = env.get("XDG_CONFIG_HOME") or str(Path(env.get("HOME") or Path.home()) / ".config")
    theirs = Path(os.fsdecode(configured.stdout).strip() or f"{settings}/git/ignore")
    ours = directory / OUTPUT_DIRECTORY / IGNORED_FILE
    make_directory(ours.parent, trusted=directory)
    names = "".join(f"/{name}\n" for name in (OUR_FILES if cwd == directory else (WORKCELLS,)))
    content = (theirs.read_bytes() + b"\n" if theirs.is_file() else b"") + names.encode()
    replace_file(ours, content, trusted=directory)
    given = env.get("GIT_CONFIG_COUNT", "")
    count = int(given) if given.isdecimal() else 0
    return {
        "GIT_CONFIG_COUNT": str(count + 1),
        f"GIT_CONFIG_KEY_{count}": "core.excludesFile",
        f"GIT_CONFIG_VALUE_{count}": str(ours.absolute()),
    }
