"""A signal handler may wake what the code that it interrupted is waking, or starting.

Each case runs in a process of its own, which a deadlock would stop: its timer sends a real signal every 0.3 ms.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from workcast.broker.root import Root

WAKING = """
import signal, sys, threading
from pathlib import Path
from workcast.broker.bell import Bell
from workcast.broker.root import Root
from workcast.broker.watch import Alarm, InotifyWatcher, PortableWatcher

class Ring:
    def __init__(self, root):
        self._bell = Bell()
        self.wake = self._bell.ring
        self.wait = self._bell.wait

kinds = {"bell": Ring, "alarm": lambda root: Alarm("wc"), "inotify": InotifyWatcher, "portable": PortableWatcher}
woken = kinds[sys.argv[2]](Root(Path(sys.argv[1])))
count, over = 0, False

def interrupt(number, frame):
    global count
    count += 1
    woken.wake()
    signal.setitimer(signal.ITIMER_REAL, 0.0003)

def wait():
    while not over:
        woken.wait(60)  # each wake ends a wait

thread = threading.Thread(target=wait)
thread.start()
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.0003)
while count < 1000:
    woken.wake()
signal.signal(signal.SIGALRM, signal.SIG_IGN)
over = True
woken.wake()
thread.join()
print("over")
"""

STARTING = """
import signal, sys
from pathlib import Path
from workcast.producer import TelemetryWriter

path, url = Path(sys.argv[1]), sys.argv[2]
emitted = 0
writer = None

def emit():
    global emitted
    writer.emit("custom", {"n": 1})
    emitted += 1

def interrupt(number, frame):
    emit()
    signal.setitimer(signal.ITIMER_REAL, 0.0003)

signal.signal(signal.SIGALRM, interrupt)
for _ in range(20):  # the first event of each starts its relay
    with TelemetryWriter(path, redis_url=url) as writer:
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        emit()
        while emitted % 20:
            emit()
        signal.setitimer(signal.ITIMER_REAL, 0)
print(emitted)
"""


def run(source: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", source, *words], capture_output=True, timeout=60, check=True, text=True
    )
    return done.stdout.strip()


KINDS = ["bell", "alarm", "portable", *(["inotify"] if sys.platform == "linux" else [])]


@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_handler_may_wake_at_any_point_of_a_wake(root: Root, kind: str) -> None:
    assert run(WAKING, str(root.directory), kind) == "over"


def test_a_signal_handler_may_emit_while_the_relay_is_being_started(root: Root, redis_url: str) -> None:
    emitted = int(run(STARTING, str(root.log("wc")), redis_url))
    lines = root.log("wc").read_bytes().splitlines()
    assert len(lines) == emitted >= 20
