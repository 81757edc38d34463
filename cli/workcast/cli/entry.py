"""The program's entry: runs a verb, and ends with its exit code, whatever becomes of the standard streams.

``workcast hook`` goes straight to its own module, as each call of a tool waits for it.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn, TextIO

from workcast.cli.messages import say


def main() -> NoReturn:
    """Run the command line, and exit."""
    _open_closed_streams()
    words = sys.argv[1:]
    if words[:1] == ["hook"] and not {"-h", "--help"}.intersection(words):
        gc.disable()  # both save a fifth of a hook's time: collecting garbage, and taking the interpreter apart
        os._exit(_flush_output(_run_hook(words[1:])))
    try:
        code = _run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    sys.exit(_flush_output(code))


def _open_closed_streams() -> None:
    """Connect standard streams that the caller has closed to nowhere, before a log gets one of their descriptors."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)  # most likely the number itself, as the lowest that is free
            os.dup2(nowhere, number)
            os.set_inheritable(number, True)  # noqa: FBT003 - the library takes it by position
            if nowhere != number:
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _run_hook(words: list[str]) -> int:
    from workcast.cli.hook import run

    return run(words)


def _run() -> int:
    from workcast.cli.main import main as run_verb

    run_verb()
    return 0


def _flush_output(code: int) -> int:
    """Write what is buffered; return the exit code: 1 for a success whose output could not be written.

    Left to the interpreter, a stream that cannot be flushed makes the exit code 120, even where only a message on
    stderr is lost.
    """
    error = _flush(sys.stdout)
    if error is not None and error.errno != errno.EPIPE:
        say(f"workcast: cannot write to stdout: {error.strerror}")
    _flush(sys.stderr)
    return code or int(error is not None)


def _flush(stream: TextIO) -> OSError | None:
    """Flush a stream; if that fails, return the error and let the interpreter's last flush go nowhere."""
    try:
        stream.flush()
    except OSError as error:
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        return error
    return None
