from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from support.gateway import Gateway, get, relayed_gateway
from support.logs import event_line, write_log
from support.viewers import running_relay
from support.waiting import wait_until
from workcast.broker.keys import feed_key, summary_key
from workcast.broker.log import natural_epoch
from workcast.broker.root import Root
from workcast.consumer import gateway as gateway_module
from workcast.consumer.guard import CONTENT_SECURITY_POLICY
from workcast.consumer.settings import GatewaySettings
from workcast.events.wire import wire

LINES = [event_line(n) for n in range(20)]
EPOCH = natural_epoch(LINES[0])
ODD = b'{ "type" :  "thinking"\t,"timestamp":"2026-01-01T00:00:00Z",   "content":"odd \\u0041  space" ,"n":1.0E+2}  '


@pytest.fixture
def offline(root: Root, tmp_path: Path) -> Generator[Gateway]:
    """A gateway without a broker."""
    with Gateway(root, f"unix://{tmp_path}/nothing.sock").running() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    """A gateway that many tests share, with one workcell, ``wc``, of ``LINES``."""
    root = Root(tmp_path_factory.mktemp("fixed"))
    with relayed_gateway(root) as gateway:
        publish(gateway, root, "wc", LINES)
        yield gateway


def publish(gateway: Gateway, root: Root, workcell: str, lines: list[bytes]) -> None:
    """Write a log and wait until the gateway serves all of it."""
    write_log(root, workcell, lines)
    wait_until(lambda: get(gateway, f"/api/workcells/{workcell}/events").json().get("head") == len(lines))


def receive_until(viewer: ClientConnection, op: str) -> list[dict[str, Any]]:
    """Return the messages up to and including the first of this kind."""
    messages: list[dict[str, Any]] = []
    while not messages or messages[-1]["op"] != op:
        messages.append(json.loads(viewer.recv(20)))
    return messages


# ── the line's own bytes ─────────────────────────────────────────────────────────────────────────────────────────────
def test_the_spacing_of_a_line_is_preserved_from_log_to_socket(gateway: Gateway, root: Root) -> None:
    path = root.log("wc")
    path.parent.mkdir()
    with path.open("wb") as file:
        file.write(LINES[0] + b"\n" + ODD + b"\n")
    wait_until(lambda: get(gateway, "/api/workcells/wc/events").json().get("head") == 2)
    with connect(gateway.stream, compression=None) as viewer:
        viewer.send(json.dumps({"op": "subscribe", "workcell": "wc", "from": {"epoch": EPOCH, "offset": 1}}))
        while b'"op":"events"' not in (frame := viewer.recv(20, decode=False)):
            pass
    assert frame == (
        b'{"op":"events","workcell":"wc","epoch":%d,"offset":1,"head":2,"events":[' % EPOCH + ODD + b"]}"
    )  # fmt: skip


# ── REST ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_workcells_are_listed_with_the_names_that_outside_clients_use(gateway: Gateway, root: Root) -> None:
    publish(gateway, root, "wc", LINES)
    root.workcell("empty").mkdir()
    (root.workcell("wc") / "proof.json").touch()
    (root.workcell("wc") / "logs").mkdir()
    wait_until(lambda: get(gateway, "/api/workcells/wc").json()["summary"]["head"] == 20)
    listed = {w["id"]: w for w in get(gateway, "/api/workcells").json()["workcells"]}
    assert listed.keys() == {"wc", "empty"}
    assert listed["wc"] == get(gateway, "/api/workcells/wc").json()
    assert listed["wc"].keys() == {
        "id", "issueId", "toolchain", "created", "speculateTag", "hasTelemetry", "hasProof", "hasLogs", "summary",
    }  # fmt: skip
    assert [listed["wc"][key] for key in ("hasTelemetry", "hasProof", "hasLogs")] == [True, True, True]
    assert [listed["empty"][key] for key in ("hasTelemetry", "hasProof", "hasLogs")] == [False, False, False]
    assert listed["wc"]["created"] == json.loads(LINES[0])["timestamp"]
    assert listed["empty"]["created"].endswith("Z")
    assert listed["wc"]["summary"]["counts"] == {"response_chunk": 20}


@pytest.mark.parametrize("path", ["/api/workcells", "/api/workcells/new"])
def test_a_workcell_whose_events_were_sent_is_listed_at_once(
    gateway: Gateway, root: Root, redis_url: str, tmp_path: Path, path: str
) -> None:
    publish(gateway, root, "wc", LINES)
    (tmp_path / "far").mkdir()
    far = Root(tmp_path / "far")
    far.prepare()
    with running_relay(far, redis_url):
        publish(gateway, far, "new", LINES)
        answer = get(gateway, path).json()
        (new,) = [workcell for workcell in answer.get("workcells", [answer]) if workcell["id"] == "new"]
        assert new["summary"]["head"] == 20


