from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from support.logs import write_log
from support.processes import served, workcast
from workcast.broker.root import Root


def answer(text: str, minute: int) -> bytes:
    timestamp = f"2026-11-22T08:{minute:02d}:00.000Z"
    return json.dumps({"type": "response_complete", "timestamp": timestamp, "content": text}).encode()


LOGS = {
    "old": [answer(f"needle {number}", 1) for number in range(5)],
    "new": [answer("x" * 100 + " a \x1b[31m needle\u2028\n here", 9), answer("hay", 9)],
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Root(tmp_path_factory.mktemp("filled"))
    for workcell, lines in LOGS.items():
        write_log(root, workcell, lines)
    return root.directory


@pytest.fixture(scope="module", params=["files", "gateway"])
def place(request: pytest.FixtureRequest, filled: Path) -> Generator[Path]:
    """The root, without and with an ``up`` that serves it."""
    with served(filled, request.param, {workcell: len(lines) for workcell, lines in LOGS.items()}):
        yield filled


def search(root: Path, *words: str, code: int = 0) -> tuple[str, str]:
    done = workcast("search", *words, "--root", str(root))
    assert done.returncode == code, done.stderr
    return done.stdout.decode(), done.stderr.decode()


def test_hits_are_printed_as_json_as_the_gateway_has_them(place: Path) -> None:
    hits: list[dict[str, Any]] = [json.loads(line) for line in search(place, "needle", "--json")[0].splitlines()]
    assert [(hit["workcell"], hit["offset"]) for hit in hits] == [("new", 0), *(("old", number) for number in range(5))]
    assert set(hits[0]) == {"workcell", "epoch", "offset", "type", "timestamp", "field", "snippet", "marks"}
    assert [hits[0]["snippet"][start:end] for start, end in hits[0]["marks"]] == ["needle"]
    assert search(place, "nowhere", "--json") == ("", "")


def test_hits_are_printed_as_a_table_that_is_safe_for_terminals(place: Path) -> None:
    head, first, *rest = search(place, "needle")[0].splitlines()
    assert head.split() == ["WORKCELL", "OFFSET", "TIME", "TYPE", "FOUND"]
    assert first.split()[:4] == ["new", "0", "2026-11-22T08:09:00.000Z", "response_complete"]
    assert first.endswith("xxx a \\x1b[31m needle here")
    assert len(rest) == 5


def test_a_limit_is_said_if_there_is_more(place: Path) -> None:
    out, err = search(place, "needle", "--limit", "2")
    assert len(out.splitlines()) == 3
    assert "the first 2 hits; --limit N shows more" in err
    assert search(place, "needle", "--limit", "6")[1] == ""
    assert len(search(place, "needle", "--limit", "0")[0].splitlines()) == 7


def test_a_question_that_begins_with_a_minus_follows_two(place: Path) -> None:
    done = workcast("search", "--root", str(place), "--json", "--", "-needle type:response_complete")
    assert [json.loads(line)["snippet"] for line in done.stdout.splitlines()] == ["hay"]


def test_a_malformed_question_is_wrong_usage(place: Path) -> None:
    out, err = search(place, 'a "b', code=2)
    assert (out, err) == (
        "",
        'workcast: at character 3 of the question: expected a " that ends the quotation; write \\" for one that does '
        "not\n",
    )


def test_a_root_that_is_missing_is_refused(tmp_path: Path) -> None:
    assert "expected a directory as root" in search(tmp_path / "missing", "x", code=1)[1]


def test_filters_of_runs_need_no_gateway(filled: Path) -> None:
    assert search(filled, "needle status:running in:old", "--json")[0].count("\n") == 5
    assert search(filled, "needle status:failed", "--json") == ("", "")
