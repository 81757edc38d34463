"""``hook``: reads one payload of Claude Code's hooks from stdin, and records it in the session's workcell.

It has to be fast, as the user's session waits for it, and must never exit with 2, by which a hook forbids the call.
So it parses its own options, and loads almost nothing.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from typing import Final

from workcast.broker.environment import read_environment
from workcast.cli.messages import say
from workcast.events.errors import WorkcastError
from workcast.producer.hooks.recorder import HookError, record

MAX_BYTES: Final = 8 << 20
"""Of a payload; the largest real ones have a few images, of some MB each."""
MAX_SECONDS: Final = 10.0
"""For the whole payload, which Claude Code writes at once."""


def run(words: Sequence[str]) -> int:
    """Record the payload on stdin; return the exit code, 0 or 1."""
    try:
        record(read_payload(), _root_option(words), read_environment())
    except WorkcastError as error:
        say(f"workcast hook: {error}")
        return 1
    except OSError as error:
        say(f"workcast hook: cannot write the log: {error}")
        return 1
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        say(f"workcast hook: the payload could not be recorded: {error}")
        return 1
    return 0


def read_payload(descriptor: int = 0, seconds: float = MAX_SECONDS) -> bytes:
    """Read stdin to its end.

    Raises:
        HookError: it is larger than 8 MiB, does not end in time, or cannot be read.
    """
    data = bytearray()
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise HookError(
                f"expected the end of the payload on stdin within {seconds:g} s, got {len(data)} bytes and no end; "
                "nothing was recorded"
            )
        try:
            piece = os.read(descriptor, 1 << 16)
        except OSError as error:
            raise HookError(f"expected a payload on stdin, which cannot be read: {error}") from error
        if not piece:
            return bytes(data)
        data += piece
        if len(data) > MAX_BYTES:
            raise HookError(
                f"expected a payload of at most {MAX_BYTES >> 20} MiB on stdin, got more; nothing was recorded"
            )


def _root_option(words: Sequence[str]) -> str | None:
    match list(words):
        case []:
            return None
        case ["--root", root] if root:
            return root
        case [word] if word.startswith("--root=") and len(word) > len("--root="):
            return word.removeprefix("--root=")
        case _:
            raise HookError(f"expected no option but --root DIR, got {' '.join(words)}")
