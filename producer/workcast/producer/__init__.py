"""Adapters, the runner and the writer: from an agent's output to its log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workcast.producer.writer import TelemetryWriter, read_telemetry_events

if TYPE_CHECKING:
    from workcast.producer.runner import RunResult, run_agent

__all__ = ["RunResult", "TelemetryWriter", "read_telemetry_events", "run_agent"]


def __getattr__(name: str) -> object:
    """The runner, for those who ask for it: who only writes a log is not to wait for the adapters to load."""
    if name in ("RunResult", "run_agent"):
        from workcast.producer import runner

        return getattr(runner, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
