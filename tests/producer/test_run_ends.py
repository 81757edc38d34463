"""How each recorded run ended, according to its exit code and the last line that says so."""

from __future__ import annotations

import pytest

from support.recorded import BY_AGENT, of, recorded_events
from workcast.events.models import Completed, ErrorEvent

ENDS = {
    "claude": {
        "background": ("success", 0, 0),
        "badtool": ("success", 0, 0),
        "basic": ("success", 0, 0),
        "basic-hooks": ("success", 0, 0),
        "basic-nopartial": ("success", 0, 0),
        "drop": ("failed", 1, 1),
        "e529": ("failed", 1, 1),
        "flaky": ("success", 0, 0),
        "hangtext-sigterm": ("cancelled", 143, 0),
        "hangtool-sigint": ("cancelled", 0, 0),
        "hangtool-sigkill": ("failed", 137, 0),
        "maxturns": ("failed", 1, 1),
        "nasty": ("success", 0, 0),
        "plain-resume": ("success", 0, 0),
        "plain-sessionid": ("success", 0, 0),
        "refusal": ("success", 0, 0),
        "streamerror": ("success", 0, 0),
        "subagent": ("success", 0, 0),
        "subagent-foreground": ("success", 0, 0),
        "tools": ("success", 0, 0),
    },
    "codex": {
        "badtool": ("success", 0, 0),
        "basic": ("success", 0, 0),
        "e429": ("failed", 1, 1),
        "hangtool-group-sigterm": ("cancelled", 143, 0),
        "hangtool-sigint": ("cancelled", 1, 0),
        "mcp-gpt6": ("success", 0, 0),
        "model-unknown": ("success", 0, 0),
        "nasty": ("success", 0, 0),
        "resume": ("success", 0, 0),
        "tools": ("success", 0, 0),
    },
    "gemini": {
        "badtool": ("success", 0, 0),
        "basic": ("success", 0, 0),
        "drop": ("failed", 0, 1),
        "e400": ("failed", 144, 1),
        "e401": ("failed", 145, 1),
        "edges": ("success", 0, 0),
        "flaky": ("success", 0, 0),
        # Recorded with signals from outside: the adapter does not learn that the agent was stopped.
        "hangtext-group-sigterm": ("failed", 0, 0),
        "hangtool-group-sigint": ("failed", 0, 0),
        "hangtool-group-sigkill": ("failed", 137, 0),
        "late500": ("failed", 0, 0),
        "maxtokens": ("success", 0, 0),
        "mcp": ("success", 0, 0),
        "nasty": ("success", 0, 0),
        "subagent": ("success", 0, 0),
        "tools": ("success", 0, 0),
    },
    "opencode": {
        "badtool": ("success", 0, 0),
        "basic": ("success", 0, 0),
        "drop": ("success", 0, 0),
        "e400": ("failed", 1, 1),
        "e401": ("failed", 1, 1),
        "edges": ("success", 0, 0),
        "flaky": ("success", 0, 0),
        "hangtext-group-sigint": ("cancelled", 130, 0),
        "hangtext-group-sigterm": ("cancelled", 143, 0),
        "hangtool-group-sigkill": ("failed", 137, 0),
        "late500": ("failed", 1, 1),
        "maxtokens": ("success", 0, 0),
        "mcp": ("success", 0, 0),
        "nasty": ("success", 0, 0),
        "refusal": ("failed", 1, 1),
        "streamerror": ("failed", 1, 1),
        "subagent": ("success", 0, 0),
        "tools": ("success", 0, 0),
    },
}
"""By agent and scenario: status, exit code, and the number of errors that are not retryable."""


@pytest.mark.parametrize(("agent", "scenario"), [(agent, scenario) for agent in ENDS for scenario in ENDS[agent]])
def test_a_run_ends_according_to_its_exit_and_its_output(agent: str, scenario: str) -> None:
    events = recorded_events(BY_AGENT[agent][scenario])
    completed = of(Completed, events)[0]
    errors = sum(error.retryable is False for error in of(ErrorEvent, events))
    assert (completed.status, completed.exit_code, errors) == ENDS[agent][scenario]


@pytest.mark.parametrize("agent", BY_AGENT)
def test_every_recording_has_its_end_in_the_table_above(agent: str) -> None:
    assert set(ENDS[agent]) == set(BY_AGENT[agent])
