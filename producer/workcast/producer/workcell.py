"""Taking a workcell: one run at a time, and, if wanted, a git worktree of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from workcast.broker.run_lock import LOCK_NAME, LockHeldError, hold_lock
from workcast.producer.errors import WorkcellBusyError, WorktreeError
from workcast.producer.git import git

BRANCH_PREFIX: Final = "workcast/"
OUR_FILES: Final = ("telemetry.jsonl", "prompt.md", "proof.json", LOCK_NAME, "logs/")
"""What workcast writes into a workcell, which an agent's ``git add --all`` is not to commit."""
WORKCELLS: Final = ".workcells/"
"""Nor is it to commit these, when it works in the root."""


@contextmanager
def hold_workcell(directory: Path) -> Generator[int, None, None]:
    """Keep other runs out of a workcell, which is made if need be, and tell all who look that this one lives.

    Yields the lock's descriptor: the lock is held until the last process that has it ends.

    Raises:
        WorkcellBusyError: another run holds it. Nothing was written.
        OSError: it cannot be made or written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            descriptor = stack.enter_context(hold_lock(directory))
        except LockHeldError as held:
            who = f" (process {held})" if str(held) else ""
            raise WorkcellBusyError(
                f"expected the workcell {directory.name} to be free, but another run{who} is "
                f"writing its log; wait until that has ended, or name another workcell"
            ) from None
        yield descriptor


def add_worktree(repository: Path, directory: Path) -> None:
    """Make a workcell a git worktree of a repository, on a new branch ``workcast/<its name>``.

    Raises:
        WorktreeError: git is missing, there is no such repository, the workcell is there already, or git refuses.
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
            f"expected the top of a git repository as root, got {repository}, which lies inside of "
            f"{os.fsdecode(top.stdout).strip()}; name that one, or leave out --worktree"
        )
    if directory.exists() or directory.is_symlink():
        raise WorktreeError(
            f"expected a new workcell for --worktree, but {directory} exists already; name another, "
            f"or leave out --worktree to work in this one"
        )
    branch = BRANCH_PREFIX + directory.name
    added = git(repository, "worktree", "add", "--quiet", "-b", branch, str(directory.absolute()))
    if added.returncode != 0:
        said = added.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise WorktreeError(f"git could not make the worktree {directory} on the branch {branch}: {said}")


def hide_our_files(directory: Path, cwd: Path, env: Mapping[str, str]) -> dict[str, str]:
    """What to add to an agent's environment so that its git ignores our files, if it works in a repository.

    A worktree has no list of ignored files of its own: ``.git/info/exclude`` is that of the whole repository, where
    such names can be the user's. So git is told, in the environment, of a list that holds the user's own as well.
    """
    if not (cwd / ".git").exists() or shutil.which("git") is None:
        return {}
    asked = git(cwd, "config", "--type=path", "--get", "core.excludesFile")
    settings = env.get("XDG_CONFIG_HOME") or str(Path(env.get("HOME") or Path.home()) / ".config")
    theirs = Path(os.fsdecode(asked.stdout).strip() or f"{settings}/git/ignore")
    ours = directory / "logs" / "ignored-by-git"
    ours.parent.mkdir(exist_ok=True)
    names = "".join(f"/{name}\n" for name in (OUR_FILES if cwd == directory else (WORKCELLS,)))
    ours.write_bytes((theirs.read_bytes() + b"\n" if theirs.is_file() else b"") + names.encode())
    given = env.get("GIT_CONFIG_COUNT", "")
    count = int(given) if given.isdecimal() else 0
    return {
        "GIT_CONFIG_COUNT": str(count + 1),
        f"GIT_CONFIG_KEY_{count}": "core.excludesFile",
        f"GIT_CONFIG_VALUE_{count}": str(ours.absolute()),
    }
