from __future__ import annotations

import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from support.logs import event_line, write_log
from support.processes import Up, refusal, served, workcast
from workcast.broker.root import Root

EVIL = "a\\u001b]0;owned\\u0007\\u009b31m\\u202e"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a workcell that runs, one that is new, and one whose agent wrote control sequences."""
    root = Root(tmp_path_factory.mktemp("filled"))
    write_log(root, "wc-runs", [event_line(n) for n in range(3)])
    root.workcell("wc-new").mkdir()
    stamp = '"timestamp":"2026-01-01T00:00:00.000Z"'
    write_log(root, "wc-evil", [f'{{"type":"tool_call",{stamp},"tool":"{EVIL}","args":{{}}}}'.encode()])
    return root.directory


def listed(root: Path, *options: str) -> dict[str, dict[str, Any]]:
    done = workcast("ls", "--root", str(root), "--json", *options)
    assert done.returncode == 0, done.stderr
    return {item["id"]: item for item in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="module", params=["files", "gateway"])
def place(request: pytest.FixtureRequest, filled: Path) -> Generator[Path]:
    """The root, without and with an ``up`` that serves it."""
    with served(filled, request.param, {"wc-runs": 3, "wc-evil": 1, "wc-new": 0}):
        yield filled


def test_all_workcells_and_their_state_are_listed(place: Path) -> None:
    found = listed(place)
    assert found.keys() == {"wc-runs", "wc-new", "wc-evil"}
    assert {name: item["status"] for name, item in found.items()} == {
        "wc-runs": "running", "wc-new": "new", "wc-evil": "running",
    }  # fmt: skip
    assert found["wc-runs"]["head"] == 3
    text = workcast("ls", "--root", str(place)).stdout.decode()
    for word in ("WORKCELL", "wc-runs", "wc-new", "running", "new"):
        assert word in text


def test_control_sequences_of_an_agent_do_not_reach_the_terminal(place: Path) -> None:
    for options in ([], ["--json"]):
        text = workcast("ls", "--root", str(place), *options).stdout.decode()
        assert "owned" in text
        assert not set("\x1b\x07\x9b\u202e") & set(text)
    assert "\x1b]0;owned" in listed(place)["wc-evil"]["activity"]


def test_an_empty_root_lists_nothing(tmp_path: Path) -> None:
    assert listed(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_missing_root_is_refused_in_one_sentence(tmp_path: Path) -> None:
    assert "does not exist" in refusal(workcast("ls", "--root", str(tmp_path / "none")))


@pytest.mark.parametrize("url", ["ftp://localhost", "http://", "http://[", "http://x:port"])
def test_a_malformed_gateway_url_is_refused_in_one_sentence(url: str) -> None:
    assert "expected an http:// or https:// URL" in refusal(workcast("ls", "--url", url))


def test_an_unreachable_gateway_is_reported_in_one_sentence() -> None:
    assert "cannot list the workcells of http://127.0.0.1:1" in refusal(workcast("ls", "--url", "http://127.0.0.1:1/"))


class Stranger(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"hello": "world"}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        pass


@pytest.mark.parametrize("words", [("ls",), ("account", "wc")])
def test_an_answer_of_another_program_is_reported_in_one_sentence(words: tuple[str, ...]) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            message = refusal(workcast(*words, "--url", f"http://127.0.0.1:{server.server_port}"))
        finally:
            server.shutdown()
    assert "expected a workcast gateway there, got another program" in message


def test_a_server_without_workcells_is_reported_in_one_sentence(tmp_path: Path) -> None:
    with Up(tmp_path) as up:
        assert "cannot list the workcells" in refusal(workcast("ls", "--url", f"{up.url}/nowhere"))
