"""A viewer that sends too much: slowed down first, then closed with 4429, to the harm of no other viewer."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Generator

import pytest
from websockets.sync.client import connect

from support.gateway import Gateway
from support.raw_socket import HANDSHAKE, client_frame, is_closed, opened
from support.waiting import DEADLINE, wait_until
from workcast.broker.root import Root
from workcast.consumer.settings import GatewaySettings
from workcast.consumer.token_bucket import TokenBucket

RESUBSCRIBE = b'{"op":"subscribe","workcell":"none","from":"start"}'


@pytest.fixture
def strict(root: Root, redis_url: str) -> Generator[Gateway]:
    """A gateway that allows little, for half a second."""
    settings = GatewaySettings(
        max_ops_per_second=50, max_bytes_per_second=20_000, max_pings_per_second=20, flood_seconds=0.5
    )
    with Gateway(root, redis_url, settings).running() as gateway:
        yield gateway


@pytest.mark.parametrize(
    "frame",
    [client_frame(9, b""), client_frame(10, b""), client_frame(1, RESUBSCRIBE), client_frame(9, b"x" * 125)],
    ids=["pings", "pongs", "subscriptions", "bytes"],
)
def test_a_flood_is_closed_with_4429_and_others_are_served(strict: Gateway, frame: bytes) -> None:
    with opened(strict.port, HANDSHAKE) as flooder, connect(strict.stream, proxy=None) as innocent:
        assert json.loads(innocent.recv(DEADLINE))["op"] == "hello"
        flooder.settimeout(0)
        got = bytearray()

        def flood() -> bool:
            with contextlib.suppress(BlockingIOError):
                flooder.send(frame * 1000)
            with contextlib.suppress(BlockingIOError):
                got.extend(flooder.recv(1 << 16))
            return (4429).to_bytes(2, "big") + b"too many" in got

        wait_until(flood)
        innocent.send('{"op":"ping"}')
        assert json.loads(innocent.recv(DEADLINE))["op"] == "pong"
        wait_until(lambda: is_closed(flooder))


def test_a_burst_is_slowed_down_and_answered(root: Root, redis_url: str) -> None:
    settings = GatewaySettings(max_ops_per_second=100, flood_seconds=600)
    with Gateway(root, redis_url, settings).running() as gateway, connect(gateway.stream, proxy=None) as viewer:
        began = time.monotonic()
        for _ in range(500):
            viewer.send('{"op":"ping"}')
        assert [json.loads(viewer.recv(DEADLINE))["op"] for _ in range(501)] == ["hello"] + ["pong"] * 500
        assert time.monotonic() - began > 0.4  # 400 at once, then 100 a second, in pieces of up to 52


def test_a_bucket_refills_up_to_its_burst_and_may_be_overdrawn() -> None:
    bucket = TokenBucket(10, 40, 100.0)
    bucket.take(60, 100.0)
    assert bucket.wait(100.0) == 2.0
    assert bucket.level(101.0) == -10
    assert bucket.level(1000.0) == 40
    assert bucket.wait(1000.0) == 0
