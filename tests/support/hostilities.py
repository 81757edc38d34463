"""What hostile workcells and agents do to a root: one small function each, in a table.

They touch only what a hostile agent of one workcell may claim as its own: the files of its workcell and the state that
workcast keeps for it, and the two files of the root that a clone could bring along (``up.json``, ``broker.json``).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import psutil

from support.logs import event_line
from support.processes import PROGRAM, environment
from workcast.broker import names
from workcast.broker.root import Root

HOSTILE: Final = tuple(f"hostile-{number}" for number in range(6))
FILES: Final = (
    names.LOG_FILE, names.LOG_FILE, names.LOG_FILE, names.PROMPT_FILE, names.PROOF_FILE, names.RUN_LOCK_FILE,
    names.OUTPUT_DIRECTORY, names.DEMO_FILE,
)  # fmt: skip
STATE: Final = (
    names.INDEX_SUFFIX, names.EPOCH_SUFFIX, names.RETIRED_SUFFIX, names.WATERMARK_SUFFIX, names.SUMS_SUFFIX,
    names.CHECKPOINT_SUFFIX, names.TRANSCRIPT_SUFFIX, names.SESSION_LOCK_SUFFIX, names.SESSION_INDEX_SUFFIX,
)  # fmt: skip
SPARSE_BYTES: Final = 512 << 20
GROWN_BYTES: Final = 200 << 20
PIECE_BYTES: Final = 10 << 20
KEPT_BYTES: Final = 8 << 20
"""Of a hostile log, which is made again beyond it: the disk is not what is tested."""
RUN_SECONDS: Final = 8
MAX_RUNS: Final = 2
CANARY: Final = b"not to be written\n"
STOPPER: Final = """
import os, signal, time
keeper = os.getppid()
while True:
    os.kill(keeper, signal.SIGSTOP)
    print("stopped", flush=True)
    time.sleep(0.05)
