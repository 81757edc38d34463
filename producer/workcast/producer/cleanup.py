"""Cleaning up a root: removes workcells, those that were named or those that rules let go, from files and broker."""

from __future__ import annotations

import time
from collections.abc import Generator
from functools import partial
from types import TracebackType
from typing import Self

from workcast.broker import names
from workcast.broker.errors import BrokerError, WorkcellIdError, WorkcellRunningError
from workcast.broker.files import is_locked
from workcast.broker.publisher import Publisher
from workcast.broker.records import find_records
from workcast.broker.removal import finish_removals, remove_records
from workcast.broker.retention import Rules, StoredWorkcell, choose, examine
from workcast.broker.root import Root
from workcast.events.errors import WorkcastError
from workcast.events.frozen import Frozen
from workcast.producer.errors import WorktreeError
from workcast.producer.transcripts.discovery import AGENTS
from workcast.producer.worktree import examine_worktree, remove_worktree, tracked_records


class Outcome(Frozen):
    """What became of one workcell, or would become of it."""

    workcell: str
    removed: bool = False
    """Whether it is no workcell any more."""
    files: tuple[str, ...] = ()
    """The files that were removed, below ``.workcells/``."""
    bytes: int = 0
    """Their sizes."""
    worktree: bool = False
    """Whether its git worktree was removed, with all of its files."""
    stays: tuple[str, ...] = ()
    """What stays in its directory, because workcast did not write it; of more than 20 names, the last counts the rest.

    Empty if the directory is gone.
    """
    problem: str = ""
    """Why it was not removed, or not wholly, and what to do."""


class Cleanup:
    """Removes workcells of one root.

    Args:
        root: under the name that it is served under.
        url: of the Redis server that the root is published to; None: its relay, or the next one, notices.
        dry_run: change nothing, and return what would be done.
    """

    def __init__(self, root: Root, url: str | None = None, *, dry_run: bool = False) -> None:
        self._root = root
        self._dry_run = dry_run
        self._publisher = Publisher(url) if url and not dry_run else None
        self._is_prepared = False
        self._spare = partial(tracked_records, root)
        self.broker_problem = ""
        """Why the broker still has workcells that were removed; empty if it has none, or was not asked."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._publisher is not None:
            self._publisher.close()

    def remove(self, workcell: str, *, with_worktree: bool = False) -> Outcome:
        """Remove a workcell; whatever prevents it is in the outcome.

        Args:
            workcell: its id.
            with_worktree: remove its git worktree too, or nothing if that has changes or commits of its own.
        """
        try:
            return self._remove(workcell, with_worktree=with_worktree)
        except WorkcastError as error:
            return Outcome(workcell=workcell, problem=str(error))
        except OSError as error:
            place = error.filename or self._root.workcell(workcell)
            return Outcome(workcell=workcell, problem=f"cannot remove {place}: {error.strerror}; try again")

    def prune(self, rules: Rules) -> Generator[Outcome]:
        """Remove what the rules let go, the oldest first. Runs and sessions that go on are left alone.

        Raises:
            OSError: the workcells' directory is a link, or cannot be opened.
        """
        found = [examine(self._root, workcell, time.time()) for workcell in self._root.ids()]
        for one in choose(found, rules, time.time()):
            now = examine(self._root, one.workcell, time.time())
            if (now.ended, now.is_held) == (one.ended, False):  # else a run has begun there meanwhile
                yield self.remove(one.workcell)

    def finish(self) -> int:
        """Finish removals that were interrupted; return how many."""
        return 0 if self._dry_run else finish_removals(self._root, self._spare)

    def _remove(self, workcell: str, *, with_worktree: bool) -> Outcome:
        root = self._root
        records = find_records(root, workcell, self._spare(root.workcell(workcell)))
        worktree = examine_worktree(root, workcell) if with_worktree else None
        if not root.holds(workcell) and not records.files and worktree is None:
            raise WorkcellIdError(f"expected a workcell in {root.directory}, got {workcell!r}; workcast ls lists them")
        self._check_rest(examine(root, workcell, time.time()))
        if worktree:
            raise WorktreeError(f"nothing of {workcell} was removed, because of its worktree: {worktree}")
        if self._dry_run:
            stays, is_gone, why_not = records.others, worktree == "", ""
        else:
            records = remove_records(root, workcell, self._spare)
            self._forget(workcell)
            why_not = remove_worktree(root, workcell) if worktree == "" else ""
            stays, is_gone = records.others, worktree == "" and not why_not
        local = root.local(workcell)
        is_removed = self._dry_run or not root.holds(workcell)
        if not is_removed:
            why_not = "its log is a file of the repository, or was written again"
        return Outcome(
            workcell=workcell, removed=is_removed, files=tuple(records.paths(local)), bytes=records.size,
            worktree=is_gone, stays=() if is_gone else stays,
            problem=f"{workcell} stays: {why_not}" if why_not else "",
        )  # fmt: skip

    def _check_rest(self, stored: StoredWorkcell) -> None:
        """Raise WorkcellRunningError if something writes the log, or is about to.

        The removal itself sees whether a lock is held; another removal holds them for a moment.
        """
        if self._dry_run and stored.is_held:
            raise WorkcellRunningError(
                f"expected {stored.workcell} to be at rest, but a process is writing its log; end the run, or wait for "
                "its end, and try again"
            )
        local = self._root.local(stored.workcell)
        is_session = (self._root.state / names.state_file(local, names.TRANSCRIPT_SUFFIX)).exists()
        if stored.may_grow and is_session and self._is_watched():
            raise WorkcellRunningError(
                f"expected {stored.workcell} to be at rest, but its session goes on and is followed; end the session, "
                "and try again"
            )

    def _is_watched(self) -> bool:
        locks = (self._root.state / names.watch_lock_file(agent) for agent in AGENTS)
        return any(is_locked(lock, shared_too=True) for lock in locks)

    def _forget(self, workcell: str) -> None:
        """Remove the workcell from the broker: the relay would do it too, but later, and only if one runs."""
        if self._publisher is None or self.broker_problem:
            return
        try:
            if not self._is_prepared:
                self._publisher.prepare()
                self._is_prepared = True
            self._publisher.forget(workcell, self._root.origin())
        except BrokerError as error:
            self.broker_problem = str(error)
