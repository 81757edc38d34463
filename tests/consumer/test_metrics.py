"""The gateway's numbers and its health, as Prometheus and a load balancer see them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from support.gateway import Gateway, get
from support.logs import write_log
from support.viewers import running_relay
from support.waiting import wait_until
from workcast.broker.root import Root
from workcast.consumer.metrics import Metrics
from workcast.ledger.summary import Summary


def numbers(gateway: Gateway) -> dict[str, float]:
    """Every sample by its name and labels."""
    text = get(gateway, "/metrics").text
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_metrics_count_events_frames_and_viewers(gateway: Gateway, root: Root) -> None:
    started = b'{"type":"started","toolchain":"claude","agent_version":"2.1.330"}'
    write_log(root, "wc", [started, b"rubbish", b'{"type":"unknown","raw":"odd"}'])
    wait_until(lambda: numbers(gateway).get("workcast_relay_position{wc}") == 3)
    with connect(gateway.stream, proxy=None) as socket:
        socket.send(json.dumps({"op": "subscribe", "workcell": "wc", "from": "start"}))
        for text in socket:
            if json.loads(text)["op"] == "live":
                break
        seen = numbers(gateway)
        assert seen["workcast_viewers"] == seen["workcast_subscriptions"] == 1
        assert seen["workcast_viewer_lag_events"] == 0
        assert seen["workcast_events_out_total"] == 3
        assert seen["workcast_events_in_total"] == 3
        assert seen["workcast_refills_total{ring}"] + seen["workcast_refills_total{stream}"] >= 1
        assert seen["workcast_odd_lines{malformed}"] == seen["workcast_odd_lines{unknown}"] == 1
        assert seen["workcast_unknown_lines{claude 2.1.330}"] == 1
        assert seen[f"workcast_relay_heard_seconds{{{root.origin()}}}"] < 60
    wait_until(lambda: numbers(gateway)["workcast_viewers"] == 0)


def test_health_is_503_until_a_heartbeat_comes_through_the_feed(root: Root, redis_url: str) -> None:
    with Gateway(root, redis_url).running() as gateway:
        wait_until(lambda: get(gateway, "/healthz").json()["status"] == "relay")
        assert get(gateway, "/healthz").status_code == 503
        assert "no relay has sent a heartbeat; start" in get(gateway, "/healthz").json()["reason"]
        with running_relay(root, redis_url):
            wait_until(lambda: get(gateway, "/healthz").status_code == 200)


def test_health_is_503_when_the_relays_fall_silent(root: Root, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workcast.consumer.health_api._SILENCE_SECONDS", 0.5)
    with Gateway(root, redis_url).running() as gateway, running_relay(root, redis_url):
        wait_until(lambda: get(gateway, "/healthz").status_code == 200)

    def reason(gateway: Gateway) -> Any:
        return get(gateway, "/healthz").json().get("reason", "")

    with Gateway(root, redis_url).running() as gateway:
        with running_relay(root, redis_url):
            wait_until(lambda: get(gateway, "/healthz").status_code == 200)
        wait_until(lambda: "no relay has sent a heartbeat for" in reason(gateway))


def test_agents_versions_are_a_bounded_number_of_time_series() -> None:
    metrics = Metrics()
    summaries = [
        Summary(id=f"wc-{n}", head=n, counts={"unknown": n}, unknown={f"claude {n}": n}) for n in range(1, 3001)
    ]
    metrics.add_states(lambda: summaries, dict[str, float])
    (family,) = (family for family in metrics.registry.collect() if family.name == "workcast_unknown_lines")
    assert {sample.labels["agent"]: sample.value for sample in family.samples} == {
        f"claude {n}": n for n in range(2901, 3001)
    }


def test_control_characters_in_labels_are_escaped() -> None:
    metrics = Metrics()
    names = ["a\rb", "a\x00b", "a\x85b", "a\u2028b", "a\x1b[2Jb", "plain", "\u00fcml\u00e4ut", 'quote"back\\slash']
    summary = Summary(id="wc", head=1, counts={"unknown": 1}, unknown=dict.fromkeys(names, 1))
    metrics.add_states(lambda: [summary], lambda: {"relay\r\x07": 1.0})
    text = generate_latest(metrics.registry).decode()
    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 or sign == "\u2028" for sign in text.replace("\n", ""))
    assert len(text.splitlines()) == text.count("\n")
    assert "plain" in text
    assert "\u00fcml\u00e4ut" in text
    assert len([line for line in text.splitlines() if line.startswith("workcast_unknown_lines{")]) == len(names)
