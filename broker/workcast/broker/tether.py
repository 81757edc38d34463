"""A launcher that ties a server to the life of the thread that starts it (Linux).

Run as a program of its own: ``python -I -S tether.py PARENT PROGRAM [ARGUMENT]…`` asks the kernel to kill this process
when the thread that started it ends, and becomes PROGRAM. Asking in a program of its own is safe where asking between
fork and exec is not: beside threads, any lock may be held there for ever.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def tethered(command: Sequence[str]) -> list[str]:
    """Return the command that runs ``command`` tethered to the calling thread; on other systems ``command`` itself."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main() -> None:
    """Tether this process, and become the program."""
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        return  # the parent ended before the tie was made
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and the program would inherit that
        signal.signal(number, signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606 - no shell: that is the point


if __name__ == "__main__":
    main()
