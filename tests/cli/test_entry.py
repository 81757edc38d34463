"""The program's start and its end: what it loads, and what its exit code says when a standard stream is closed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

from support.logs import event_line, write_log
from support.processes import PROGRAM, environment
from workcast.broker.root import Root
from workcast.producer import errors

BUFFERINGS = pytest.mark.parametrize("buffering", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
"""With buffered streams, as they are by default, the interpreter flushes once more when it ends."""
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")


def run(
    *words: str, buffering: Mapping[str, str], stdout: int | None = None, stderr: int | None = None, cwd: Path
) -> subprocess.CompletedProcess[bytes]:
    env = {key: value for key, value in environment().items() if key != "PYTHONUNBUFFERED"} | dict(buffering)
    return subprocess.run(
        [PROGRAM, *words],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE if stderr is None else stderr,
        cwd=cwd,
        env=env,
        timeout=60,
    )


@pytest.fixture
def closed() -> Generator[int]:
    """A pipe that has no reader."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@BUFFERINGS
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("run", "exec", "true"), 0),
        (("run", "exec", "false"), 1),
        (("run", "no-such-agent", "hi"), 2),
        (("ls", "--root", "nowhere"), 1),
        (("dance",), 2),
        (("hook",), 1),
        (("--help",), 0),
    ],
)
def test_a_stderr_without_a_reader_does_not_change_the_exit_code(
    tmp_path: Path, closed: int, words: tuple[str, ...], code: int, buffering: dict[str, str]
) -> None:
    assert run(*words, buffering=buffering, stderr=closed, cwd=tmp_path).returncode == code


@BUFFERINGS
@pytest.mark.parametrize("words", [("--help",), ("--version",), ("ls",)])
def test_a_stdout_without_a_reader_is_a_failure_without_a_word(
    tmp_path: Path, closed: int, words: tuple[str, ...], buffering: dict[str, str]
) -> None:
    done = run(*words, buffering=buffering, stdout=closed, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("words", "code"),
    [("run exec true", 0), ("run exec false", 1), ("ls --root nowhere", 1), ("ls", 0), ("dance", 2), ("--help", 0)],
)
def test_a_closed_standard_stream_does_not_change_the_exit_code(
    tmp_path: Path, closing: str, words: str, code: int
) -> None:
    (tmp_path / ".workcells").mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" {words} {closing}', PROGRAM],
        check=False, capture_output=True, stdin=subprocess.DEVNULL, cwd=tmp_path, env=environment(), timeout=60,
    )  # fmt: skip
    assert done.returncode == code
    assert b"Traceback" not in done.stderr


@needs_full
def test_a_stdout_that_cannot_be_written_is_a_failure_that_says_why(tmp_path: Path) -> None:
    write_log(Root(tmp_path), "wc", [event_line(1)])
    with Path("/dev/full").open("wb") as full:
        done = run("ls", "--json", buffering={}, stdout=full.fileno(), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.decode() == f"workcast: cannot write to stdout: {os.strerror(errno.ENOSPC)}\n"


def modules_after(*words: str) -> set[str]:
    """The top-level modules that are loaded once a command line has run."""
    code = (
        "import sys; from workcast.cli.entry import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('\\n' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("Usage")
    return set(done.stdout.splitlines()[-1].split())


def test_help_loads_no_library_but_that_of_the_command_line() -> None:
    loaded = modules_after("--help")
    assert "typer" in loaded
    assert not loaded & {"redis", "fastapi", "uvicorn", "pydantic", "rich", "httpx", "asyncio", "psutil", "logging"}


@pytest.mark.parametrize("verb", ["run", "up", "ls"])
def test_the_help_of_a_verb_loads_nothing_that_the_verb_needs(verb: str) -> None:
    assert not modules_after(verb, "--help") & {"redis", "fastapi", "uvicorn", "rich", "httpx", "asyncio", "psutil"}


def test_each_error_of_the_producer_has_the_exit_code_that_the_documentation_gives() -> None:
    codes = {name: kind.exit_code for name, kind in vars(errors).items() if name.endswith("Error")}
    assert {name for name, code in codes.items() if code == 2} == {
        "EmptyPromptError", "OptionError", "UnknownAgentError"
    }  # fmt: skip
    assert {name for name, code in codes.items() if code == 127} == {"AgentNotInstalledError"}
