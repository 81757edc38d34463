from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from support.logs import event_line, write_log
from support.processes import Program, Up, gone, refusal, workcast
from support.raw_socket import HANDSHAKE, client_frame
from support.waiting import wait_until
from workcast.broker.root import Root
from workcast.cli.main import app

LINES = [event_line(n) for n in range(5)]


@pytest.fixture
def taken() -> Generator[int]:
    """A port in use."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    """A free port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def stream_of(url: str) -> str:
    return url.replace("http://", "ws://") + "/api/stream"


def test_up_prints_the_address_alone_and_carries_a_log_to_a_viewer(tmp_path: Path) -> None:
    write_log(Root(tmp_path), "wc", LINES)
    with Up(tmp_path) as up:
        wait_until(lambda: httpx.get(f"{up.url}/healthz").json() == {"status": "ok"})
        with connect(stream_of(up.url)) as viewer:
            assert json.loads(viewer.recv())["op"] == "hello"
            viewer.send('{"op":"subscribe","workcell":"wc","from":"start"}')
            seen: list[Any] = []
            while len(seen) < len(LINES):
                seen += json.loads(viewer.recv(20)).get("events", [])
        assert seen == [json.loads(line) for line in LINES]
        up.interrupt()
        assert up.wait() == 0
        assert up.out == f"{up.url}\n"
        assert up.err == ""


def test_the_state_file_is_readable_by_this_user_only(tmp_path: Path) -> None:
    with Up(tmp_path) as up:
        state = up.state()
        assert (state["http_url"], state["pid"], state["prefix"]) == (up.url, up.pid, "")
        assert state["redis_url"].startswith("unix://")
        mode = (tmp_path / ".workcells/.workcast/up.json").stat().st_mode
        assert stat.S_IMODE(mode) == 0o600


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_and_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    with Up(tmp_path) as up, connect(stream_of(up.url)) as viewer:
        broker = up.state("broker.json")
        assert not gone(broker["pid"])
        up.process.send_signal(number)
        with contextlib.suppress(ConnectionClosedError):
            for _ in viewer:
                pass
        assert viewer.close_code == 1012
        assert up.wait(5) == 0
        assert up.err == ""
        assert gone(broker["pid"])
        assert not Path(broker["directory"]).exists()
        assert not (tmp_path / ".workcells/.workcast/up.json").exists()
        assert not (tmp_path / ".workcells/.workcast/broker.json").exists()


@pytest.mark.parametrize("times", [2, 3])
def test_an_impatient_ctrl_c_ends_it_at_once_and_still_leaves_nothing_behind(tmp_path: Path, times: int) -> None:
    write_log(Root(tmp_path), "wc", LINES)
    with Up(tmp_path) as up, connect(stream_of(up.url), proxy=None):
        broker = up.state("broker.json")
        for _ in range(times):
            up.interrupt()
        assert up.wait() == 0
        assert "Traceback" not in up.err
        wait_until(lambda: gone(broker["pid"]))
        assert not Path(broker["directory"]).exists()


def test_an_embedded_broker_that_is_killed_runs_again_and_is_filled_again(tmp_path: Path) -> None:
    write_log(Root(tmp_path), "wc", LINES)
    with Up(tmp_path) as up:
        wait_until(lambda: workcast("verify", "--root", str(tmp_path)).returncode == 0)
        first = up.state("broker.json")["pid"]
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: up.state("broker.json")["pid"] != first)
        write_log(Root(tmp_path), "wc", [event_line(5)])
        wait_until(lambda: workcast("verify", "--root", str(tmp_path)).returncode == 0)
        wait_until(lambda: httpx.get(f"{up.url}/healthz").status_code == 200)
        assert httpx.get(f"{up.url}/api/workcells/wc/events").json()["head"] == 6


def test_an_embedded_broker_whose_directory_is_gone_runs_again(tmp_path: Path) -> None:
    write_log(Root(tmp_path), "wc", LINES)
    with Up(tmp_path) as up:
        wait_until(lambda: workcast("verify", "--root", str(tmp_path)).returncode == 0)
        broker = up.state("broker.json")
        shutil.rmtree(broker["directory"])
        os.kill(broker["pid"], signal.SIGKILL)
        wait_until(lambda: workcast("verify", "--root", str(tmp_path)).returncode == 0)
        wait_until(lambda: httpx.get(f"{up.url}/healthz").status_code == 200)


