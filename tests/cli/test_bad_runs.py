"""Runs that fail, as the user of ``workcast run`` sees them: the log, the proof, the exit code, one sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.processes import PROGRAM, Program, environment, refusal, workcast, working_in
from support.recorded import CLAUDE, CODEX, recorded_events
from support.waiting import wait_until
from workcast.events.usage import Usage

AGENTS = ("claude", "codex")
TWENTY_MB = 20_000_000


@dataclass(frozen=True)
class Place:
    """A root, and a PATH on which the agents of a test are found."""

    root: Path
    programs: Path

    def agent(self, name: str, source: str) -> None:
        """Make a Python program what is found under an agent's name; ``success()`` prints a run that went well."""
        recording = (CLAUDE if name == "claude" else CODEX)["basic"]
        output = b"".join(timed.line + b"\n" for timed in recording.lines)
        program = self.programs / name
        tools = f"import os, signal, sys, time\ndef success():\n  os.write(1, {output!r})\n"
        program.write_text(f"#!{sys.executable} -IS\n{tools}{source}\n")
        program.chmod(0o755)

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": f"{self.programs}:{os.defpath}"}

    @property
    def cell(self) -> Path:
        return self.root / ".workcells" / "wc"

    def command(self, agent: str, *words: str) -> tuple[str, ...]:
        return ("run", agent, "--root", str(self.root), "--workcell", "wc", "--", *words)

    def run(
        self, agent: str, *words: str, env: Mapping[str, str] | None = None, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        done = workcast(*self.command(agent, *words), env={**self.env, **(env or {})}, stdin=stdin)
        assert done.stdout == b""
        assert b"Traceback" not in done.stderr
        return done

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.cell / "telemetry.jsonl").read_bytes().split(b"\n")[:-1]]

    def ended(self, status: str, exit_code: int) -> list[dict[str, Any]]:
        """The events of the one run there was, after a check of the files and processes that a run leaves behind."""
        events = self.events()
        assert [event["status"] for event in events if event["type"] == "completed"] == [status]
        last, proof = events[-1], json.loads((self.cell / "proof.json").read_bytes())
        assert (last["type"], last["exit_code"]) == ("completed", exit_code)
        assert [proof[name] for name in ("workcell_id", "status", "exit_code", "duration_ms")] == [
            "wc", status, exit_code, last["duration_ms"],
        ]  # fmt: skip
        assert usage_of(proof) == usage_of(last)
        assert proof["ended"] == last["timestamp"]
        times = [event["timestamp"] for event in events]
        assert times == sorted(times)
        assert working_in(self.root) == []
        return events


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path / "root", tmp_path / "bin")
    place.root.mkdir()
    place.programs.mkdir()
    return place


def errors(events: list[dict[str, Any]]) -> list[str]:
    return [event["error"] for event in events if event["type"] == "error"]


def usage_of(fields: dict[str, Any]) -> Usage | None:
    return None if fields.get("usage") is None else Usage.model_validate(fields["usage"])


agents = pytest.mark.parametrize("agent", AGENTS)


@agents
@pytest.mark.parametrize(
    ("source", "exit_code", "error"),
    [
        ("", 0, "ended with exit code 0 and reported neither a result nor an error"),
        ("os._exit(70)", 70, "ended with exit code 70"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 139, "was killed by signal 11 (SIGSEGV)"),
        ("os.write(2, b'last'); os.kill(os.getpid(), 9)", 137, "last\nAGENT was killed by signal 9 (SIGKILL)"),
        ("sys.exit('cannot be used\\n\\x1b[31mhere')", 1, "cannot be used\n\x1b[31mhere"),
        ("os.write(1, b'{\"type\":\"thread.started\"}\\n'); sys.exit('panicked')", 1, "panicked"),
    ],
    ids=[
        "prints nothing",
        "dies at once",
        "crashes",
        "is killed while it speaks",
        "says why on stderr alone",
        "crashes later",
    ],
)
def test_a_run_that_fails_says_why_in_its_log_and_in_its_last_line(
    place: Place, agent: str, source: str, exit_code: int, error: str
) -> None:
    place.agent(agent, source)
    done = place.run(agent, "Go.")
    assert done.returncode == 1
    (shown,) = errors(place.ended("failed", exit_code))
    error = error.replace("AGENT", agent)
    assert error in shown
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith("wc: failed after ")
    reason = last.partition(f"exit code {exit_code}: ")[2]
    assert " ".join(error.split()).replace("\x1b", "\\x1b") in reason


