"""``verify``: compares logs with their streams and their checksums, line by line."""

from __future__ import annotations

import sys
from typing import Final

from workcast.broker.publisher import Publisher
from workcast.broker.root import Root
from workcast.broker.running import find_up, served
from workcast.broker.verify import Verdict, verifiable, verify_patiently
from workcast.cli.gateway_client import GatewayError

_SETTLE_SECONDS: Final = 1.0
"""How long to wait for lines that were written just now to be relayed."""


def verify_root(root: Root, redis_url: str | None, workcells: list[str], *, as_json: bool) -> bool:
    """Print one line per workcell, and its problems below; return whether there are none.

    Raises:
        WorkcastError: no broker is known, it cannot be reached, or a workcell is unknown.
    """
    root.check()
    running, root = find_up(root), served(root)
    url = redis_url or (running.redis_url if running else None)
    if url is None:
        raise GatewayError(f"no workcast up serves {root.directory}; start one, or name a server with --redis-url")
    publisher = Publisher(url)
    try:
        verdicts = [
            verify_patiently(root, workcell, publisher, _SETTLE_SECONDS)
            for workcell in (map(root.id_of, workcells) if workcells else verifiable(root, publisher))
        ]
    finally:
        publisher.close()
    for verdict in verdicts:
        sys.stdout.write(verdict.model_dump_json() + "\n" if as_json else _text(verdict))
    return all(verdict.ok for verdict in verdicts)


def _text(verdict: Verdict) -> str:
    window = "" if verdict.stream_start is None else f", stream {verdict.stream_start}…{verdict.stream_end}"
    unproven = verdict.end - verdict.base - verdict.proven
    without = f", {unproven} lines not proven" if unproven else ""
    head = f"{verdict.workcell}: log {verdict.base}…{verdict.end}{window}, {verdict.compared} compared{without}"
    return "\n  ".join([f"{head}, {'ok' if verdict.ok else 'NOT OK'}", *verdict.problems]) + "\n"
