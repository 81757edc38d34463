"""Gateways beside each other, a relay on its own, and what verify says of it all."""

from __future__ import annotations

import json
import socket
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from support.logs import event_line, write_log
from support.processes import Program, Up, refusal, workcast
from support.waiting import wait_until
from workcast.broker.keys import stream_key
from workcast.broker.root import Root

LINES = [event_line(number) for number in range(300)]


def history(url: str, count: int) -> list[object]:
    """What a viewer of this gateway receives from the start."""
    with connect(f"ws{url.removeprefix('http')}/api/stream", proxy=None) as socket:
        socket.send(json.dumps({"op": "subscribe", "workcell": "wc", "from": "start"}))
        events: list[object] = []
        while len(events) < count:
            events += json.loads(socket.recv(20)).get("events", [])
        return events


def _healthy(gateway: Up) -> bool:
    return httpx.get(f"{gateway.url}/healthz").status_code == 200


def test_several_gateways_on_one_broker_show_everything_to_their_viewers(
    root: Root, redis_url: str, tmp_path_factory: object
) -> None:
    write_log(root, "wc", LINES)
    options = ("--redis-url", redis_url)
    with (
        Program("relay", "--root", str(root.directory), *options) as relay,
        Up(root.directory, *options, verb="serve") as one,
        Up(root.directory, *options, verb="serve") as other,
    ):
        for gateway in (one, other):
            wait_until(partial(_healthy, gateway))
        write_log(root, "wc", [event_line(300)])
        expected = [json.loads(line) for line in [*LINES, event_line(300)]]
        assert history(one.url, 301) == history(other.url, 301) == expected
        one.interrupt()
        assert one.wait() == 0
        write_log(root, "wc", [event_line(301)])
        assert len(history(other.url, 302)) == 302
        relay.interrupt()
        assert relay.wait() == 0
        assert relay.out == relay.err == ""


def test_a_gateway_without_the_logs_shows_what_the_streams_contain(
    root: Root, redis_url: str, redis_client: Any, tmp_path: Path
) -> None:
    write_log(root, "wc", LINES)
    far = tmp_path / "far"
    far.mkdir()
    options = ("--redis-url", redis_url)
    with (
        Program("relay", "--root", str(root.directory), *options),
        Up(far, *options, verb="serve") as gateway,
    ):
        page = f"{gateway.url}/api/workcells/wc/events?offset=7&limit=5"
        wait_until(lambda: httpx.get(page).status_code == 200 and httpx.get(page).json()["head"] == 300)
        assert httpx.get(page).json()["events"] == [json.loads(line) for line in LINES[7:12]]
        assert history(gateway.url, 300) == [json.loads(line) for line in LINES]
        (workcell,) = httpx.get(f"{gateway.url}/api/workcells").json()["workcells"]
        assert (workcell["id"], workcell["hasTelemetry"]) == ("wc", False)
        redis_client.xtrim(stream_key("wc"), maxlen=10, approximate=False)
        trimmed = httpx.get(page).json()
        assert (trimmed["offset"], trimmed["events"]) == (290, [json.loads(line) for line in LINES[290:295]])
        whole = httpx.get(f"{gateway.url}/api/workcells/wc/events/295")
        assert whole.status_code == 404
        assert "the log of wc is not here; its stream holds the newest events" in whole.text


def test_a_gateway_alone_needs_to_know_its_broker(root: Root) -> None:
    assert "expected --redis-url" in refusal(workcast("serve", "--root", str(root.directory), "--port", "0"), 2)


def test_a_relay_needs_a_root_and_a_broker(tmp_path: Path, redis_url: str) -> None:
    missing = workcast("relay", "--root", str(tmp_path / "none"), "--redis-url", redis_url)
    assert "does not exist" in refusal(missing)
    away = workcast(
        "relay", "--root", str(tmp_path), "--redis-url", "redis://127.0.0.1:1", env={"WORKCAST_REDIS_PATIENCE": "0"}
    )
    assert "cannot reach Redis at redis://127.0.0.1:1" in refusal(away)


@pytest.mark.parametrize("verb", ["serve", "relay", "up"])
def test_a_verb_that_waits_for_redis_reports_it_and_then_why_it_gave_up(tmp_path: Path, verb: str) -> None:
    place = ("--root", str(tmp_path), "--redis-url", "redis://:secret@127.0.0.1:1")
    port = () if verb == "relay" else ("--port", "0")
    done = workcast(verb, *place, *port, env={"WORKCAST_REDIS_PATIENCE": "1.5"})
    waiting, gave_up = done.stderr.decode().splitlines()
    assert waiting == "workcast: waiting for Redis at redis://:***@127.0.0.1:1, for up to 1.5 s"
    assert gave_up.startswith("workcast: cannot reach Redis at redis://:***@127.0.0.1:1: ")
    assert done.returncode == 1


def test_a_port_in_use_is_reported_in_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        text = refusal(workcast("up", "--root", str(tmp_path), "--port", port))
    assert text.endswith(f"127.0.0.1:{port}: Address already in use; choose another --host or --port\n")


def test_verify_compares_every_log_with_its_stream(root: Root, redis_url: str, redis_client: object) -> None:
    write_log(root, "good", LINES)
    place = ("--root", str(root.directory))
    assert "start one, or name a server" in refusal(workcast("verify", *place))
    with Up(root.directory):
        wait_until(lambda: workcast("verify", *place).returncode == 0)
        done = workcast("verify", *place)
        assert done.stdout.decode() == "good: log 0…300, stream 0…300, 300 compared, ok\n"
        verdict = json.loads(workcast("verify", *place, "--json").stdout)
        assert (verdict["workcell"], verdict["end"], verdict["problems"]) == ("good", 300, [])
    unrelayed = workcast("verify", *place, "--redis-url", redis_url)
    assert unrelayed.returncode == 1
    assert "NOT OK" in unrelayed.stdout.decode()
    assert "expected a workcell id" in refusal(workcast("verify", *place, "--redis-url", redis_url, "../etc"), 2)