def test_the_gateway_answers_while_the_embedded_broker_is_being_restarted(tmp_path: Path) -> None:
    write_log(Root(tmp_path), "wc", LINES)
    with Up(tmp_path) as up:
        wait_until(lambda: workcast("verify", "--root", str(tmp_path)).returncode == 0)
        broker = up.state("broker.json")
        log = Path(broker["directory"]) / "valkey.log"
        log.unlink()
        os.mkfifo(log)  # opening it blocks until it is read, and with it the restart
        os.kill(broker["pid"], signal.SIGKILL)
        wait_until(lambda: httpx.get(f"{up.url}/healthz").status_code == 503)
        drain = threading.Thread(target=log.read_bytes, daemon=True)
        drain.start()
        wait_until(lambda: up.state("broker.json")["pid"] != broker["pid"])
        wait_until(lambda: workcast("verify", "--root", str(tmp_path)).returncode == 0)
        up.interrupt()
        assert up.wait() == 0


@contextlib.contextmanager
def stuck_viewer(up: Up) -> Generator[None]:
    """A viewer of ``wc``, a log of several megabytes, that reads no further than its answer."""
    up.show("wc", 300)
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", int(up.url.rpartition(":")[2])))
        stuck.sendall(HANDSHAKE)
        hello = b""
        while b"hello" not in hello:
            hello += stuck.recv(4096)
        stuck.sendall(client_frame(1, b'{"op":"subscribe","workcell":"wc","from":"start"}'))
        wait_until(lambda: len(stuck.recv(4096, socket.MSG_PEEK)) > 2000)  # it is full, and so is soon all behind it
        yield


def test_viewers_that_never_read_do_not_hold_up_the_end(tmp_path: Path) -> None:
    write_log(Root(tmp_path), "wc", [event_line(n, "x" * 60_000) for n in range(300)])
    with Up(tmp_path) as up, stuck_viewer(up):
        up.interrupt()
        assert up.wait(5) == 0
        assert up.err == ""


def test_a_broker_that_hangs_under_four_roots_and_a_viewer_that_never_reads_do_not_hold_up_the_end(
    tmp_path: Path,
) -> None:
    roots = [tmp_path / name for name in ("a", "b", "c", "d")]
    for place in roots:
        place.mkdir()
        write_log(Root(place), "wc", [event_line(n, "x" * 60_000) for n in range(300)])
    options = [word for place in roots[1:] for word in ("--root", f"{place.name}={place}")]
    with Up(roots[0], *options) as up, stuck_viewer(up):
        broker = up.state("broker.json")
        os.kill(broker["pid"], signal.SIGSTOP)
        for place in roots:
            write_log(Root(place), "wc", LINES)  # each relay has something to ask
        up.process.send_signal(signal.SIGTERM)
        assert up.wait(5) == 0
        assert up.err == ""
        assert gone(broker["pid"])
        assert not Path(broker["directory"]).exists()
        for place in roots:
            assert not (place / ".workcells/.workcast/up.json").exists()


def test_a_second_up_in_the_same_root_says_where_the_first_is(tmp_path: Path) -> None:
    with Up(tmp_path) as up:
        text = refusal(workcast("up", "--root", str(tmp_path), "--port", "0"))
        assert f"already serves {tmp_path} at {up.url} (pid {up.pid})" in text
        wait_until(lambda: httpx.get(f"{up.url}/healthz").status_code == 200)  # the first one goes on


def test_a_port_in_use_is_refused_before_anything_is_started(tmp_path: Path, taken: int) -> None:
    text = refusal(workcast("up", "--root", str(tmp_path), "--port", str(taken)))
    assert f"cannot listen on 127.0.0.1:{taken}" in text
    assert not (tmp_path / ".workcells/.workcast/broker.json").exists()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "256.1.1.1", "x" * 70])
def test_an_invalid_host_is_refused(tmp_path: Path, host: str) -> None:
    assert "cannot listen on" in refusal(workcast("up", "--root", str(tmp_path), "--host", host, "--port", "0"))


