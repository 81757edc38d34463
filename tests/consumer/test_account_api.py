"""The account over REST: real sockets, a real relay."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.gateway import Gateway, get, relayed_gateway
from support.logs import event_line, write_log
from support.waiting import wait_until
from workcast.broker.accounts import Accounts
from workcast.broker.history import History
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.consumer.protocol import AccountPage
from workcast.events.wire import inspect
from workcast.ledger.account import Account
from workcast.ledger.rows import Totals


def line(**event: Any) -> bytes:
    return json.dumps(event).encode()


def message(number: int) -> list[bytes]:
    """A message that calls a tool, in four lines."""
    second = f"2026-11-22T08:{number // 60 % 60:02d}:{number % 60:02d}"
    about = {"message_id": f"m{number}"}
    return [
        line(type="tool_call", timestamp=f"{second}.100Z", tool="Bash", call_id=f"c{number}", **about),
        line(type="tool_result", timestamp=f"{second}.300Z", tool="Bash", call_id=f"c{number}", result="x" * 100),
        line(type="thinking", timestamp=f"{second}.400Z", content="…", **about),
        line(type="usage", timestamp=f"{second}.500Z", usage={"input_tokens": 10, "output_tokens": 1}, **about),
    ]


START = [line(type="started", timestamp="2026-11-22T08:00:00Z", toolchain="claude", model="claude-opus-5-5")]
LINES = [*START, *(one for number in range(30) for one in message(number))]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Gateway, Root]]:
    root = Root(tmp_path_factory.mktemp("account"))
    with relayed_gateway(root) as gateway:
        write_log(root, "wc", LINES)
        published(gateway, "wc", len(LINES))
        yield gateway, root


def published(gateway: Gateway, workcell: str, head: int) -> None:
    wait_until(lambda: get(gateway, f"/api/workcells/{workcell}/events?limit=1").json().get("head") == head)


def account(gateway: Gateway, workcell: str = "wc", query: str = "") -> dict[str, Any]:
    answer = get(gateway, f"/api/workcells/{workcell}/account{query}")
    assert answer.status_code == 200, answer.text
    page = AccountPage.model_validate_json(answer.content)
    fields: dict[str, Any] = answer.json()
    assert page.model_dump(mode="json") == fields
    return fields


def test_the_account_is_the_fold_of_the_log_with_the_source_of_its_prices(gateway: tuple[Gateway, Root]) -> None:
    folded = Account()
    for one in LINES:
        folded.add(inspect(one)[1])
    page = account(gateway[0])
    totals: Totals = AccountPage.model_validate_json(json.dumps(page)).totals
    assert totals == folded.totals()
    assert (page["rows"], page["count"], page["head"]) == ("runs", 1, len(LINES))
    assert totals.usage.input_tokens == 300
    assert "genai-prices" in page["prices"]["source"]


@pytest.mark.parametrize(("kind", "count"), [("messages", 30), ("calls", 30), ("subagents", 0), ("runs", 1)])
def test_the_pages_of_a_kind_make_up_all_of_its_rows(gateway: tuple[Gateway, Root], kind: str, count: int) -> None:
    whole = account(gateway[0], query=f"?rows={kind}")
    assert (whole["count"], len(whole["items"])) == (count, count)
    pages = [account(gateway[0], query=f"?rows={kind}&offset={n}&limit=7")["items"] for n in range(0, count, 7)]
    assert [row for page in pages for row in page] == whole["items"]
    assert account(gateway[0], query=f"?rows={kind}&offset={count}")["items"] == []


@pytest.mark.parametrize("query", ["rows=x", "offset=-1", "limit=0", "limit=1001", "offset=x", f"offset={2**53}"])
def test_a_malformed_query_is_422(gateway: tuple[Gateway, Root], query: str) -> None:
    assert get(gateway[0], f"/api/workcells/wc/account?{query}").status_code == 422


@pytest.mark.parametrize("workcell", ["unknown", "a%2Fb", "%2e%2e", ".workcast", "x" * 129])
def test_an_unknown_workcell_has_no_account(gateway: tuple[Gateway, Root], workcell: str) -> None:
    url = httpx.URL(gateway[0].url).copy_with(raw_path=f"/api/workcells/{workcell}/account".encode())
    assert httpx.get(url).status_code == 404


def test_a_workcell_without_a_line_has_an_empty_account(gateway: tuple[Gateway, Root]) -> None:
    gateway[1].workcell("empty").mkdir()
    page = account(gateway[0], "empty")
    assert (page["head"], page["totals"]["runs"], page["items"]) == (0, 0, [])


def test_lines_that_are_not_events_change_no_figure(gateway: tuple[Gateway, Root]) -> None:
    odd = [b"\xff", b"[]", b"{}", line(type="usage", usage={"input_tokens": -1}), line(type="completed", usage=[1])]
    write_log(gateway[1], "odd", [*START, *odd, *message(1)])
    published(gateway[0], "odd", 10)
    assert account(gateway[0], "odd")["totals"]["usage"]["input_tokens"] == 10


def test_pages_do_not_change_while_the_log_grows(gateway: tuple[Gateway, Root]) -> None:
    write_log(gateway[1], "grows", LINES)
    published(gateway[0], "grows", len(LINES))
    before = account(gateway[0], "grows", "?rows=messages&offset=5&limit=10")
    heads: list[int] = []
    for number in range(30, 60):
        write_log(gateway[1], "grows", message(number)[:2])
        write_log(gateway[1], "grows", message(number)[2:])
        page = account(gateway[0], "grows", "?rows=messages&offset=5&limit=10")
        assert page["items"] == before["items"]
        heads.append(page["head"])
        # Everything below the head and nothing else: a message is counted by its fourth line.
        assert page["totals"]["usage"]["input_tokens"] == (page["head"] - 1) // 4 * 10
    published(gateway[0], "grows", 1 + 60 * 4)
    assert heads == sorted(heads)
    assert account(gateway[0], "grows", "?rows=messages&offset=59")["items"][0]["message_id"] == "m59"


def test_a_log_that_is_recreated_has_an_account_of_its_own(gateway: tuple[Gateway, Root]) -> None:
    write_log(gateway[1], "again", LINES)
    published(gateway[0], "again", len(LINES))
    first = account(gateway[0], "again")
    gateway[1].log("again").unlink()
    write_log(gateway[1], "again", [*START, *message(7)])
    wait_until(lambda: get(gateway[0], "/api/workcells/again/account").json().get("head") == 5)
    page = account(gateway[0], "again")
    assert page["epoch"] != first["epoch"]
    assert page["totals"]["usage"]["input_tokens"] == 10


def test_a_pruned_log_is_counted_from_its_base(gateway: tuple[Gateway, Root]) -> None:
    write_log(gateway[1], "pruned", [b'{"type":"log","epoch":9,"base":100}', *START, *message(1)])
    published(gateway[0], "pruned", 105)
    page = account(gateway[0], "pruned", "?rows=messages")
    assert (page["base"], page["head"], page["items"][0]["offset"]) == (100, 105, 101)


def test_a_gateway_without_the_log_says_so(gateway: tuple[Gateway, Root], tmp_path: Path) -> None:
    elsewhere = Root(tmp_path)
    elsewhere.prepare()
    with Gateway(elsewhere, gateway[0]._redis_url).running() as other:
        answer = get(other, "/api/workcells/wc/account")
    assert answer.status_code == 404
    assert "not on this host" in answer.json()["detail"]


def test_a_long_log_is_read_in_turns_and_each_line_once(root: Root) -> None:
    lines = [*START, *(event_line(number) for number in range(20_000)), *message(1)]
    write_log(root, "long", lines)
    history = History(Roots(root))
    extent = history.extent("long")
    assert extent is not None
    accounts, turns = Accounts(history), 0
    while (account := accounts.advance("long", extent.epoch, 0, extent.end, 0.0001)) is None:
        turns += 1
    assert turns > 1
    assert (account.offset, account.totals().usage.input_tokens) == (len(lines), 10)
    assert accounts.advance("long", extent.epoch, 0, extent.end, 0) is account


def test_the_accounts_used_least_recently_are_dropped(root: Root) -> None:
    history = History(Roots(root))
    names = [f"w{number}" for number in range(12)]
    accounts = Accounts(history)

    def account_of(name: str) -> Account | None:
        extent = history.extent(name)
        assert extent is not None
        return accounts.advance(name, extent.epoch, 0, extent.end, 60)

    for name in names:
        write_log(root, name, LINES)
    made = {name: account_of(name) for name in names}
    assert account_of(names[-1]) is made[names[-1]]
    assert account_of(names[0]) is not made[names[0]]
