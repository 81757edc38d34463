"""Shared fixtures: a root, a real Valkey server, and a scripted model for real agents."""

from __future__ import annotations

import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from support.scripted_model import ScriptedModel
from workcast.broker.connection import connect
from workcast.broker.embedded import EmbeddedBroker
from workcast.broker.root import Root

# A shell that runs the tests in the background ignores these two, also for the processes that the tests start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "workcast",
    deadline=None,  # no test depends on the speed of the machine
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("workcast")


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """An empty root, ready for workcells."""
    root = Root(tmp_path)
    root.prepare()
    return root


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The URL of a Valkey server shared by all tests; see ``redis_url`` for an empty one."""
    root = Root(tmp_path_factory.mktemp("valkey"))
    root.prepare()
    with EmbeddedBroker(root) as broker:
        yield broker.url


@pytest.fixture
def redis_url(valkey: str) -> str:
    """The URL of an empty server."""
    client: Any = connect(valkey)
    client.flushall()
    client.close()
    return valkey


@pytest.fixture
def redis_client(redis_url: str) -> Generator[Any]:
    """A client of the empty server, for inspecting it."""
    client: Any = connect(redis_url)
    yield client
    client.close()


@pytest.fixture
def model() -> Generator[ScriptedModel]:
    """A model that plays scripts to real agents; one for each test, since it counts its failures."""
    with ScriptedModel() as model:
        yield model
