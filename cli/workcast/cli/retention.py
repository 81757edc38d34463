"""Retention for an ``up``: removes workcells by rules, now and again, in a process of its own and of low priority."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from workcast.broker.retention import Rules
from workcast.broker.root import Root
from workcast.broker.roots import Roots, parse_root
from workcast.broker.running import find_up, served
from workcast.cli.log_lines import log_to_stderr
from workcast.events.errors import WorkcastError
from workcast.producer.cleanup import Cleanup

PAUSE_S: Final = 600.0
"""Between two rounds."""
_CODE: Final = (
    "import os, sys; os.nice(19); from workcast.cli.retention import clean_up_beside; clean_up_beside(*sys.argv[2:])"
)

logger = logging.getLogger("workcast.retention")


class Retention:
    """Removes workcells for an ``up``: at its start, and then every ten minutes, if there are rules.

    A start without rules only finishes removals that were interrupted.

    Args:
        roots: those that are served.
        rules: what may go.
    """

    __name__ = "the removal of old workcells"

    def __init__(self, roots: Roots, rules: Rules) -> None:
        self._roots = roots
        self._rules = rules

    async def __call__(self, _: Root, /) -> None:
        if self._rules.are_empty and not any(root.removed_names() for root in self._roots.each):
            return
        while True:
            await self._clean_up()
            if self._rules.are_empty:
                return
            await asyncio.sleep(PAUSE_S)

    async def _clean_up(self) -> None:
        places = [f"{root.name}={root.directory}" if root.name else str(root.directory) for root in self._roots.each]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _CODE, "retention", json.dumps(asdict(self._rules)), *places,
            stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            code = await process.wait()
        finally:
            if process.returncode is None:  # what it leaves half done, the next round finishes
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if code:
            logger.warning("%s ended with exit code %s; it is tried again in ten minutes", self.__name__, code)


def clean_up_beside(rules: str, *places: str) -> None:
    """Clean up some roots once; :class:`Retention` starts this."""
    log_to_stderr(verbose=False, timed=True)
    for place in places:
        root = parse_root(Path(place))
        try:
            _clean_up_root(root, Rules(**json.loads(rules)))
        except (WorkcastError, OSError) as error:
            logger.warning("%s cannot be cleaned up: %s", root.directory, error)


def _clean_up_root(root: Root, rules: Rules) -> None:
    running = find_up(root)
    with Cleanup(served(root), running.redis_url if running else None) as cleanup:
        if finished := cleanup.finish():
            logger.warning("finished the removal of %d workcells of %s", finished, root.directory)
        outcomes = [] if rules.are_empty else list(cleanup.prune(rules))
        if removed := [one for one in outcomes if one.removed]:
            files, size = sum(len(one.files) for one in removed), sum(one.bytes for one in removed)
            logger.warning(
                "removed %d workcells of %s by the rules of retention: %d files, %s bytes",
                len(removed), root.directory, files, f"{size:,}",
            )  # fmt: skip
        for one in outcomes:
            if one.problem:
                logger.warning("%s", one.problem)
