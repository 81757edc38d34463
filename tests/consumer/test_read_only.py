"""A gateway reads a root and writes nothing to it: not even to one that cannot be written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect as connect_viewer

from support.gateway import Gateway
from support.logs import event_line, write_log
from support.viewers import running_relay
from support.waiting import wait_until
from workcast.broker.log import natural_epoch
from workcast.broker.root import Root

LINES = [event_line(number) for number in range(20)]
EPOCH = natural_epoch(LINES[0])
PATHS = (
    "/api/workcells", "/api/workcells/wc", "/api/workcells/wc/events?limit=5", "/api/workcells/wc/events/3",
    "/api/workcells/wc/account", "/api/search?q=chunk", "/api/session", "/metrics",
)  # fmt: skip


@pytest.fixture(params=["with a broker", "without a broker"])
def gateway(root: Root, redis_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Generator[Gateway]:
    url = redis_url if request.param == "with a broker" else f"unix://{tmp_path}/nothing.sock"
    with Gateway(root, url).running() as gateway:
        yield gateway


def state_of(root: Root) -> dict[Path, tuple[int, bytes]]:
    """Everything below the root, as it is now."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in root.directory.rglob("*")
    }


@pytest.mark.parametrize("has_state", [True, False])
def test_no_request_creates_or_changes_a_file(root: Root, gateway: Gateway, *, has_state: bool) -> None:
    if not has_state:
        root.state.rmdir()
    write_log(root, "wc", LINES)
    before = state_of(root)
    for path in PATHS:
        assert httpx.get(gateway.url + path, timeout=30).status_code < 500, path
    with connect_viewer(gateway.stream) as viewer:
        viewer.send(json.dumps({"op": "subscribe", "workcell": "wc", "from": "start"}))
        while json.loads(viewer.recv(20))["op"] != "live":
            pass
    assert state_of(root) == before


def test_a_root_whose_state_directory_cannot_be_created_is_read(root: Root, gateway: Gateway) -> None:
    write_log(root, "wc", LINES)
    root.state.rmdir()
    root.state.touch()
    for path in PATHS:
        assert httpx.get(gateway.url + path, timeout=30).status_code < 500, path
    assert [cell["id"] for cell in httpx.get(f"{gateway.url}/api/workcells").json()["workcells"]] == ["wc"]


def test_a_viewer_that_waits_for_an_ended_log_gets_its_events_from_the_log(root: Root, redis_url: str) -> None:
    """A relay that starts publishes the summary alone, and no line."""
    lines = [*LINES, b'{"type":"completed","timestamp":"2026-01-01T00:00:01.000Z","status":"success"}']
    write_log(root, "wc", lines)
    with Gateway(root, redis_url).running() as gateway, connect_viewer(gateway.stream) as viewer:
        viewer.send(json.dumps({"op": "subscribe", "workcell": "wc", "from": "start"}))
        while json.loads(viewer.recv(20))["op"] != "live":
            pass
        with running_relay(root, redis_url):
            offset = 0
            while offset < len(lines):
                message = json.loads(viewer.recv(20))
                if message["op"] == "events":
                    offset = message["offset"] + len(message["events"])
        shutil.rmtree(root.workcell("wc"))
        wait_until(lambda: httpx.get(f"{gateway.url}/api/workcells/wc/events/3").status_code == 404)
