"""The keeper: the agent's parent, a small process between it and the host, which ends whatever the agent started.

Agents run commands in sessions of their own, and a command's parent may be gone before the command is. On Linux the
keeper is the subreaper of all of them: a process that loses its parent becomes the keeper's child, whatever it did
about its session and its environment. So no process is missed, every zombie is reaped, and the host (the process that
runs the agent, which may be any program) need not become a subreaper itself. Elsewhere descendants are found by their
parents and by the mark in their environment.

The keeper outlives the host: when its control socket ends, because the host was killed, it ends the agent all the same.
Where there are subreapers it has a *backstop*, a process between the host and the keeper: a subreaper too, so that all
that a killed keeper leaves behind becomes its child, and is killed.

Run as a program of its own (``python -I -S keeper.py SOCKET [HELD]…``) that starts fast: only the standard library is
imported before there is something to end. SOCKET is the descriptor of its control socket, HELD are descriptors that it
keeps open until all is gone (a lock's). What goes over the socket:

==================  =================================================================================================
to the keeper       an :class:`Order` (its length in 4 bytes, then ``marshal``); then, one byte each, ``STOP``: end
                    everything, with a grace; ``KILL``: at once. The end of the socket means ``STOP``
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

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_PR_SET_CHILD_SUBREAPER: Final = 36
_NAME: Final = b"workcast-keeper"
"""Not ``python``: agents like to kill every process of that name."""
_BACKSTOP_NAME: Final = b"backstop"
"""Another one, so that not both are killed by their name."""
MAX_STOPS: Final = 3
"""A process that is stopped so often is under attack."""
_IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Meant for the host or the agent; the host reaches the keeper by its socket."""
_DEFAULT: Final = (*_IGNORED, signal.SIGPIPE, signal.SIGXFSZ)
"""The agent must find these as a shell leaves them; Python ignores the last two."""
_CHECK_HOST_S: Final = 1.0
"""How often to check that the host is alive: a fork of it could hold the socket open."""
_CHECK_LEFTOVERS_S: Final = 0.05
"""How often to check processes that are not the keeper's children, and cannot be waited for."""
_KILL_AGAIN_S: Final = 0.005
_GIVE_UP_S: Final = 10.0
"""A process that survives SIGKILL for so long waits for a device, or belongs to another user."""


class Order(NamedTuple):
    """What to start, and how to end it. The keeper's own working directory and standard streams are the agent's."""

    argv: list[bytes]
    env: dict[bytes, bytes]
    mark: str
    """The run's id, which ``env`` holds as :data:`~workcast.producer.leftovers.MARK`."""
    grace: float
    """Seconds between SIGTERM and SIGKILL for the agent."""
    leftover_grace: float
    """The same for the processes that it leaves behind."""
    host: int
    """The process id of the host."""
    packages: str
    """The directory that contains psutil."""


def encode(order: Order) -> bytes:
    """Return an order as it goes over the socket. Both ends run the same Python."""
    data = marshal.dumps(tuple(order))
    return len(data).to_bytes(HEADER_BYTES, "big") + data


def _receive(control: socket.socket) -> Order:
    def read(count: int) -> bytes:
        data = control.recv(count, socket.MSG_WAITALL)
        if len(data) < count:
            raise EOFError
        return data

    return Order(*marshal.loads(read(int.from_bytes(read(HEADER_BYTES), "big"))))  # noqa: S302 - the host wrote it


def become_subreaper(name: bytes = _NAME) -> bool:
    """Become the parent of every descendant that loses its own; False if the system cannot do that."""
    if sys.platform != "linux":
        return False
    import ctypes

    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, name, 0, 0, 0)
    done: int = libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return done == 0


def _spawn(order: Order) -> int:
    return os.posix_spawn(order.argv[0], order.argv, order.env, setsid=True, setsigmask=(), setsigdef=_DEFAULT)


