"""A writer finds the ``up`` of its root, and relays its own log when that one does not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Any

from support.broker_checker import completeness_problems
from support.processes import Up
from support.waiting import wait_until
from workcast.broker.connection import connect
from workcast.broker.log import natural_epoch
from workcast.broker.root import Root
from workcast.producer import TelemetryWriter


def published(up: Up, root: Root) -> bool:
    """Whether the broker of an ``up`` holds all that the log does."""
    lines = root.log("wc").read_bytes().splitlines()
    client: Any = connect(up.state()["redis_url"])
    with closing(client):
        return not completeness_problems(client, "wc", natural_epoch(lines[0]), lines)


@contextmanager
def hung(up: Up) -> Generator[None]:
    """While its process is stopped, only its broker answers."""
    os.kill(up.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(up.pid, signal.SIGCONT)


def standbys() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("standby")]


def test_beside_an_up_that_hangs_a_writer_relays_its_own_log(root: Root) -> None:
    with Up(root.directory) as up, TelemetryWriter(root.log("wc")) as writer:
        writer.started("claude")
        with hung(up):
            for number in range(2000):
                writer.response_chunk(str(number))
            wait_until(lambda: published(up, root))
        writer.error("after")
        up.show("wc", 2002)
        assert published(up, root)


def test_a_writer_finds_the_broker_of_an_up_that_came_after_the_one_it_knew(root: Root) -> None:
    with TelemetryWriter(root.log("wc")) as writer:
        with Up(root.directory) as first:
            writer.started("claude")
            with hung(first):
                writer.error("one")
                wait_until(lambda: published(first, root))
        writer.error("while there is none")
        with Up(root.directory) as second:
            assert second.state()["redis_url"] != first.url
            second.show("wc", 3)
            with hung(second):
                writer.error("two")
                wait_until(lambda: published(second, root))


def test_without_an_up_a_writer_only_writes(root: Root) -> None:
    with TelemetryWriter(root.log("wc")) as writer:
        writer.started("claude")
        assert standbys() == []
    with Up(root.directory) as up, writer:  # closed, and opened again by its next event
        writer.error("two")
        assert standbys() == ["standby wc"]
        up.show("wc", 2)
    assert standbys() == []
