"""Adapters, the runner and the writer: from an agent's output to its log.

Names are imported when they are first used: ``workcast hook`` needs neither pydantic nor Redis, and a program that
only writes a log needs no adapters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workcast.producer.runner import RunResult, run_agent
    from workcast.producer.writer import TelemetryWriter, read_telemetry_events

__all__ = ["RunResult", "TelemetryWriter", "read_telemetry_events", "run_agent"]


def __getattr__(name: str) -> object:
    if name in ("RunResult", "run_agent"):
        from workcast.producer import runner

        return getattr(runner, name)
    if name in ("TelemetryWriter", "read_telemetry_events"):
        from workcast.producer import writer

        return getattr(writer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
