"""What a viewer costs and leaves behind, and memory given back when many have gone."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

import pytest
from websockets.sync.client import connect

from support.gateway import Gateway
from support.waiting import DEADLINE, wait_until
from workcast.broker.root import Root
from workcast.consumer.memory import Releaser


@pytest.fixture
def gateway(root: Root, redis_url: str) -> Generator[Gateway]:
    with Gateway(root, redis_url).running() as gateway:
        yield gateway


@contextmanager
def no_collections() -> Generator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def alive() -> int:
    """Return how many objects of viewers there are."""
    kinds = ("StreamProtocol", "Session", "HttpProtocol", "ServerProtocol", "_SelectorSocketTransport")
    return sum(type(found).__name__ in kinds for found in gc.get_objects())


def watch_fleet(stack: ExitStack, gateway: Gateway) -> None:
    viewer = stack.enter_context(connect(gateway.stream, proxy=None))
    assert json.loads(viewer.recv(DEADLINE))["op"] == "hello"
    viewer.send('{"op":"subscribe","fleet":true}')
    assert json.loads(viewer.recv(DEADLINE))["op"] == "fleet"


def test_what_a_viewer_leaves_behind_is_freed_without_a_collection(gateway: Gateway) -> None:
    with ExitStack() as first:
        watch_fleet(first, gateway)  # so that the gateway has all of its connections to the broker
    with no_collections():
        before = alive()
        with ExitStack() as stack:
            for _ in range(10):
                watch_fleet(stack, gateway)
            assert alive() >= before + 20
        wait_until(lambda: alive() <= before)


def test_an_idle_viewer_takes_few_objects(gateway: Gateway) -> None:
    with ExitStack() as stack:
        watch_fleet(stack, gateway)
        server = gateway.server_state
        before = len(server.tasks), _coroutines()
        for _ in range(20):
            watch_fleet(stack, gateway)
        assert len(server.tasks) == before[0] + 20
        assert _coroutines() - before[1] <= 20 * 10


def _coroutines() -> int:
    return sum(type(found).__name__ == "coroutine" for found in gc.get_objects())


class Clock:
    """A loop's ``call_later``, by hand."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def later(self, _: float, call: Callable[[], None]) -> None:
        self.due.append(call)


def test_memory_is_given_back_once_after_most_of_many_have_gone() -> None:
    clock = Clock()
    releaser = Releaser(clock.later)
    for count in (*range(300), *range(300, 150, -1)):
        releaser.count(count)
    assert clock.due == []
    for count in range(150, -1, -1):
        releaser.count(count)
    assert len(clock.due) == 1
    clock.due.pop()()
    for count in (*range(255), *range(255, -1, -1)):
        releaser.count(count)
    assert clock.due == []
