"""Fixtures of the consumer's tests: a relay and a hub over the real server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

import pytest

from support.gateway import Gateway, get
from support.viewers import running_hub, running_relay
from support.waiting import wait_until
from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.consumer.hub import Hub


@pytest.fixture
def relay(root: Root, redis_url: str) -> Generator[Relay]:
    """A relay of the root, running during the test."""
    with running_relay(root, redis_url) as relay:
        yield relay


@pytest.fixture
async def hub(root: Root, redis_url: str) -> AsyncGenerator[Hub]:
    """A hub of the broker, running during the test."""
    async with running_hub(root, redis_url) as hub:
        yield hub


@pytest.fixture
def gateway(root: Root, redis_url: str, relay: object) -> Generator[Gateway]:
    """A gateway over the real server, and a relay."""
    with Gateway(root, redis_url).running() as gateway:
        wait_until(lambda: get(gateway, "/healthz").status_code == 200)
        yield gateway
