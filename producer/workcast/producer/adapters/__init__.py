"""The agents that workcast supports. To add one, write a module and add a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from workcast.producer.adapters.base import Adapter
from workcast.producer.adapters.claude import ClaudeAdapter
from workcast.producer.adapters.codex import CodexAdapter
from workcast.producer.adapters.exec import ExecAdapter
from workcast.producer.adapters.gemini import GeminiAdapter
from workcast.producer.adapters.opencode import OpencodeAdapter
from workcast.producer.errors import UnknownAgentError

ADAPTERS: Final[Mapping[str, type[Adapter]]] = MappingProxyType(
    {
        "claude": ClaudeAdapter,
        "codex": CodexAdapter,
        "gemini": GeminiAdapter,
        "opencode": OpencodeAdapter,
        "exec": ExecAdapter,
    }
)


def adapter_for(agent: str) -> type[Adapter]:
    """Return the adapter of an agent.

    Raises:
        UnknownAgentError: no agent has this name.
    """
    try:
        return ADAPTERS[agent]
    except KeyError:
        raise UnknownAgentError(f"expected one of {', '.join(ADAPTERS)} as the agent, got {agent!r}") from None
