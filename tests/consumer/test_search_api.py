"""The search over REST: real sockets, a real relay."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from support.gateway import Gateway, get, relayed_gateway
from support.logs import write_log
from support.plain_search import plain_search
from support.waiting import DEADLINE, wait_until
from workcast.broker.root import Root
from workcast.consumer import search_api
from workcast.consumer.protocol import SearchEnd, SearchHit, SearchPage
from workcast.events.timestamp import now
from workcast.question.parse import MAX_PARTS, parse_question

HOSTILE = "\x00\x1b[31m needle \u2028 𝄞"


def answer(text: str, minute: int, **fields: Any) -> bytes:
    timestamp = f"2026-11-22T08:{minute:02d}:00.000Z"
    return json.dumps({"type": "response_complete", "timestamp": timestamp, "content": text, **fields}).encode()


LOGS = {
    "old": [answer(f"needle {number}", 1, toolchain="codex") for number in range(10)],
    "new": [answer("a Needle", 9, toolchain="claude"), b"garbage needle \xff", answer(HOSTILE, 9), answer("hay", 9)],
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Gateway, Root]]:
    root = Root(tmp_path_factory.mktemp("search"))
    with relayed_gateway(root) as gateway:
        for workcell, lines in LOGS.items():
            write_log(root, workcell, lines)
            published(gateway, workcell, len(lines))
        yield gateway, root


def published(gateway: Gateway, workcell: str, head: int) -> None:
    wait_until(lambda: get(gateway, f"/api/workcells/{workcell}/events?limit=1").json().get("head") == head)


def page(gateway: Gateway, question: str, **params: Any) -> dict[str, Any]:
    reply = get(gateway, "/api/search", params={"q": question, **params})
    assert reply.status_code == 200, reply.text
    assert reply.headers["cache-control"] == "no-store"
    fields: dict[str, Any] = reply.json()
    assert SearchPage.model_validate_json(reply.content).model_dump(mode="json") == fields
    return fields


def places(hits: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    return [(hit["workcell"], hit["epoch"], hit["offset"]) for hit in hits]


def stream(gateway: Gateway, question: str, **params: Any) -> tuple[list[dict[str, Any]], SearchEnd]:
    headers = {"accept": "application/x-ndjson"}
    reply = get(gateway, "/api/search", params={"q": question, **params}, headers=headers)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-ndjson")
    *lines, last, rest = reply.content.split(b"\n")
    assert rest == b""
    return [
        SearchHit.model_validate_json(line).model_dump(mode="json") for line in lines
    ], SearchEnd.model_validate_json(last)


@pytest.mark.parametrize("question", ["needle", "needle -garbage", "/needle [0-9]/", "type:malformed", "", "nowhere"])
def test_a_page_a_stream_and_all_pages_have_the_hits_of_the_simplest_search(
    served: tuple[Gateway, Root], question: str
) -> None:
    gateway, root = served
    expected = plain_search(root, parse_question(question, now()))
    whole = page(gateway, question)
    assert places(whole["hits"]) == expected
    assert (whole["next"], whole["complete"], whole["skipped"]) == (None, True, 0)
    assert whole["scanned"] == sum(map(len, LOGS.values()))
    hits, end = stream(gateway, question)
    assert hits == whole["hits"]
    assert (end.total, end.next, end.complete) == (len(hits), None, True)
    paged, cursor = list[dict[str, Any]](), None
    for _ in range(20):
        one = page(gateway, question, limit=3, **({} if cursor is None else {"cursor": cursor}))
        assert len(one["hits"]) <= 3
        paged += one["hits"]
        cursor = one["next"]
        if cursor is None:
            break
    assert paged == whole["hits"]


def test_a_hit_is_what_the_page_needs_to_show_it(served: tuple[Gateway, Root]) -> None:
    hit = page(served[0], "Needle")["hits"][0]
    assert hit.pop("epoch") > 0
    assert hit == {
        "workcell": "new", "offset": 0, "type": "response_complete", "timestamp": "2026-11-22T08:09:00.000Z",
        "field": "content", "snippet": "a Needle", "marks": [[2, 8]],
    }  # fmt: skip


def test_hostile_text_is_sent_as_it_is(served: tuple[Gateway, Root]) -> None:
    (hit,) = [hit for hit in page(served[0], "needle in:new")["hits"] if hit["offset"] == 2]
    assert hit["snippet"] == HOSTILE
    assert [hit["snippet"][start:end] for start, end in hit["marks"]] == ["needle"]


def test_runs_are_filtered_by_their_summaries_in_the_fleet(served: tuple[Gateway, Root]) -> None:
    assert {hit["workcell"] for hit in page(served[0], "needle agent:codex")["hits"]} == {"old"}
    assert page(served[0], "needle agent:another")["hits"] == []


def test_what_was_just_emitted_is_found(served: tuple[Gateway, Root]) -> None:
    gateway, root = served
    write_log(root, "fresh", [answer("just emitted", 30)])
    wait_until(lambda: places(page(gateway, '"just emitted"')["hits"]) != [])


def test_a_stream_ends_at_its_limit_with_a_cursor(served: tuple[Gateway, Root]) -> None:
    hits, end = stream(served[0], "needle", limit=2)
    assert (len(hits), end.total, end.complete) == (2, 2, False)
    more, _ = stream(served[0], "needle", cursor=end.next)
    assert hits + more == stream(served[0], "needle")[0]


@pytest.mark.parametrize(
    ("question", "position", "part"),
    [
        ('a "b', 2, 'expected a " that ends the quotation'),
        ("is:faild", 3, "did you mean is:failed?"),
        ("/(/", 0, "RE2"),
        ("x" * 10_000, 4096, "at most 4096 characters"),
        ("in:a " * 800, 5 * MAX_PARTS, f"at most {MAX_PARTS} words and fields"),
    ],
)
def test_a_malformed_question_is_400_with_its_position(
    served: tuple[Gateway, Root], question: str, position: int, part: str
) -> None:
    reply = get(served[0], "/api/search", params={"q": question})
    assert (reply.status_code, reply.json()["position"]) == (400, position)
    assert part in reply.json()["detail"]


def test_a_cursor_that_is_malformed_or_of_another_question_is_400(served: tuple[Gateway, Root]) -> None:
    cursor = page(served[0], "needle", limit=1)["next"]
    for question, given, part in (("hay", cursor, "that of another"), ("needle", "x", "expected the cursor")):
        reply = get(served[0], "/api/search", params={"q": question, "cursor": given})
        assert (reply.status_code, part in reply.json()["detail"]) == (400, True)


@pytest.mark.parametrize("limit", ["0", "1001", "x"])
def test_a_limit_out_of_range_is_422(served: tuple[Gateway, Root], limit: str) -> None:
    assert get(served[0], "/api/search", params={"limit": limit}).status_code == 422


def test_the_document_describes_both_forms(served: tuple[Gateway, Root]) -> None:
    answers = get(served[0], "/openapi.json").json()["paths"]["/api/search"]["get"]["responses"]
    assert set(answers["200"]["content"]) == {"application/json", "application/x-ndjson"}
    assert {"400", "503"} <= set(answers)


# ── what may be shown ────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_the_broker_has_not_published_is_not_shown(root: Root, redis_url: str) -> None:
    """Without a relay nothing is published, whatever the logs hold."""
    write_log(root, "w", [answer("needle", 1)])
    with Gateway(root, redis_url).running() as gateway:
        wait_until(lambda: "not connected yet" not in get(gateway, "/healthz").text)
        assert page(gateway, "needle")["hits"] == []


def test_without_a_broker_the_logs_are_searched(root: Root) -> None:
    write_log(root, "w", [answer("needle", 1)])
    with Gateway(root, "redis://127.0.0.1:1").running() as gateway:
        assert [hit["offset"] for hit in page(gateway, "needle")["hits"]] == [0]


# ── clients that leave, and many of them ─────────────────────────────────────────────────────────────────────────────
def many(root: Root, lines: int) -> None:
    write_log(root, "long", [answer("hay " * 50, 1)] * lines)


@pytest.mark.parametrize("accept", ["application/x-ndjson", "application/json"])
def test_a_search_whose_client_leaves_ends(root: Root, accept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those whose clients have left take no place: afterwards as many as ever are admitted, long before they end."""
    monkeypatch.setattr(search_api, "_PAGE_SECONDS", 1000.0)
    many(root, 150_000)
    with Gateway(root, "redis://127.0.0.1:1").running() as gateway:
        clients = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(20)]
        for client in clients:
            head = f"GET /api/search?q=nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n\r\n"
            client.sendall(head.encode())
        wait_until(lambda: get(gateway, "/api/search", params={"q": "in:x"}).status_code == 503)
        for client in clients:
            client.close()
        wait_until(lambda: get(gateway, "/api/search", params={"q": "in:x"}).status_code == 200)


def test_more_searches_than_the_bound_are_refused_and_the_gateway_answers_others(root: Root) -> None:
    many(root, 50_000)
    with Gateway(root, "redis://127.0.0.1:1").running() as gateway, httpx.Client(timeout=DEADLINE) as client:
        requests = [
            client.build_request("GET", f"{gateway.url}/api/search", params={"q": f"nowhere{n}"}) for n in range(40)
        ]
        sockets = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in requests]
        for one, request in zip(sockets, requests, strict=True):
            one.sendall(f"GET {request.url.raw_path.decode()} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        refused = wait_until(lambda: get(gateway, "/api/search", params={"q": "hay"}).status_code == 503 or None)
        assert refused
        assert get(gateway, "/api/session").status_code == 200
        for one in sockets:
            one.close()
        wait_until(lambda: get(gateway, "/api/search", params={"q": "hay", "limit": 1}).status_code == 200)
