"""``hook``: reads one payload of Claude Code's hooks from stdin, and records it in the session's workcell.

It has to be fast, as the user's session waits for it, and must never exit with 2, by which a hook forbids the call.
So it parses its own options, and loads almost nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from workcast.broker.environment import read_environment
from workcast.cli.messages import say
from workcast.events.errors import WorkcastError
from workcast.producer.hooks.recorder import HookError, record


def run(words: Sequence[str]) -> int:
    """Record the payload on stdin; return the exit code, 0 or 1."""
    try:
        record(sys.stdin.buffer.read(), _root_option(words), read_environment())
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