@pytest.mark.parametrize(
    ("query", "offset", "until"),
    [("", 0, 20), ("?offset=5&limit=3", 5, 8), ("?offset=18&limit=1000", 18, 20), ("?offset=20", 20, 20),
     ("?offset=99", 99, 99)],
)  # fmt: skip
def test_a_page_of_events_has_the_lines_of_the_log(fixed: Gateway, query: str, offset: int, until: int) -> None:
    page = get(fixed, f"/api/workcells/wc/events{query}").json()
    events = [json.loads(line) for line in LINES[offset:until]]
    assert page == {"epoch": EPOCH, "base": 0, "head": 20, "offset": offset, "events": events}


def test_a_page_below_the_base_starts_at_the_base(gateway: Gateway, root: Root) -> None:
    write_log(root, "wc", [b'{"type":"log","epoch":9,"base":100}', *LINES])
    wait_until(lambda: get(gateway, "/api/workcells/wc/events").json().get("head") == 120)
    page = get(gateway, "/api/workcells/wc/events?offset=3&limit=2").json()
    assert (page["epoch"], page["base"], page["offset"], len(page["events"])) == (9, 100, 100, 2)


ODD_SUMMARIES = [
    b'{"id":"odd","head":1,"first":{"offset":0,"type":"x","timestamp":"0001-01-01T00:00:00+05:00"}}',
    b'{"id":"odd","head":1,"first":{"offset":0,"type":"x","timestamp":"9999-12-31T23:59:59-05:00"}}',
    b'{"id":"odd","head":1,"first":{"offset":0,"type":"x","timestamp":"1e400"}}',
    b'{"id":"odd","head":1,"cost_usd":1e999}', b'{"id":"odd","head":1,"cost_usd":NaN}',
    b'{"id":"odd","head":1,"counts":{"x":%d}}' % 10**400, b'{"id":"odd","head":-1}', b"[]", b"\xff",
]  # fmt: skip


def test_one_malformed_summary_does_not_hide_other_workcells(gateway: Gateway, root: Root, redis_client: Any) -> None:
    publish(gateway, root, "wc", LINES)
    publish(gateway, root, "odd", LINES)
    for number, summary in enumerate(ODD_SUMMARIES, 1000):
        redis_client.hset(summary_key("odd"), "json", summary)
        redis_client.hset(summary_key("wc"), "json", b'{"id":"wc","head":%d}' % number)
        for name in ("odd", "wc"):
            redis_client.xadd(feed_key(0), {"w": name, "e": EPOCH, "o": 0, "d": "{}"})
        wait_until(partial(_shows, gateway, number))


def _shows(gateway: Gateway, head: int) -> bool:
    listed = get(gateway, "/api/workcells")
    assert listed.status_code == 200
    odd, wc = listed.json()["workcells"]
    assert (odd["id"], wc["id"]) == ("odd", "wc")
    return bool(wc["summary"]["head"] == head)


@pytest.mark.parametrize("query", ["offset=-1", "offset=x", "limit=0", "limit=1001", "limit=-5", f"offset={2**53}"])
def test_an_invalid_offset_or_limit_is_422(fixed: Gateway, query: str) -> None:
    assert get(fixed, f"/api/workcells/wc/events?{query}").status_code == 422


def test_one_event_is_the_whole_line_whatever_its_length_and_content(gateway: Gateway, root: Root) -> None:
    long = event_line(1, "y" * 200_000)
    publish(gateway, root, "wc", [ODD, long, b"no json \xff"])
    assert get(gateway, "/api/workcells/wc/events/0").content == ODD
    whole = get(gateway, "/api/workcells/wc/events/1")
    assert whole.content == long
    assert whole.headers["content-type"] == "application/json"
    broken = get(gateway, "/api/workcells/wc/events/2")
    assert broken.content == b"no json \xff"
    assert broken.headers["content-type"] == "application/octet-stream"
    page = get(gateway, "/api/workcells/wc/events").json()["events"]
    assert page == [json.loads(wire(line)) for line in (ODD, long, b"no json \xff")]


