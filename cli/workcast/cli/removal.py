"""``rm`` and ``prune``: remove workcells, and print what was removed and what stays."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from workcast.broker.retention import Rules
from workcast.broker.root import Root
from workcast.broker.running import find_up, served
from workcast.cli.messages import say
from workcast.cli.printable import harmless_json, printable
from workcast.cli.usage import WrongUsageError
from workcast.producer.cleanup import Cleanup, Outcome


def remove_named(
    root: Root, redis_url: str | None, workcells: Sequence[str], *, with_worktree: bool, dry_run: bool, as_json: bool
) -> bool:
    """Remove workcells; print one line for each, and its files below; return whether all were removed.

    Raises:
        WorkcastError: the root is missing, or the URL is malformed.
    """
    with _cleanup(root, redis_url, dry_run=dry_run) as cleanup:
        ids = dict.fromkeys(map(served(root).id_of, workcells))
        outcomes = (cleanup.remove(workcell, with_worktree=with_worktree) for workcell in ids)
        return _report(cleanup, outcomes, dry_run=dry_run, as_json=as_json)


def remove_by_rules(root: Root, redis_url: str | None, rules: Rules, *, dry_run: bool, as_json: bool) -> bool:
    """Remove what the rules let go; print it as :func:`remove_named` does; return whether nothing went wrong.

    Raises:
        WrongUsageError: the rules would never remove anything.
        WorkcastError: the root is missing, or the URL is malformed.
    """
    if rules.are_empty:
        raise WrongUsageError("expected --older-than TIME, --max-bytes SIZE or both, got neither; see prune --help")
    with _cleanup(root, redis_url, dry_run=dry_run) as cleanup:
        return _report(cleanup, cleanup.prune(rules), dry_run=dry_run, as_json=as_json)


def _cleanup(root: Root, redis_url: str | None, *, dry_run: bool) -> Cleanup:
    root.check()
    running = find_up(root)
    return Cleanup(served(root), redis_url or (running.redis_url if running else None), dry_run=dry_run)


def _report(cleanup: Cleanup, outcomes: Iterable[Outcome], *, dry_run: bool, as_json: bool) -> bool:
    cleanup.finish()
    count = files = size = 0
    is_fine = True
    for outcome in outcomes:
        count, files, size = count + outcome.removed, files + len(outcome.files), size + outcome.bytes
        is_fine &= not outcome.problem
        if as_json:
            sys.stdout.write(harmless_json(outcome.model_dump_json()) + "\n")
        elif outcome.removed:
            sys.stdout.write(_text(outcome, dry_run=dry_run))
        if outcome.problem:
            say(f"workcast: {printable(outcome.problem)}")
    did = "would be removed" if dry_run else "removed"
    say(f"{_counted(count, 'workcell')} {did}: {_counted(files, 'file')}, {size:,} bytes")
    if cleanup.broker_problem:
        say(f"workcast: {cleanup.broker_problem}; the workcells leave the broker once a relay of their root runs")
    return is_fine


def _text(outcome: Outcome, *, dry_run: bool) -> str:
    did = "would be removed" if dry_run else "removed"
    worktree = " and its worktree" if outcome.worktree else ""
    stays = f"; not by workcast, so it stays: {', '.join(outcome.stays)}" if outcome.stays else ""
    head = (
        f"{outcome.workcell}: {_counted(len(outcome.files), 'file')}{worktree}, {outcome.bytes:,} bytes, {did}{stays}"
    )
    return "\n  ".join(map(printable, [head, *outcome.files])) + "\n"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
