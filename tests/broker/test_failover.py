"""A failover to a replica that lags behind, with real replication and the relay as it runs."""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any

import pytest

from support.broker_checker import completeness_problems
from support.logs import event_line, write_log
from support.valkey import ReplicatedServer
from support.waiting import wait_until
from workcast.broker.batch import Budgets
from workcast.broker.connection import connect
from workcast.broker.keys import stream_key
from workcast.broker.log import natural_epoch
from workcast.broker.relay import Relay
from workcast.broker.root import Root

LINES = [event_line(number, f"{number} " + "x" * (number * 37 % 300)) for number in range(3000)]
EPOCH = natural_epoch(LINES[0])
# Small enough that the window moves on between what the replica has and what the primary acknowledges.
BUDGETS = Budgets(stream_entries=1000, stream_bytes=300_000, feed_entries=500, feed_bytes=80_000)


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Generator[ReplicatedServer]:
    servers = ReplicatedServer(tmp_path_factory.mktemp("v"))
    servers.start()
    yield servers
    servers.close()


@pytest.fixture
def relays(root: Root, servers: ReplicatedServer) -> Generator[None]:
    """Two of them, as on a producers' host that is being replaced."""
    running = [Relay(root, servers.url, BUDGETS) for _ in range(2)]
    for relay in running:
        relay.start()
    yield
    for relay in running:
        relay.close()


@pytest.fixture
def client(servers: ReplicatedServer) -> Generator[Any]:
    client: Any = connect(servers.url)
    yield client
    client.close()


def caught_up(client: Any, workcell: str, lines: list[bytes]) -> None:
    wait_until(lambda: not completeness_problems(client, workcell, EPOCH, lines), what=f"{workcell} is relayed")


def entries(client: Any, workcell: str) -> dict[bytes, Any]:
    """The stream's entries by their IDs."""
    return dict(client.xrange(stream_key(workcell)))


@pytest.mark.parametrize(
    ("behind", "more"),
    [(30, 20), (150, 20), (2000, 20), (150, 0)],
    ids=["by a little", "within its window", "beyond its window", "and no more is written"],
)
@pytest.mark.usefixtures("relays")
def test_acknowledged_writes_that_a_replica_lacks_are_published_again_under_the_same_ids(
    root: Root, servers: ReplicatedServer, client: Any, behind: int, more: int
) -> None:
    write_log(root, "wc", LINES[: 2500 - behind])
    caught_up(client, "wc", LINES[: 2500 - behind])
    servers.replicate()
    write_log(root, "wc", LINES[2500 - behind : 2500])
    caught_up(client, "wc", LINES[:2500])
    acknowledged = entries(client, "wc")
    with servers.replica.client() as replica:
        assert list(entries(replica, "wc"))[-1] == b"%d-%d" % (EPOCH, 2500 - behind)

    servers.promote()
    client.connection_pool.disconnect()
    write_log(root, "wc", LINES[2500 : 2500 + more])
    caught_up(client, "wc", LINES[: 2500 + more])

    again = entries(client, "wc")
    assert again.keys() & acknowledged.keys()
    assert all(again[entry] == acknowledged[entry] for entry in again.keys() & acknowledged.keys())


@pytest.mark.usefixtures("relays")
def test_a_workcell_that_the_replica_lacks_is_published_again(
    root: Root, servers: ReplicatedServer, client: Any
) -> None:
    servers.replicate()
    write_log(root, "wc", LINES[:500])
    caught_up(client, "wc", LINES[:500])
    servers.promote()
    client.connection_pool.disconnect()
    write_log(root, "wc", LINES[500:501])
    caught_up(client, "wc", LINES[:501])


@pytest.mark.usefixtures("relays")
def test_a_new_epoch_that_the_replica_lacks_stays_in_force(root: Root, servers: ReplicatedServer, client: Any) -> None:
    """The promoted replica shows the old log's events; they go, and do not come back."""
    others = [event_line(number) for number in range(5000, 5040)]
    write_log(root, "wc", LINES[:100])
    caught_up(client, "wc", LINES[:100])
    servers.replicate()
    root.log("wc").unlink()
    write_log(root, "wc", others)
    epoch = natural_epoch(others[0])
    wait_until(lambda: not completeness_problems(client, "wc", epoch, others))
    servers.promote()
    client.connection_pool.disconnect()
    write_log(root, "wc", LINES[:1])
    wait_until(lambda: not completeness_problems(client, "wc", epoch, [*others, LINES[0]]))


@pytest.mark.usefixtures("relays")
def test_nothing_is_lost_by_failing_over_there_and_back(
    root: Root, servers: ReplicatedServer, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for turn in range(4):
        write_log(root, "wc", LINES[200 * turn : 200 * turn + 100])
        caught_up(client, "wc", LINES[: 200 * turn + 100])
        servers.replicate()
        write_log(root, "wc", LINES[200 * turn + 100 : 200 * turn + 200])
        caught_up(client, "wc", LINES[: 200 * turn + 200])
        servers.promote()
        client.connection_pool.disconnect()
    write_log(root, "wc", LINES[800:801])
    caught_up(client, "wc", LINES[:801])
    assert "does not know" not in caplog.text
