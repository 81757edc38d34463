"""Adapters, the runner and the writer: from an agent's output to its log."""

from workcast.producer.writer import TelemetryWriter, read_telemetry_events

__all__ = ["TelemetryWriter", "read_telemetry_events"]