def test_of_a_line_over_32_mib_one_gets_what_the_wire_has(gateway: Gateway, root: Root) -> None:
    long = event_line(1, "y" * (33 << 20))
    publish(gateway, root, "wc", [LINES[0], long, LINES[1]])
    answer = get(gateway, "/api/workcells/wc/events/1")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "type": "malformed", "reason": "size", "bytes": len(long), "raw": long[:4096].decode(),
    }  # fmt: skip
    assert get(gateway, "/api/workcells/wc/events/2").content == LINES[1]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/workcells/unknown", 404),
        ("/api/workcells/unknown/events", 404),
        ("/api/workcells/unknown/events/0", 404),
        ("/api/workcells/wc/events/20", 404),
        ("/api/workcells/wc/events/-1", 404),
        ("/api/workcells/wc/events/x", 422),
        ("/api/workcells/wc/events/" + "9" * 5000, 422),
        ("/api/workcells/a%2Fb", 404),
        ("/api/workcells/..%2F..%2Fetc", 404),
        ("/api/workcells/%2e%2e", 404),
        ("/api/workcells/%2e%2e/events", 404),
        ("/api/workcells/.workcast/events", 404),
        ("/api/workcells/%00/events", 404),
        ("/api/workcells/" + "x" * 129, 404),
        ("/api/nothing", 404),
    ],
)
def test_an_unknown_path_workcell_or_offset_is_404_and_a_malformed_one_422(
    fixed: Gateway, path: str, status: int
) -> None:
    url = httpx.URL(fixed.url).copy_with(raw_path=path.encode())
    assert httpx.get(url).status_code == status


def test_the_session_has_version_protocol_and_limits(fixed: Gateway) -> None:
    session = get(fixed, "/api/session").json()
    assert session["protocol"] == "workcast.v1"
    assert session["limits"] == GatewaySettings().limits().model_dump()


def test_health_is_ok_with_a_broker_and_a_relay(gateway: Gateway, root: Root) -> None:
    assert get(gateway, "/healthz").json() == {"status": "ok"}
    asked = httpx.head(f"{gateway.url}/healthz")
    assert (asked.status_code, asked.content) == (200, b"")


def test_without_a_broker_health_is_503_and_history_is_still_served(offline: Gateway, root: Root) -> None:
    write_log(root, "wc", LINES)
    wait_until(lambda: "cannot reach Redis" in get(offline, "/healthz").json().get("reason", ""))
    assert get(offline, "/healthz").status_code == 503
    assert [w["id"] for w in get(offline, "/api/workcells").json()["workcells"]] == ["wc"]
    page = get(offline, "/api/workcells/wc/events").json()
    assert (page["epoch"], page["head"], page["events"]) == (EPOCH, 20, [json.loads(line) for line in LINES])
    with connect(offline.stream) as viewer:
        viewer.send('{"op":"subscribe","workcell":"wc","from":"start"}')
        assert [message["op"] for message in receive_until(viewer, "live")] == ["hello", "subscribed", "events", "live"]


# ── headers and files ────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/api/workcells", "/api/workcells/unknown", "/api/workcells/a/events?limit=0", "/nothing"]
)
def test_every_response_has_the_policy_exactly_once(fixed: Gateway, path: str) -> None:
    headers = get(fixed, path).headers
    assert headers.get_list("content-security-policy") == [CONTENT_SECURITY_POLICY]
    assert headers["x-content-type-options"] == "nosniff"
    refused = get(fixed, path, headers={"Host": "evil.example"})
    assert refused.status_code == 403
    assert refused.headers.get_list("content-security-policy") == [CONTENT_SECURITY_POLICY]


def test_without_the_built_files_the_answer_says_how_to_build_them(
    root: Root, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gateway_module, "_STATIC", tmp_path / "none")
    with Gateway(root, redis_url).running() as gateway:
        page = get(gateway, "/")
        assert page.status_code == 503
        assert "The dashboard is not built" in page.text


