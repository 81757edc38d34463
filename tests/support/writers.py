"""Writers that append to a log in their own processes and may be killed at any moment.

Run as a program with a log's path, a name, a count and a size, it appends itself. Run without arguments, it forks a
writer for each order that it reads on stdin, so that a test with hundreds of writers starts Python only once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from workcast.broker.appender import Appender


def append_numbered(path: Path, name: str, count: int, size: int, report: int = 1) -> None:
    """Append ``count`` events, and write the number of each one that is safely in the log to ``report``."""
    with Appender(path) as appender:
        for number in range(count):
            line = f'{{"type":"x","from":"{name}","n":{number},"pad":"{"." * size}"}}\n'
            appender.append(line.encode())
            os.write(report, b"%d\n" % number)


class Writer:
    """A forked writer that reports through a pipe."""

    def __init__(self, pid: int, reports: int) -> None:
        self.pid = pid
        self._reports = reports

    def hear(self, count: int | None = None) -> int:
        """Wait for ``count`` reported appends, or for the end; return how many were reported."""
        lines = 0
        while count is None or lines < count:
            piece = os.read(self._reports, 65536)
            if not piece:
                break
            lines += piece.count(b"\n")
        return lines

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


class Writers:
    """Start writers through a process that forks them quickly; it starts with the first order."""

    def __init__(self) -> None:
        self._forker: subprocess.Popen[str] | None = None

    @contextmanager
    def append(self, path: Path, name: str, count: int, size: int) -> Generator[Writer]:
        """A process that appends ``count`` events to ``path``."""
        if self._forker is None:
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
            command = [sys.executable, "-m", "support.writers"]
            self._forker = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        with tempfile.TemporaryDirectory() as directory:
            pipe = Path(directory) / "reports"
            os.mkfifo(pipe)
            self._forker.stdin.write(json.dumps([str(path), name, count, size, str(pipe)]) + "\n")
            self._forker.stdin.flush()
            reports = os.open(pipe, os.O_RDONLY)
            try:
                yield Writer(int(self._forker.stdout.readline()), reports)
            finally:
                os.close(reports)

    def close(self) -> None:
        """End the forking process."""
        if self._forker is not None:
            self._forker.communicate()
            self._forker = None


def _fork_on_order() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the exit codes are not collected
    for order in sys.stdin:
        path, name, count, size, pipe = json.loads(order)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            try:
                append_numbered(Path(path), name, count, size, os.open(pipe, os.O_WRONLY))
            finally:
                os._exit(0)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        append_numbered(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        _fork_on_order()
