"""The errors of runs, agents and recordings."""

from __future__ import annotations

from typing import ClassVar

from workcast.events.errors import WorkcastError


class UnknownAgentError(WorkcastError, LookupError):
    """No adapter has this name."""

    exit_code: ClassVar[int] = 2


class AgentNotInstalledError(WorkcastError):
    """The agent's program is not on PATH; the message says how to install it."""

    exit_code: ClassVar[int] = 127


class EmptyPromptError(WorkcastError, ValueError):
    """The prompt is empty."""

    exit_code: ClassVar[int] = 2


class WorkcellBusyError(WorkcastError):
    """Another process writes this workcell's log."""


class OptionError(WorkcastError, ValueError):
    """An option for the agent contradicts one that workcast passes itself."""

    exit_code: ClassVar[int] = 2


class WorktreeError(WorkcastError):
    """A git worktree cannot be made; the message says why."""


class RecordingError(WorkcastError):
    """A recording is missing, or its timing or meta file cannot be read."""


class DemoError(WorkcastError):
    """The demo cannot play in a root: another log is in one of its workcells, or its logs cannot be written."""
