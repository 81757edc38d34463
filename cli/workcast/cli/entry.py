"""The program's entry: ``workcast hook`` goes straight to its own module, as each call of a tool waits for it."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; a hook alone, without what the other verbs need."""
    words = sys.argv[1:]
    if words[:1] == ["hook"] and not {"-h", "--help"}.intersection(words):
        from workcast.cli.hook import run

        sys.exit(run(words[1:]))
    from workcast.cli.main import main as run_verb

    run_verb()
