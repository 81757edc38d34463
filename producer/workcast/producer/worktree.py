"""The git worktree of a workcell that is to be removed: what in it is the repository's, and whether it can go.

Git is asked only about a worktree of the root's own repository: any other one may have a configuration that lets git
start programs.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Final

from workcast.broker import names
from workcast.broker.files import read_regular
from workcast.broker.records import find_records
from workcast.broker.root import Root
from workcast.producer.git import git
from workcast.producer.workcell import BRANCH_PREFIX

_GIT_S: Final = 30.0
"""For one call of git."""
_MAX_LINK_BYTES: Final = 4096 + 16
_SAFE: Final = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
"""Options by which git starts no program, and writes nothing while it looks."""
_DOUBTFUL: Final = frozenset({names.PROMPT_FILE, names.PROOF_FILE})
"""Names that a repository may well use for files of its own."""


def tracked_records(root: Root, directory: Path) -> Collection[str]:
    """Return which of workcast's names in a workcell belong to the repository that is checked out there.

    Where git cannot be asked, those that a repository is most likely to use.
    """
    if not os.path.lexists(directory / ".git"):
        return ()
    if not _is_ours(root, directory):
        return _DOUBTFUL
    try:
        listed = git(directory, *_SAFE, "ls-files", "-z", "--", *names.WORKCELL_FILES, names.OUTPUT_DIRECTORY,
                     timeout=_GIT_S)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return _DOUBTFUL
    return frozenset(_words(listed.stdout)) if listed.returncode == 0 else _DOUBTFUL


def examine_worktree(root: Root, workcell: str) -> str | None:
    """Return why the worktree of a workcell cannot be removed without losing anything, and what to do.

    Empty if it can be; None if the workcell is no worktree. Ignored files do not count, nor do workcast's records.
    """
    directory = root.workcell(workcell)
    if not os.path.lexists(directory / ".git"):
        return None
    if not _is_ours(root, directory):
        return f"it is not a worktree of the repository {root.directory}; remove it yourself"
    try:
        return _reason_to_stay(root, workcell, directory)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"git cannot be asked about it: {error}"


def remove_worktree(root: Root, workcell: str) -> str:
    """Remove the worktree of a workcell, and its branch ``workcast/<its name>``; return why not, empty if it is gone.

    Call it when the records are removed: git refuses if anything else is there that it does not ignore.
    """
    directory = root.workcell(workcell)
    try:
        if why := _reason_to_stay(root, workcell, directory):
            return why
        removed = git(root.directory, *_SAFE, "worktree", "remove", str(directory), timeout=_GIT_S)
        if removed.returncode != 0:
            return f"git does not remove it: {_last_line(removed)}"
        branch = BRANCH_PREFIX + directory.name
        git(root.directory, *_SAFE, "branch", "--quiet", "-D", branch, timeout=_GIT_S)  # its commits are on another one
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"git does not remove it: {error}"
    return ""


def _reason_to_stay(root: Root, workcell: str, directory: Path) -> str:
    status = git(directory, *_SAFE, "status", "--porcelain=v1", "-z", "--untracked-files=all", timeout=_GIT_S)
    if status.returncode != 0:
        return f"git cannot be asked about it: {_last_line(status)}"
    ours = {path.partition("/")[2] for path in find_records(root, workcell).paths(directory.name)}
    changed = [entry[3:] for entry in _words(status.stdout) if not (entry.startswith("?? ") and entry[3:] in ours)]
    if changed:
        some = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        return f"it has changes that are not committed ({some}); commit or discard them"
    branch = BRANCH_PREFIX + directory.name
    counted = git(
        directory, *_SAFE, "rev-list", "--count", "HEAD", "--not", f"--exclude={branch}", "--branches",
        "--remotes", "--tags", timeout=_GIT_S,
    )  # fmt: skip
    if counted.returncode != 0:
        return f"git cannot be asked about its commits: {_last_line(counted)}"
    if number := int(counted.stdout):
        what = "a commit that is" if number == 1 else f"{number} commits that are"
        return f"it has {what} on no other branch; push or merge {branch}"
    return ""


def _is_ours(root: Root, directory: Path) -> bool:
    """Whether a directory is a worktree of the root's own repository, as both of them say."""
    try:
        link = read_regular(directory / ".git", _MAX_LINK_BYTES)
        if directory.is_symlink() or (directory / ".git").is_symlink() or not link.startswith(b"gitdir: "):
            return False
        place = Path(os.fsdecode(link.removeprefix(b"gitdir: ").removesuffix(b"\n")))
        common = git(root.directory, "rev-parse", "--path-format=absolute", "--git-common-dir", timeout=_GIT_S)
        if common.returncode != 0 or not place.is_absolute():
            return False
        worktrees = Path(os.fsdecode(common.stdout.removesuffix(b"\n"))) / "worktrees"
        back = read_regular(place / "gitdir", _MAX_LINK_BYTES)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False
    named = Path(os.fsdecode(back.removesuffix(b"\n")))
    return place.resolve().parent == worktrees.resolve() and named.resolve() == (directory / ".git").resolve()


def _words(output: bytes) -> list[str]:
    return [os.fsdecode(word) for word in output.split(b"\0") if word]


def _last_line(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
