"""What an agent, a clone or another user can put in place of a file of a root."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from workcast.broker import names
from workcast.broker.names import state_file, watch_lock_file
from workcast.broker.root import Root

OTHER_USER: Final = 65534
CELL: Final = "victim"


def _in_cell(name: str) -> Callable[[Root, str], Path]:
    return lambda root, cell: root.workcells / cell / name


def _of_cell(suffix: str) -> Callable[[Root, str], Path]:
    return lambda root, cell: root.state / state_file(cell, suffix)


def _in_state(name: str) -> Callable[[Root, str], Path]:
    return lambda root, _: root.state / name


PLACES: Final[Mapping[str, Callable[[Root, str], Path]]] = {
    "WORKCELLS_DIRECTORY": lambda root, _: root.workcells,
    "STATE_DIRECTORY": lambda root, _: root.state,
    "GITIGNORE_FILE": lambda root, _: root.workcells / names.GITIGNORE_FILE,
    "OUTPUT_DIRECTORY": _in_cell(names.OUTPUT_DIRECTORY),
    "IGNORED_FILE": _in_cell(f"{names.OUTPUT_DIRECTORY}/{names.IGNORED_FILE}"),
    **{
        name: _in_cell(getattr(names, name))
        for name in ("LOG_FILE", "PROMPT_FILE", "PROOF_FILE", "RUN_LOCK_FILE", "DEMO_FILE")
    },
    **{
        name: _in_state(getattr(names, name))
        for name in (
            "ORIGIN_FILE", "UP_STATE_FILE", "UP_LOCK_FILE", "BROKER_STATE_FILE", "REMOVAL_LOCK_FILE",
            "REMOVED_DIRECTORY", "ENDED_LOGS_FILE", "INDEX_FILE", "INDEX_LOCK_FILE",
        )
    },
    **{
        name: _of_cell(getattr(names, name))
        for name in (
            "INDEX_SUFFIX", "EPOCH_SUFFIX", "RETIRED_SUFFIX", "WATERMARK_SUFFIX", "SUMS_SUFFIX",
            "CHECKPOINT_SUFFIX", "TRANSCRIPT_SUFFIX", "SESSION_LOCK_SUFFIX", "SESSION_INDEX_SUFFIX",
        )
    },
    "watch_lock_file": _in_state(watch_lock_file("claude")),
}  # fmt: skip
"""Where each name of :mod:`workcast.broker.names` is opened, by the name of its constant or function."""
OF_ONE_CELL: Final = tuple(
    name
    for name in PLACES
    if PLACES[name](Root(Path("/r")), "a") != PLACES[name](Root(Path("/r")), "b") and name != "IGNORED_FILE"
)
"""Names whose file belongs to one workcell."""


def named_places() -> set[str]:
    """Return the names of all constants and functions of the module of names that name a file or a directory."""
    ends = ("_FILE", "_DIRECTORY", "_SUFFIX", "_lock_file")
    return {name for name in vars(names) if name.endswith(ends)}


def link_to_itself(path: Path, outside: Path) -> None:
    del outside
    path.symlink_to(path.name)


def link_to_a_file(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "profile")


def link_to_a_directory(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def dangling_link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "nothing")


def fifo(path: Path, outside: Path) -> None:
    del outside
    os.mkfifo(path)


def socket_file(path: Path, outside: Path) -> None:
    del outside
    here = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{here}/{path.name}")  # the path itself may be too long
    finally:
        os.close(here)


def directory(path: Path, outside: Path) -> None:
    del outside
    path.mkdir()
    (path / "kept").write_text("kept")


def device(path: Path, outside: Path) -> None:
    del outside
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero: it has no end


def file_of_another_user(path: Path, outside: Path) -> None:
    del outside
    path.write_bytes(b"")
    path.chmod(0o666)
    os.chown(path, OTHER_USER, OTHER_USER)


AS_ROOT: Final = (device, file_of_another_user)
KINDS: Final = (
    link_to_itself, link_to_a_file, link_to_a_directory, dangling_link, fifo, socket_file, directory,
    *(AS_ROOT if os.geteuid() == 0 else ()),
)  # fmt: skip


def make_outside(directory: Path) -> Path:
    """Make what must not be touched."""
    directory.mkdir()
    (directory / "profile").write_bytes(b"# of a shell\n")
    (directory / "telemetry.jsonl").write_bytes(b'{"type":"secret"}\n')
    return directory


def is_untouched(outside: Path) -> bool:
    """Whether nothing was written, made or removed there."""
    found = {path.name: path.read_bytes() for path in outside.iterdir()}
    return found == {"profile": b"# of a shell\n", "telemetry.jsonl": b'{"type":"secret"}\n'}