def _spawn_bound(order: Order) -> int:
    """Start the agent so that the kernel kills it when the keeper dies, even if the host is dead by then."""
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    keeper = os.getpid()
    failed, failing = os.pipe()  # closed by a successful exec
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != keeper:
                os._exit(1)
            signal.set_wakeup_fd(-1)
            for number in (*_DEFAULT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execve(order.argv[0], order.argv, order.env)  # noqa: S606 - as given, by design
        except OSError as error:
            os.write(failing, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(failing)
    with os.fdopen(failed, "rb") as file:
        code = int(file.read() or 0)
    if code:
        os.waitpid(pid, 0)
        raise OSError(code, os.strerror(code))
    return pid


def _wake_up(number: int, frame: object) -> None:
    """Do nothing: only a signal that has a handler wakes the keeper by its pipe."""


class Keeper:
    """Keeps one agent.

    Raises:
        OSError: the agent cannot be started.
    """

    def __init__(self, control: socket.socket, order: Order, *, backstop: int | None) -> None:
        self._control = control
        self._order = order
        self._backstop = backstop
        self._woken = self._receive_deaths()
        self._poll = select.poll()  # select() refuses descriptors from 1024 on
        for descriptor in (control.fileno(), self._woken):
            self._poll.register(descriptor, select.POLLIN)
        self._reaps_all = become_subreaper()
        self._known: set[psutil.Process] = set()
        """Every descendant ever seen, where the keeper is not the parent of orphans."""
        self._loaded: ModuleType | None = None
        self._host_lives = True
        self._exited = False
        self._stopping = False
        self._kill_agent_at: float | None = None
        self._kill_all_at: float | None = None
        self._agent = _spawn_bound(order) if sys.platform == "linux" else _spawn(order)

    def run(self) -> None:
        """Keep the agent until it and everything that it started are gone."""
        self._report(f"started {self._agent}")
        while True:
            has_children = self._reap()
            now = time.monotonic()
            if self._exited and not has_children and (self._reaps_all or not self._find_left()):
                self._report("gone")
                return
            if self._stopping:
                self._continue_stopping(now)
            if self._kill_all_at is not None and now >= self._kill_all_at:
                left = self._find_left()
                if now >= self._kill_all_at + _GIVE_UP_S:
                    self._report(" ".join(["gone", *(str(process.pid) for process in left)]))
                    return
                self._leftovers.signal_all(left, signal.SIGKILL)
            self._wait(now)

    # ── ending ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _continue_stopping(self, now: float) -> None:
        """End the agent first, which may clean up and end its children itself; then what it leaves behind."""
        if not self._exited:
            if self._kill_agent_at is None:
                self._kill_agent_at = now + self._order.grace
                self._signal_agent(signal.SIGTERM)
            elif now >= self._kill_agent_at:
                self._signal_agent(signal.SIGKILL)
                if self._kill_all_at is None and now >= self._kill_agent_at + self._order.leftover_grace:
                    self._kill_all_at = now  # it does not die, and must not keep the others alive
        elif self._kill_all_at is None:
            self._kill_all_at = now + self._order.leftover_grace
            self._leftovers.signal_all(self._find_left(), signal.SIGTERM)

    def _signal_agent(self, number: signal.Signals) -> None:
        if not self._reaps_all:
            self._find_left()  # orphans cannot be found afterwards
        with suppress(OSError):  # a group of zombies alone, on macOS; or the agent has changed its user
            os.killpg(self._agent, number)  # it is not reaped yet, so the id is still its own

    def _reap(self) -> bool:
        """Collect the exit codes of children that have ended; False if there are no children any more."""
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
                self._report(f"exited {128 - code if code < 0 else code}")

    # ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────
    @staticmethod
    def _receive_deaths() -> int:
        """Return the descriptor of a pipe that is written to when a child ends."""
        woken, waker = os.pipe()
        for descriptor in (woken, waker):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, _wake_up)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        return woken

    def _wait(self, now: float) -> None:
        """Wait for an order, a death, or the time of the next step."""
        due = _CHECK_HOST_S
        for at in (self._kill_agent_at, self._kill_all_at):
            if at is not None:
                due = min(due, at - now if at > now else _KILL_AGAIN_S)
        if self._exited and not self._reaps_all:
            due = min(due, _CHECK_LEFTOVERS_S)
        ready = {descriptor for descriptor, _ in self._poll.poll(due * 1000)}
        if self._woken in ready:
            os.read(self._woken, 4096)
        if self._control.fileno() in ready:
            self._take_orders()
        elif self._host_lives and self._is_orphan():
            self._lose_host()

    def _is_orphan(self) -> bool:
        """Whether the host or the backstop was killed."""
        if self._backstop is None:
            return os.getppid() != self._order.host
        return os.getppid() != self._backstop or _parent_of(self._backstop) != self._order.host

    def _take_orders(self) -> None:
        try:
            orders = self._control.recv(64)
        except OSError:
            orders = b""
        if not orders:
            self._lose_host()
        self._stopping |= STOP in orders
        now = time.monotonic()
        if KILL in orders and (self._kill_all_at is None or now < self._kill_all_at):
            self._kill_all_at = now

    def _lose_host(self) -> None:
        if self._host_lives:
            self._poll.unregister(self._control.fileno())
        self._host_lives = False
        self._stopping = True

    def _report(self, text: str) -> None:
        with suppress(OSError):  # the host is gone
            self._control.sendall(text.encode() + b"\n")

    # ── finding leftovers ────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def _leftovers(self) -> Any:
        """:mod:`workcast.producer.leftovers`, loaded by its path: there is no package here."""
        if self._loaded is None:
            self._loaded = _load_leftovers(self._order)
        return self._loaded

    def _find_left(self) -> set[psutil.Process]:
        """Return the agent and everything that it started, as far as it is alive."""
        found: set[psutil.Process] = self._leftovers.descendants(os.getpid())
        if not self._reaps_all:
            self._known |= found | self._leftovers.marked(self._order.mark)
            found = {process for process in self._known if self._leftovers.lives(process)}
        return found


def _load_leftovers(order: Order) -> ModuleType:
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    sys.path.append(order.packages)
    spec = spec_from_file_location("leftovers", str(Path(__file__).with_name("leftovers.py")))
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - it is beside this file
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _parent_of(pid: int) -> int | None:
    """Return the parent of a process of Linux; None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib takes long to load
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return None


def back_up(keeper: int, order: Order) -> None:
    """Continue the keeper when something stops it; when it was killed, or is stopped too often, end all that it kept.

    Returns once the keeper has ended and none of that is left, or cannot be ended.
    """
    stops = 0
    while True:
        pid, status = os.waitpid(-1, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            stops += pid == keeper
            os.kill(pid, signal.SIGKILL if stops >= MAX_STOPS else signal.SIGCONT)
        elif pid == keeper:
            break
    if status == 0:
        return
    leftovers: Any = _load_leftovers(order)
    give_up_at = time.monotonic() + _GIVE_UP_S
    with suppress(ChildProcessError):  # there are none any more
        while time.monotonic() < give_up_at:
            leftovers.signal_all(leftovers.descendants(os.getpid()), signal.SIGKILL)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(_KILL_AGAIN_S)


def _leave_the_agents_files() -> None:
    """Release its directory and its standard streams: as long as its pipes are held, their readers see no end."""
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)


def main() -> None:
    """Take an order from the socket whose descriptor is the first argument, and carry it out."""
    descriptors = [int(word) for word in sys.argv[1:]]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the library takes it by position
    control = socket.socket(fileno=descriptors[0])
    try:
        order = _receive(control)
    except EOFError:  # the host was killed before it sent its order
        return
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    backstop = os.getpid() if become_subreaper(_BACKSTOP_NAME) else None
    if backstop is not None and (pid := os.fork()):
        control.close()  # the host must see its end with the keeper's
        _leave_the_agents_files()
        back_up(pid, order)
        return
    try:
        keeper = Keeper(control, order, backstop=backstop)
    except OSError as error:
        control.sendall(f"failed {error.errno}\n".encode())
        return
    _leave_the_agents_files()
    keeper.run()


if __name__ == "__main__":
    main()
    os._exit(0)  # there is nothing to clean up, which would take longer than the rest of an end
