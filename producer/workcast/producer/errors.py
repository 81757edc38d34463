"""What the producer raises on purpose, under the one root :class:`workcast.broker.errors.WorkcastError`."""

from __future__ import annotations

from workcast.events.errors import WorkcastError


class UnknownAgentError(WorkcastError, LookupError):
    """No adapter has this name."""


class AgentNotInstalledError(WorkcastError):
    """The agent's program is not on PATH; the message says how to install it."""


class EmptyPromptError(WorkcastError, ValueError):
    """There is nothing for the agent to do."""


class WorkcellBusyError(WorkcastError):
    """Another run writes this workcell's log."""


class OptionError(WorkcastError, ValueError):
    """An option for the agent says otherwise than one that workcast gives to it."""


class LimitError(WorkcastError, ValueError):
    """A limit of a run makes no sense, or nobody could tell whether it is kept."""


class WorktreeError(WorkcastError):
    """A git worktree cannot be made; the message says why."""


class RecordingError(WorkcastError):
    """A recording is missing, or its timing or meta file cannot be read."""
