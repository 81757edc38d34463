"""The keeper: the agent's parent, a small process between it and us, which ends whatever the agent started.

Agents run commands in sessions of their own, and a command's parent may be gone before the command is. On Linux the
keeper is the subreaper of all of it: whoever loses its parent becomes the keeper's child, whatever it did about its
session and its environment, so nobody is missed and every zombie is reaped, and the program that runs the agent, which
may be anybody's, need not become one. Elsewhere descendants are looked for by parentage and by their mark.

It also outlives us: when its control socket ends, because we were killed, it ends the agent, all the same.

Run as a program of its own (``python -I -S keeper.py SOCKET [HELD]…``) that starts fast: nothing but the standard
library is imported before there is something to end. Descriptors that it is to hold until then (a lock) are named after
that of its control socket. What goes over the socket:

==================  =================================================================================================
to the keeper       an :class:`Order` (its length in 4 bytes, then ``marshal``); then, one byte each, ``STOP``: end
                    it all, with a grace; ``KILL``: at once. The end of the socket means ``STOP``
from the keeper     ``started PID`` or ``failed ERRNO``; ``exited CODE``, of the agent; last ``gone``, with the
                    ids of processes that could not be ended
==================  =================================================================================================
"""

from __future__ import annotations

import marshal
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from types import ModuleType

    import psutil

STOP: Final = b"s"
KILL: Final = b"k"
HEADER_BYTES: Final = 4

_PR_SET_NAME: Final = 15
_PR_SET_CHILD_SUBREAPER: Final = 36
_NAME: Final = b"workcast-keeper"
"""Not ``python``, which agents like to kill all of."""
_IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Meant for us or for the agent: we tell the keeper by its socket."""
_DEFAULT: Final = (*_IGNORED, signal.SIGPIPE, signal.SIGXFSZ)
"""What the agent is to find as a shell would have left it; Python ignores the last two."""
_LOOK_S: Final = 1.0
"""How often is looked whether our parent lives: a fork of it could hold the socket open."""
_POLL_S: Final = 0.05
"""How often is looked for those who are not our children, and cannot be waited for."""
_KILL_S: Final = 0.005
_GIVE_UP_S: Final = 10.0
"""A process that KILL does not end for so long waits for a device, or belongs to somebody else."""


class Order(NamedTuple):
    """What to start, and how to end it. The working directory and the three standard streams are the keeper's own."""

    argv: list[bytes]
    env: dict[bytes, bytes]
    mark: str
    """The value of :data:`~workcast.producer.leftovers.MARK` in ``env``."""
    grace: float
    """Seconds between SIGTERM and SIGKILL for the agent."""
    leftover_grace: float
    """The same for what it leaves behind."""
    host: int
    """The process that wants it."""
    packages: str
    """The directory that psutil is in."""


def encode(order: Order) -> bytes:
    """An order as it goes over the socket. Both ends run the same Python."""
    data = marshal.dumps(tuple(order))
    return len(data).to_bytes(HEADER_BYTES, "big") + data


def _receive(control: socket.socket) -> Order:
    def read(count: int) -> bytes:
        data = control.recv(count, socket.MSG_WAITALL)
        if len(data) < count:
            raise EOFError
        return data

    return Order(*marshal.loads(read(int.from_bytes(read(HEADER_BYTES), "big"))))  # noqa: S302 - our parent wrote it


def become_subreaper() -> bool:
    """Become the parent of every descendant that loses its own; False where the kernel does not know that."""
    if sys.platform != "linux":
        return False
    import ctypes

    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, _NAME, 0, 0, 0)
    done: int = libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return done == 0


def _wake_up(number: int, frame: object) -> None:
    """Nothing: without a handler the descriptor that wakes us would hear of no death."""


