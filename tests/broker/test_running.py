from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from typing import Any

import pytest

from workcast.broker.files import lock_file
from workcast.broker.names import UP_LOCK_FILE, UP_STATE_FILE
from workcast.broker.root import Root
from workcast.broker.running import Running, announce_up, find_up

HTTP, REDIS = "http://127.0.0.1:1", "unix:///nowhere.sock"


@pytest.fixture
def served(root: Root) -> Generator[Root]:
    with lock_file(root.state / UP_LOCK_FILE):
        yield root


def change(root: Root, **fields: Any) -> None:
    root.write_state(UP_STATE_FILE, json.dumps({**(root.read_state(UP_STATE_FILE) or {}), **fields}))


def test_an_up_that_runs_is_found_and_one_that_ended_is_not(root: Root) -> None:
    with lock_file(root.state / UP_LOCK_FILE):
        assert find_up(root) is None
        announce_up(root, HTTP, REDIS)
        assert find_up(root) == Running(HTTP, REDIS, os.getpid())
    assert find_up(root) is None


@pytest.mark.parametrize(
    "lie",
    [
        {"pid": 0}, {"pid": -1}, {"pid": 10**30}, {"pid": "self"}, {"pid": os.getppid()},
        {"started": ""}, {"started": "1"}, {"started": None}, {"started": 1.5},
        {"http_url": "file:///etc/passwd"}, {"http_url": "http://["}, {"http_url": "javascript:alert(1)"},
        {"redis_url": "gopher://127.0.0.1"}, {"redis_url": ""}, {"redis_url": 7},
    ],
    ids=str,
)  # fmt: skip
def test_a_state_file_that_no_running_process_of_this_user_wrote_is_not_believed(
    served: Root, lie: dict[str, Any]
) -> None:
    announce_up(served, HTTP, REDIS)
    change(served, **lie)
    assert find_up(served) is None


def test_a_state_file_that_a_clone_brought_is_not_believed_while_an_up_starts(served: Root) -> None:
    change(served, http_url="http://evil.example", redis_url="redis://evil.example", pid=os.getpid(), prefix="")
    assert find_up(served) is None


def test_a_state_file_of_a_process_that_ended_is_not_believed(served: Root) -> None:
    program = "import sys; from pathlib import Path; from workcast.broker.root import Root\n"
    program += "from workcast.broker.running import announce_up; announce_up(Root(Path(sys.argv[1])), *sys.argv[2:])"
    subprocess.run([sys.executable, "-c", program, served.directory, HTTP, REDIS], check=True)
    assert served.read_state(UP_STATE_FILE) is not None
    assert find_up(served) is None
