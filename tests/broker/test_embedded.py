from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from support.waiting import wait_until
from workcast.broker.connection import connect
from workcast.broker.embedded import EmbeddedBroker
from workcast.broker.root import Root

PARENT = """
import sys, time
from pathlib import Path
from workcast.broker.embedded import EmbeddedBroker
from workcast.broker.root import Root
root = Root(Path(sys.argv[1]))
root.prepare()
with EmbeddedBroker(root) as broker:
    print(broker.pid, broker.url, flush=True)
    time.sleep(600)
"""


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_the_server_listens_on_a_private_socket_and_on_no_port(root: Root) -> None:
    with EmbeddedBroker(root) as broker:
        client: Any = connect(broker.url)
        assert client.ping()
        assert client.config_get("port")["port"] == "0"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        client.close()
        socket = Path(broker.url.removeprefix("unix://"))
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        pid = broker.pid
    assert not alive(pid)
    assert not socket.parent.exists()


def test_the_server_is_gone_after_its_parent_was_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, url = parent.stdout.readline().split()
        assert alive(int(pid))
        parent.kill()
    with EmbeddedBroker(Root(tmp_path)) as broker:  # at the latest when the next one starts
        wait_until(lambda: not alive(int(pid)))
        assert broker.url != url
        assert not Path(url.removeprefix("unix://")).parent.exists()


def test_an_orphan_is_ended_by_the_next_start_even_where_the_kernel_does_not(root: Root) -> None:
    with subprocess.Popen(["sleep", "600"]) as orphan:
        started = psutil.Process(orphan.pid).create_time()
        root.write_state("broker.json", f'{{"pid":{orphan.pid},"started":{started},"directory":"/nonexistent"}}')
        with EmbeddedBroker(root):
            wait_until(lambda: not alive(orphan.pid))


def test_a_process_that_only_has_an_orphans_pid_is_left_alone(root: Root) -> None:
    root.write_state("broker.json", f'{{"pid":{os.getpid()},"started":1.0,"directory":"/"}}')
    with EmbeddedBroker(root) as broker:
        assert broker.pid