class Keeper:
    """Keeps one agent.

    Raises:
        OSError: the agent cannot be started.
    """

    def __init__(self, control: socket.socket, order: Order) -> None:
        self._control = control
        self._order = order
        self._woken, waker = os.pipe()
        for descriptor in (self._woken, waker):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, _wake_up)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        self._reaps_all = become_subreaper()
        self._known: set[psutil.Process] = set()
        """Where orphans are not ours: who was a descendant once."""
        self._loaded: ModuleType | None = None
        self._host_lives = True
        self._exited = False
        self._stopping = False
        self._kill_agent_at: float | None = None
        self._kill_all_at: float | None = None
        self._agent = os.posix_spawn(
            order.argv[0], order.argv, order.env, setsid=True, setsigmask=(), setsigdef=_DEFAULT
        )

    def run(self) -> None:
        """Until all of it is gone."""
        self._say(f"started {self._agent}")
        while True:
            has_children = self._reap()
            now = time.monotonic()
            if self._exited and not has_children and (self._reaps_all or not self._left()):
                self._say("gone")
                return
            if self._stopping:
                self._go_on_ending(now)
            if self._kill_all_at is not None and now >= self._kill_all_at:
                left = self._left()
                if now >= self._kill_all_at + _GIVE_UP_S:
                    self._say(" ".join(["gone", *(str(process.pid) for process in left)]))
                    return
                self._leftovers.signal_all(left, signal.SIGKILL)
            self._wait(now)

    def _go_on_ending(self, now: float) -> None:
        """The agent first: it may put its things in order, and end its children itself."""
        if not self._exited:
            if self._kill_agent_at is None:
                self._kill_agent_at = now + self._order.grace
                self._signal_agent(signal.SIGTERM)
            elif now >= self._kill_agent_at:
                self._signal_agent(signal.SIGKILL)
                if self._kill_all_at is None and now >= self._kill_agent_at + self._order.leftover_grace:
                    self._kill_all_at = now  # it does not die, and is not to keep the others alive
        elif self._kill_all_at is None:
            self._kill_all_at = now + self._order.leftover_grace
            self._leftovers.signal_all(self._left(), signal.SIGTERM)

    def _signal_agent(self, number: signal.Signals) -> None:
        if not self._reaps_all:
            self._left()  # orphans cannot be traced afterwards
        with suppress(OSError):  # a group of zombies alone, on macOS; or it has changed its user
            os.killpg(self._agent, number)  # it is not reaped yet: the number is still its own

    def _wait(self, now: float) -> None:
        """For an order, a death, or what is to be done next."""
        due = _LOOK_S
        for at in (self._kill_agent_at, self._kill_all_at):
            if at is not None:
                due = min(due, at - now if at > now else _KILL_S)
        if self._exited and not self._reaps_all:
            due = min(due, _POLL_S)
        control = self._control.fileno()
        ready, _, _ = select.select([self._woken, control] if self._host_lives else [self._woken], [], [], due)
        if self._woken in ready:
            os.read(self._woken, 4096)
        if control in ready:
            self._take_orders()
        elif self._host_lives and os.getppid() != self._order.host:
            self._lose_host()

    def _take_orders(self) -> None:
        try:
            said = self._control.recv(64)
        except OSError:
            said = b""
        if not said:
            self._lose_host()
        self._stopping |= STOP in said
        now = time.monotonic()
        if KILL in said and (self._kill_all_at is None or now < self._kill_all_at):
            self._kill_all_at = now

    def _lose_host(self) -> None:
        self._host_lives = False
        self._stopping = True

    def _say(self, text: str) -> None:
        with suppress(OSError):  # the host is gone
            self._control.sendall(text.encode() + b"\n")

    def _reap(self) -> bool:
        """Ask for the exit codes of the dead, so that none stays a zombie; False if we have no child any more."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._agent:
                self._exited = True
                code = os.waitstatus_to_exitcode(status)
                self._say(f"exited {128 - code if code < 0 else code}")

    # ── finding the others ───────────────────────────────────────────────────────────────────────────────────────────
    @property
    def _leftovers(self) -> Any:
        """:mod:`workcast.producer.leftovers`, loaded without its package, which would load all that a writer needs."""
        if self._loaded is None:
            from importlib.util import module_from_spec, spec_from_file_location
            from pathlib import Path

            sys.path.append(self._order.packages)
            spec = spec_from_file_location("leftovers", str(Path(__file__).with_name("leftovers.py")))
            assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - it lies beside this file
            self._loaded = module_from_spec(spec)
            spec.loader.exec_module(self._loaded)
        return self._loaded

    def _left(self) -> set[psutil.Process]:
        """All that lives of what the agent started, and it itself."""
        found: set[psutil.Process] = self._leftovers.descendants(os.getpid())
        if not self._reaps_all:
            self._known |= found | self._leftovers.marked(self._order.mark)
            found = {process for process in self._known if self._leftovers.lives(process)}
        return found


def main() -> None:
    """Take an order from the socket whose descriptor is the first argument, and see it through."""
    given = int(sys.argv[1])
    control = socket.socket(fileno=os.dup(given))  # a low number, as select wants it, which the agent does not inherit
    os.close(given)
    for held in sys.argv[2:]:
        os.set_inheritable(int(held), False)  # noqa: FBT003 - the library takes it by position
    try:
        keeper = Keeper(control, _receive(control))
    except EOFError:  # our parent was killed before it could say what it wanted
        return
    except OSError as error:
        control.sendall(f"failed {error.errno}\n".encode())
        return
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):  # the agent's: as long as we hold its pipe, nobody sees the end of it
        os.dup2(nowhere, number)
    keeper.run()


if __name__ == "__main__":
    main()