def test_only_the_built_files_are_served(
    root: Root, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    static = tmp_path / "static"
    static.mkdir()
    (static / "index.html").write_text("<!doctype html>the dashboard")
    (static / "app.js").write_text("1")
    (tmp_path / "secret").write_text("secret")
    monkeypatch.setattr(gateway_module, "_STATIC", static)
    with Gateway(root, redis_url).running() as gateway:
        assert get(gateway, "/").text == "<!doctype html>the dashboard"
        assert get(gateway, "/app.js").status_code == 200
        for path in (b"/../secret", b"/%2e%2e/secret", b"/..%2fsecret", b"//secret"):
            assert httpx.get(httpx.URL(gateway.url).copy_with(raw_path=path)).status_code == 404
        with pytest.raises(InvalidStatus) as refused, connect(gateway.stream.replace("/api/stream", "/app.js")):
            pass
        assert refused.value.response.status_code == 404


# ── the socket ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("offered", [None, ["workcast.v1"], ["other", "workcast.v1"], ["other"]])
def test_offering_the_subprotocol_is_optional(fixed: Gateway, offered: list[str] | None) -> None:
    names = None if offered is None else [Subprotocol(name) for name in offered]
    with connect(fixed.stream, subprotocols=names) as viewer:
        assert viewer.subprotocol == ("workcast.v1" if offered and "workcast.v1" in offered else None)
        assert json.loads(viewer.recv(20))["op"] == "hello"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://["])
def test_a_foreign_origin_is_refused_before_the_socket_opens(fixed: Gateway, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(fixed.stream, origin=Origin(origin)):
        pass
    assert refused.value.response.status_code == 403
    assert refused.value.response.headers.get_all("content-security-policy") == [CONTENT_SECURITY_POLICY]


def test_a_foreign_host_is_refused_before_the_socket_opens(fixed: Gateway) -> None:
    with (
        socket.create_connection(("127.0.0.1", fixed.port)) as plain,
        pytest.raises(InvalidStatus) as refused,
        connect(f"ws://evil.example:{fixed.port}/api/stream", sock=plain),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_the_gateways_own_page_may_open_the_socket(fixed: Gateway) -> None:
    with connect(fixed.stream, origin=Origin(fixed.url)) as viewer:
        assert json.loads(viewer.recv(20))["op"] == "hello"


def test_a_socket_elsewhere_is_not_found(fixed: Gateway) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(fixed.stream + "/more"):
        pass
    assert refused.value.response.status_code == 404


@pytest.mark.parametrize(
    ("message", "code"),
    [("x" * 65_537, 1009), (b"{}", 4400), ("no json", 4400), ("[1]", 4400)],
)
def test_a_protocol_violation_closes_the_socket_with_its_code(fixed: Gateway, message: str | bytes, code: int) -> None:
    with connect(fixed.stream) as viewer:
        viewer.send(message)
        with contextlib.suppress(ConnectionClosedError):
            for _ in viewer:
                pass
        assert viewer.close_code == code


def test_a_message_of_64_kib_is_read(fixed: Gateway) -> None:
    message = '{"op":"ping","pad":""}'
    with connect(fixed.stream) as viewer:
        viewer.send(message.replace('""', f'"{"x" * (65_536 - len(message))}"'))
        assert receive_until(viewer, "pong")


def test_one_viewer_too_many_is_closed_with_4429(root: Root, redis_url: str) -> None:
    settings = GatewaySettings(max_viewers=2)
    with (
        Gateway(root, redis_url, settings).running() as gateway,
        connect(gateway.stream, proxy=None) as one,
        connect(gateway.stream, proxy=None) as other,
    ):
        for viewer in (one, other):
            assert json.loads(viewer.recv())["op"] == "hello"
        with connect(gateway.stream, proxy=None) as third, pytest.raises(ConnectionClosedError):
            third.recv()
        assert third.close_code == 4429
        one.send('{"op":"ping"}')
        assert json.loads(one.recv())["op"] == "pong"


def test_each_of_ten_thousand_subscriptions_is_answered_and_most_are_refused(gateway: Gateway, root: Root) -> None:
    publish(gateway, root, "wc", LINES)
    for number in range(300):
        root.workcell(f"many-{number}").mkdir()
    # Without keepalive pings: under load this client would give up before it has read all answers.
    with connect(gateway.stream, proxy=None, ping_interval=None) as viewer:
        for number in range(10_000):
            viewer.send(json.dumps({"op": "subscribe", "workcell": f"many-{number % 300}", "from": "tail"}))
        viewer.send('{"op":"ping"}')
        ops: list[str] = []
        while "pong" not in ops:
            message = json.loads(viewer.recv(30))
            ops.append(message["op"])
            assert message["op"] != "error" or message["code"] == "too_many_subscriptions"
    assert ops.count("error") >= 1000


@pytest.mark.parametrize("path", ["/api/workcells", "/api/workcells/none", "/api/session", "/healthz", "/metrics"])
def test_no_cache_keeps_an_answer_of_the_api(fixed: Gateway, path: str) -> None:
    assert get(fixed, path).headers["cache-control"] == "no-store"


def test_the_openapi_document_has_the_404_of_each_route_below_a_workcell(fixed: Gateway) -> None:
    paths = get(fixed, "/openapi.json").json()["paths"]
    below = [path for path in paths if "{workcell}" in path]
    assert len(below) >= 4
    assert all("404" in operation["responses"] for path in below for operation in paths[path].values())