def test_a_long_error_is_shown_by_its_beginning_and_its_end(place: Place) -> None:
    place.agent("codex", f"sys.exit('begin ' + 'x' * {TWENTY_MB} + ' end')")
    last = place.run("codex", "Go.").stderr.decode().splitlines()[-1]
    assert last.endswith("x end")
    assert len(last) < 500
    assert len(errors(place.ended("failed", 1))[0]) <= 4096


@agents
def test_twenty_megabytes_in_one_line_do_not_end_a_run(place: Place, agent: str) -> None:
    place.agent(agent, f"sys.stdout.write('x' * {TWENTY_MB} + '\\n'); sys.stdout.flush(); success()")
    assert place.run(agent, "Go.").returncode == 0
    events = place.ended("success", 0)
    assert [event["truncated"] for event in events if event["type"] == "unknown"] == [{"bytes": TWENTY_MB}]


@agents
def test_a_run_that_fails_by_a_line_that_is_too_long_says_so(place: Place, agent: str) -> None:
    place.agent(agent, f"sys.stdout.write('x' * {TWENTY_MB} + '\\n'); sys.stdout.flush()")
    last = place.run(agent, "Go.").stderr.decode().splitlines()[-1]
    assert "a line of 20,000,000 bytes on its stdout was not read, as it is over the limit of 16 MiB" in last
    assert "neither a result" not in last


def test_warnings_that_codex_writes_in_every_run_are_not_the_reason_of_a_failure(place: Place) -> None:
    noise = "WARNING: proceeding, even though we could not create PATH aliases: no\\nReading prompt from stdin...\\n"
    place.agent("codex", f"sys.stderr.write('{noise}'); sys.exit('not logged in')")
    assert place.run("codex", "Go.").stderr.decode().splitlines()[-1].endswith("exit code 1: not logged in")
    assert errors(place.ended("failed", 1)) == ["not logged in"]


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("codex", ("--skip-git-repo-check", "--json")),
        ("claude", ("-p", "--verbose", "--output-format", "stream-json")),
        ("claude", ("--output-format=stream-json", "--include-partial-messages")),
    ],
)
def test_an_option_that_workcast_passes_too_is_passed_once(place: Place, agent: str, words: tuple[str, ...]) -> None:
    place.agent(agent, "open('argv', 'w').write('\\n'.join(sys.argv[1:])); success()")
    assert place.run(agent, "Go.").returncode == 0
    alone = (place.root / "argv").read_text()
    assert place.run(agent, *words, "Go.").returncode == 0
    assert (place.root / "argv").read_text() == alone


@pytest.mark.parametrize(
    ("agent", "words", "own"),
    [
        ("claude", ("--output-format", "json"), "--output-format stream-json"),
        ("claude", ("--output-format=text",), "--output-format stream-json"),
        ("codex", ("--json=false",), "--json"),
        ("codex", ("-m", "other"), "-m mine"),
        ("gemini", ("-ojson",), "-o stream-json"),
        ("opencode", ("--format",), "--format json"),
    ],
)
def test_an_option_that_contradicts_one_of_workcasts_own_is_refused(
    place: Place, agent: str, words: tuple[str, ...], own: str
) -> None:
    for name in ("claude", "codex"):
        place.agent(name, "success()")
    text = refusal(place.run(agent, *words, "Go.", env={"WORKCAST_MODEL": "mine"}), 2)
    assert f"workcast passes {own} itself: leave it out" in text
    assert list(place.root.iterdir()) == []


def test_a_value_that_only_looks_like_such_an_option_is_left_alone(place: Place) -> None:
    place.agent("claude", "open('argv', 'w').write(repr(sys.argv[1:])); success()")
    assert place.run("claude", "--append-system-prompt", "-p is short for print", "Go.").returncode == 0
    assert "'-p is short for print'" in (place.root / "argv").read_text()


@agents
def test_an_agent_that_closes_its_stdout_and_lives_on_is_waited_for(place: Place, agent: str) -> None:
    place.agent(agent, "success(); os.close(1); time.sleep(0.2); open('later', 'w').close(); os._exit(0)")
    assert place.run(agent, "Go.").returncode == 0
    place.ended("success", 0)
    assert (place.root / "later").exists()


