"""The keeper as on a kernel without subreapers: a program to run in its place."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

if __name__ == "__main__":
    path = Path(__file__).parents[2] / "producer" / "workcast" / "producer" / "keeper.py"
    spec = spec_from_file_location("keeper", path)
    assert spec is not None
    assert spec.loader is not None
    keeper = module_from_spec(spec)
    sys.modules["keeper"] = keeper
    spec.loader.exec_module(keeper)
    keeper.become_subreaper = lambda *_: False  # type: ignore[attr-defined]
    keeper.main()