"""


class Hostile:
    """The hostile side of one root.

    Args:
        root: holds the calm workcells too.
        outside: a directory for what must stay as it is.
        random: decides.
    """

    def __init__(self, root: Root, outside: Path, random: Random) -> None:
        self.root = root
        self.random = random
        self.outside = outside
        outside.mkdir()
        self.canary = outside / "canary"
        self.canary.write_bytes(CANARY)
        self._locks: list[int] = []
        self._runs: list[subprocess.Popen[bytes]] = []
        self._count = 0

    def close(self) -> None:
        """Release locks, and end runs."""
        self.release_locks()
        for run in self._runs:
            run.kill()
            run.wait()
        self._runs.clear()

    def harmed(self) -> list[str]:
        """List what was done outside of the root."""
        found = [] if self.canary.read_bytes() == CANARY else [f"{self.canary} was written"]
        return found + [f"{path} was made" for path in self.outside.iterdir() if path != self.canary]

    # ── files in place of others ─────────────────────────────────────────────────────────────────────────────────────
    def _cell(self) -> Path:
        path = self.root.workcells / self.random.choice(HOSTILE)
        if path.is_symlink() or not path.is_dir():
            _clear(path)
            path.mkdir()
        return path

    def _file(self) -> Path:
        """A random file of a hostile workcell, or of the state that belongs to it."""
        cell = self._cell()
        if self.random.random() < 0.6:
            return cell / self.random.choice(FILES)
        return self.root.state / names.state_file(cell.name, self.random.choice(STATE))

    def _log(self) -> Path:
        """The log of a hostile workcell, which is a file of bounded size."""
        path = self._cell() / names.LOG_FILE
        if path.is_symlink() or not path.is_file() or _is_large_or_shared(path.stat()):
            _clear(path)
            path.write_bytes(b"")
        return path

    def put_a_link(self) -> None:
        """To a file outside, to itself, to a calm workcell's log, to a device, to nothing, to a directory."""
        path = self._file()
        calm = list(self.root.workcells.glob("calm-*/telemetry.jsonl"))
        targets = [self.canary, path, *calm[:1], Path("/dev/zero"), self.outside / "made", self.outside]
        _clear(path)
        path.symlink_to(self.random.choice(targets))

    def put_a_hard_link(self) -> None:
        path = self._file()
        shared = self.root.directory / "shared"
        shared.touch()
        _clear(path)
        os.link(shared, path)

    def put_a_link_as_workcell(self) -> None:
        path = self._cell()
        _clear(path)
        path.symlink_to(self.random.choice([self.outside, path, Path("/dev/null")]))

    def put_a_fifo(self) -> None:
        path = self._file()
        _clear(path)
        os.mkfifo(path)

    def put_a_device(self) -> None:
        path = self._file()
        _clear(path)
        with contextlib.suppress(PermissionError):
            os.mknod(path, 0o020666, os.makedev(1, self.random.choice((3, 5, 7))))  # null, zero, full

    def put_a_socket(self) -> None:
        path = self._file()
        _clear(path)
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as made, contextlib.suppress(OSError):
            made.bind(str(path))

    def put_a_directory(self) -> None:
        path = self._file()
        _clear(path)
        path.mkdir()

    def put_garbage(self) -> None:
        path = self._file()
        _clear(path)
        lies = (
            b"", b"\0" * 5000, self.random.randbytes(3000), b"[" * 100_000, b"-1 99999999999999999999 x",
            b'{"epoch":-1,"head":1e999,"base":[],"crc":null}', b"9" * 6000, b'{"pid":1,"started":0}',
        )  # fmt: skip
        path.write_bytes(self.random.choice(lies))

    def lie_in_the_roots_state(self) -> None:
        """As a clone could: a broker's directory to remove, a gateway and a server to connect to."""
        victim = str(self.outside)
        path = self.root.state / self.random.choice((names.BROKER_STATE_FILE, names.UP_STATE_FILE))
        lies = (
            {"pid": 1, "started": 0, "directory": victim},
            {"pid": os.getpid(), "url": "http://127.0.0.1:9", "redis_url": f"unix://{victim}/x", "name": None},
            {"pid": "x", "directory": [victim]},
        )
        path.write_text(json.dumps(self.random.choice(lies)), encoding="utf-8")

    def hold_a_lock(self) -> None:
        path = self._cell() / self.random.choice((names.RUN_LOCK_FILE, names.LOG_FILE))
        if not path.is_symlink() and path.is_file() and len(self._locks) < 4:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._locks.append(descriptor)

    def release_locks(self) -> None:
        while self._locks:
            os.close(self._locks.pop())

    def take_the_rights_away(self) -> None:
        path = self._file()
        if not path.is_symlink() and path.exists():
            path.chmod(0)

    # ── logs ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    def append(self) -> None:
        """Events that claim to be a calm workcell's, and lines that are none."""
        self._count += 1
        lines = [
            event_line(self._count), b'{"type":"calm","workcell_id":"calm-0","n":0}', b"\xff\xfe", b"[]",
            b'{"type":"x","v":' + b"[" * 300 + b"]" * 300 + b"}", b'{"type":"log","epoch":1,"base":5}',
            b'{"type":"x","n":' + b"1" * 5000 + b"}", event_line(0, "y" * 300_000),
        ]  # fmt: skip
        with self._log().open("ab") as file:
            file.write(b"\n".join(self.random.choices(lines, k=20)) + self.random.choice((b"\n", b"", b'{"type')))

    def edit_in_place(self) -> None:
        with self._log().open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            if size:
                file.seek(self.random.randrange(min(size, 1 << 20)))
                file.write(self.random.choice((b"\n", b"x", b"{", b'"')))

    def cut(self) -> None:
        path = self._log()
        os.truncate(path, self.random.randint(0, min(path.stat().st_size, 1 << 20)))

    def put_a_sparse_tail(self) -> None:
        """Half a gigabyte without a newline, which takes no place on the disk."""
        path = self._log()
        os.truncate(path, path.stat().st_size % SPARSE_BYTES + SPARSE_BYTES)

    def grow_a_line(self) -> None:
        """One line, piece by piece, and its end beyond 200 MB."""
        path = self._log()
        size = path.stat().st_size
        if size > GROWN_BYTES:
            os.truncate(path, 0)
            return
        os.truncate(path, size + PIECE_BYTES)
        with path.open("ab") as file:
            file.write(b"x\n" if size + PIECE_BYTES > GROWN_BYTES else b"x")

    def remove_and_make_again(self) -> None:
        path = self._cell()
        shutil.rmtree(path, ignore_errors=True)
        if self.random.random() < 0.7:
            path.mkdir(exist_ok=True)
            (path / names.LOG_FILE).write_bytes(event_line(self.random.randrange(1000)) + b"\n")

    # ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _run(self, workcell: str, *command: str) -> None:
        self._runs = [run for run in self._runs if run.poll() is None]
        if len(self._runs) < MAX_RUNS:
            words = ("run", "exec", "--root", str(self.root.directory), "--workcell", workcell, "--timeout",
                     f"{RUN_SECONDS}s", "--", *command)  # fmt: skip
            self._runs.append(
                subprocess.Popen(
                    [PROGRAM, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    env=environment(), start_new_session=True,
                )
            )  # fmt: skip

    def run_an_agent_that_stops_its_keeper(self) -> None:
        self._run(self._cell().name, sys.executable, "-IS", "-c", STOPPER)

    def run_an_agent_whose_files_are_swapped(self) -> None:
        """The agent itself puts links to the canary where the run writes."""
        cell = self._cell()
        swaps = "; ".join(
            f"ln -sfn {self.canary} {cell / name}" for name in (names.LOG_FILE, names.PROOF_FILE, names.PROMPT_FILE)
        )
        self._run(
            cell.name,
            "sh",
            "-c",
            f"echo before; {swaps}; echo after; mv {cell}/logs {cell}/gone; ln -s {self.outside} {cell}/logs; echo end",
        )

    def kill_a_run(self) -> None:
        """With its keeper, as ``pkill -9`` does."""
        if self._runs:
            run = self.random.choice(self._runs)
            with contextlib.suppress(psutil.Error):
                for process in [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]:
                    process.kill()


def _is_large_or_shared(status: os.stat_result) -> bool:
    return status.st_blocks * 512 > KEPT_BYTES or status.st_nlink > 1


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


Hostility = Callable[[Hostile], None]
HOSTILITIES: Final[tuple[tuple[int, Hostility], ...]] = (
    (6, Hostile.put_a_link),
    (2, Hostile.put_a_hard_link),
    (2, Hostile.put_a_link_as_workcell),
    (5, Hostile.put_a_fifo),
    (4, Hostile.put_a_device),
    (2, Hostile.put_a_socket),
    (3, Hostile.put_a_directory),
    (6, Hostile.put_garbage),
    (1, Hostile.lie_in_the_roots_state),
    (2, Hostile.hold_a_lock),
    (2, Hostile.release_locks),
    (1, Hostile.take_the_rights_away),
    (12, Hostile.append),
    (8, Hostile.edit_in_place),
    (3, Hostile.cut),
    (2, Hostile.put_a_sparse_tail),
    (10, Hostile.grow_a_line),
    (5, Hostile.remove_and_make_again),
    (2, Hostile.run_an_agent_that_stops_its_keeper),
    (2, Hostile.run_an_agent_whose_files_are_swapped),
    (1, Hostile.kill_a_run),
)
"""Each with its weight."""