@agents
def test_an_agent_that_is_not_installed_is_127_and_says_how_to_install_it(place: Place, agent: str) -> None:
    done = place.run(agent, "Go.", env={"PATH": str(place.programs)})
    assert "npm install -g @" in refusal(done, 127)
    assert list(place.root.iterdir()) == []


@agents
def test_an_agent_that_cannot_be_started_is_a_failed_run(place: Place, agent: str) -> None:
    place.agent(agent, "")
    (place.programs / agent).write_text("#!/no/such/interpreter\n")
    assert place.run(agent, "Go.").returncode == 1
    assert "cannot be started" in errors(place.ended("failed", 126))[0]


@agents
def test_an_empty_prompt_is_wrong_usage(place: Place, agent: str) -> None:
    place.agent(agent, "success()")
    assert "got an empty one" in refusal(place.run(agent, ""), 2)
    assert "got an empty one" in refusal(place.run(agent, "-", stdin=b" \n"), 2)
    assert list(place.root.iterdir()) == []


def test_a_workcell_that_another_run_writes_is_refused_and_left_as_it_is(place: Place) -> None:
    place.agent("claude", "success(); open('ready', 'w').close()\nwhile not os.path.exists('go'): time.sleep(0.01)")
    place.agent("codex", "success()")
    with Program(*place.command("claude", "Go."), env=place.env) as first:
        wait_until((place.root / "ready").exists)
        wait_until(lambda: len(place.events()) == len(recorded_events(CLAUDE["basic"])))  # prompt in, completed out
        before = {path: path.read_bytes() for path in place.cell.rglob("*") if path.is_file()}
        text = refusal(place.run("codex", "Go."))
        assert f"expected the workcell wc to be free, but another run (process {first.pid})" in text
        assert {path: path.read_bytes() for path in place.cell.rglob("*") if path.is_file()} == before
        (place.root / "go").touch()
        assert first.wait() == 0
    assert {event["toolchain"] for event in place.ended("success", 0)} == {"claude"}


def test_an_unreachable_redis_costs_a_run_only_a_warning(place: Place) -> None:
    place.agent("claude", "success()")
    done = place.run("claude", "Go.", env={"WORKCAST_REDIS_URL": "redis://127.0.0.1:1", "COLUMNS": "80"})
    assert done.returncode == 0
    place.ended("success", 0)
    where, *warning, last = done.stderr.decode().splitlines()
    assert where == f"wc: {place.cell}/telemetry.jsonl"
    assert all(line.startswith("workcast: cannot reach Redis at redis://127.0.0.1:1: ") for line in warning)
    assert all(". Connection refused; start it or" in line for line in warning)
    assert len(warning) <= 1
    assert last.startswith("wc: success")


def test_a_malformed_redis_url_is_refused_before_anything_is_written(place: Place) -> None:
    place.agent("codex", "success()")
    text = refusal(place.run("codex", "Go.", env={"WORKCAST_REDIS_URL": "localhost"}))
    assert text.startswith("workcast: WORKCAST_REDIS_URL: expected a Redis URL")
    assert list(place.root.iterdir()) == []


def test_a_terminal_that_is_closed_ends_the_run_as_ctrl_c_does(place: Place) -> None:
    place.agent("codex", "open('ready', 'w').close(); time.sleep(600)")
    with Program(*place.command("codex", "Go."), env=place.env) as run:
        wait_until((place.root / "ready").exists)
        run.process.send_signal(signal.SIGHUP)
        assert run.wait() == 130
    place.ended("cancelled", 143)


def test_nohup_is_respected(place: Place) -> None:
    place.agent("codex", "success(); open('ready', 'w').close()\nwhile not os.path.exists('go'): time.sleep(0.01)")
    with Program("nohup", str(PROGRAM), *place.command("codex", "Go."), program=(), env=place.env) as run:
        wait_until((place.root / "ready").exists)
        run.process.send_signal(signal.SIGHUP)
        (place.root / "go").touch()
        assert run.wait() == 0
    place.ended("success", 0)


def test_a_run_continues_when_its_stderr_is_no_longer_read(place: Place) -> None:
    place.agent("codex", "success()")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [PROGRAM, *place.command("codex", "Go.")],
            check=False,
            stderr=writing,
            env=environment(**place.env),
            timeout=60,
        )
    finally:
        os.close(writing)
    assert done.returncode == 0
    place.ended("success", 0)