def test_a_missing_root_is_refused_and_not_created(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    assert "does not exist" in refusal(workcast("up", "--root", str(missing)))
    assert not missing.exists()


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "not a directory" in refusal(workcast("up", "--root", str(tmp_path / "file")))


def test_redis_that_cannot_be_reached_is_tried_for_a_while_and_then_given_up(tmp_path: Path, free: int) -> None:
    url = f"redis://:secret@127.0.0.1:{free}"
    arguments = ("up", "--root", str(tmp_path), "--port", "0", "--redis-url", url)
    text = refusal(workcast(*arguments, env={"WORKCAST_REDIS_PATIENCE": "0.3"}))
    assert f"cannot reach Redis at redis://:***@127.0.0.1:{free}" in text
    assert "secret" not in text


def test_redis_that_comes_up_late_is_waited_for(tmp_path: Path, redis_url: str) -> None:
    path = tmp_path / "late.sock"
    (root := tmp_path / "root").mkdir()
    with Program("up", "--root", str(root), "--port", "0", "--redis-url", f"unix://{path}") as up:
        wait_until((root / ".workcells/.workcast/up.lock").exists)
        path.symlink_to(redis_url.removeprefix("unix://"))
        assert up.lines(1)[0].startswith("http://")


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "redis://localhost:port"])
def test_a_malformed_redis_url_is_refused_at_once(tmp_path: Path, url: str) -> None:
    text = refusal(workcast("up", "--root", str(tmp_path), "--port", "0", "--redis-url", url))
    assert "expected a Redis URL" in text


def test_another_layout_in_redis_is_refused_at_once_and_says_how_to_rebuild(
    tmp_path: Path, redis_url: str, redis_client: Any
) -> None:
    redis_client.set("workcast:layout", '{"version":2,"partitions":64}')
    text = refusal(workcast("up", "--root", str(tmp_path), "--port", "0", "--redis-url", redis_url))
    assert "expected layout version 1" in text
    assert "delete the keys 'workcast:*'" in text


def test_after_sigkill_a_new_start_finds_no_second_server_and_believes_no_stale_state(tmp_path: Path) -> None:
    write_log(Root(tmp_path), "wc", LINES)
    with Up(tmp_path) as up:
        broker = up.state("broker.json")
        up.process.kill()
        up.wait()
    assert (tmp_path / ".workcells/.workcast/up.json").exists()
    # No up runs: the state file is ignored, and the files are read.
    listed = workcast("ls", "--root", str(tmp_path), "--json")
    assert json.loads(listed.stdout)["head"] == 5
    assert "no workcast up serves" in refusal(workcast("tail", "wc", "--root", str(tmp_path)))
    with Up(tmp_path) as again:
        assert gone(broker["pid"])
        assert not Path(broker["directory"]).exists()
        assert again.state("broker.json")["pid"] != broker["pid"]
        assert again.state()["pid"] == again.pid


def test_options_come_from_the_environment_too(tmp_path: Path, redis_url: str, free: int) -> None:
    env = {"WORKCAST_PORT": str(free), "WORKCAST_REDIS_URL": redis_url, "WORKCAST_ROOT": str(tmp_path)}
    with Program("up", env=env) as up:
        assert up.lines(1) == [f"http://127.0.0.1:{free}\n"]
        state = json.loads((tmp_path / ".workcells/.workcast/up.json").read_bytes())
        assert state["redis_url"] == redis_url
        up.interrupt()
        assert up.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["up", "--port", "70000"], {}),
        (["up", "--nonsense"], {}),
        (["up"], {"WORKCAST_PORT": "http"}),
        (["dance"], {}),
        (["run", "claude"], {}),
        (["run", "claude", "--timeout", "soon", "--", "hi"], {}),
    ],
)
def test_wrong_usage_ends_with_2_and_no_traceback(tmp_path: Path, arguments: list[str], env: dict[str, str]) -> None:
    done = workcast(*arguments, cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - names are all there is to say


@pytest.mark.parametrize("verb", ["", "up", "demo", "run", "parse", "tail", "ls"])
def test_every_verb_has_help(verb: str) -> None:
    done = CliRunner().invoke(app, [*filter(None, [verb]), "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.stdout


def test_ctrl_c_while_redis_is_waited_for_ends_it(tmp_path: Path, free: int) -> None:
    url = f"redis://127.0.0.1:{free}"
    with Program("up", "--root", str(tmp_path), "--port", "0", "--redis-url", url) as up:
        wait_until((tmp_path / ".workcells/.workcast/up.lock").exists)
        up.process.terminate()
        assert up.wait() != 0
        assert "Traceback" not in up.err
        assert up.out == ""


def test_the_demo_serves_its_workcells_and_ends_cleanly(tmp_path: Path) -> None:
    with Up(tmp_path, verb="demo", env={"TMPDIR": str(tmp_path)}) as demo:
        listed = f"{demo.url}/api/workcells"

        def running() -> list[str]:
            workcells = httpx.get(listed).json()["workcells"]
            return [w["id"] for w in workcells if w["summary"]["head"] > 3]

        wait_until(lambda: len(running()) >= 3)
        demo.interrupt()
        assert demo.wait() == 0
        assert demo.out == f"{demo.url}\n"
        assert demo.err == ""
        assert list(tmp_path.iterdir()) == []
