"""The real ``workcast`` program as a process: started, read from, and ended by its id."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil

from support.waiting import DEADLINE, wait_until

PROGRAM = Path(sys.executable).parent / "workcast"


def environment(**extra: str) -> dict[str, str]:
    """Return this process's environment without ``WORKCAST_…`` variables, plus ``extra``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WORKCAST_")}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "200", "TERM": "dumb", **extra}


def workcast(
    *arguments: str, stdin: bytes = b"", cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the program until it exits."""
    return subprocess.run(
        [PROGRAM, *arguments],
        check=False,
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env=environment(**(env or {})),
        timeout=60,
    )


def refusal(done: subprocess.CompletedProcess[bytes], code: int = 1) -> str:
    """Return the one message on stderr of a refused run, and check that stdout is empty."""
    text = done.stderr.decode()
    assert done.returncode == code, text
    assert done.stdout == b""
    assert text.startswith("workcast: ")
    assert text.count("\n") == 1
    assert "Traceback" not in text
    return text


class Program:
    """A running ``workcast``; leaving the context kills it."""

    def __init__(
        self,
        *arguments: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        program: Sequence[str | Path] = (PROGRAM,),
    ) -> None:
        self.process = subprocess.Popen(
            [*program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=environment(**(env or {})),
            start_new_session=True,
        )
        self._out, self._err = bytearray(), bytearray()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=_read_all, args=(self.process.stdout.fileno(), self._out), daemon=True),
            threading.Thread(target=_read_all, args=(self.process.stderr.fileno(), self._err), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def out(self) -> str:
        """Its stdout so far."""
        return self._out.decode()

    @property
    def err(self) -> str:
        return self._err.decode()

    def lines(self, count: int) -> list[str]:
        """Wait for the first ``count`` lines of its stdout."""
        return wait_until(lambda: self._whole_lines(count), what=f"{count} lines; stderr: {self.err}")[:count]

    def _whole_lines(self, count: int) -> list[str]:
        lines = self.out.splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        if self.process.poll() is not None and len(whole) < count:
            for reader in self._readers:
                reader.join()
            if len(self.out.splitlines()) < count:
                raise AssertionError(f"it exited with {self.process.returncode}: {self.err}")
        return whole if len(whole) >= count else []

    def interrupt(self) -> None:
        """Send SIGINT, as Ctrl-C in a terminal does."""
        self.process.send_signal(signal.SIGINT)

    def wait(self, seconds: float = DEADLINE) -> int:
        """Wait for it to exit and for all of its output; return the exit code."""
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join()
        return code


def _read_all(descriptor: int, into: bytearray) -> None:
    while piece := os.read(descriptor, 65536):
        into += piece


class Up(Program):
    """A ``workcast up`` (or ``demo``) on a free port, ready."""

    def __init__(self, root: Path, *options: str, verb: str = "up", env: Mapping[str, str] | None = None) -> None:
        place = ("--root", str(root)) if verb != "demo" else ()
        super().__init__(verb, *place, "--port", "0", *options, env=env)
        self.root = root
        self.url = ""

    def __enter__(self) -> Self:
        try:
            self.url = self.lines(1)[0].strip()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def show(self, workcell: str, head: int) -> None:
        """Wait until the gateway's fleet shows that a workcell has reached this head."""
        url = f"{self.url}/api/workcells/{workcell}"
        wait_until(
            lambda: (httpx.get(url, timeout=DEADLINE).json().get("summary") or {"head": -1})["head"] >= head, what=url
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        with contextlib.suppress(OSError):  # it was killed, and no later `up` cleans up after it
            shutil.rmtree(self.state("broker.json")["directory"])

    def state(self, name: str = "up.json") -> dict[str, Any]:
        """Read a JSON file of the root's state directory."""
        found: dict[str, Any] = json.loads((self.root / ".workcells" / ".workcast" / name).read_bytes())
        return found


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie counts as ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def working_in(folder: Path) -> list[psutil.Process]:
    """Return all processes whose working directory is this folder."""
    return [process for process in psutil.process_iter() if _works_in(process, folder)]


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(folder)
    except psutil.Error:
        return False


@contextlib.contextmanager
def many_open_files() -> Generator[None]:
    """Hold so many files open that the next one has a descriptor of at least 1024, which ``select`` cannot take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while stack.enter_context(Path(os.devnull).open("rb")).fileno() < 1024:
            pass
        yield


@contextlib.contextmanager
def served(root: Path, by: str, lengths: Mapping[str, int]) -> Generator[Path]:
    """The root, served by ``files`` alone or by a ``gateway`` that shows workcells with these numbers of events."""
    if by == "files":
        yield root
        return
    with Up(root) as up:
        for workcell, length in lengths.items():
            up.show(workcell, length)
        yield root
