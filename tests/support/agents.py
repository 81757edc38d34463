"""The four real agents for tests: their programs, and environments in which they talk only to a scripted model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from support.npm_packages import NODE, install, npm_platform, rust_target

CLAUDE_VERSION: Final = "2.1.330"
CODEX_VERSION: Final = "0.169.0"
GEMINI_VERSION: Final = "0.61.0"
OPENCODE_VERSION: Final = "1.18.33"


@dataclass(frozen=True)
class RealAgent:
    """One real agent, for tests that run all of them."""

    install: Callable[[], Path]
    env: Callable[[str, Path, Path], Mapping[str, str]]
    """Called with the model's URL, a home directory and the program."""
    options: Sequence[str] = ()
    """Options that make it work without asking for permission."""
    model: str | None = None
    """Its name for the scripted model; None: its default works."""


def install_claude(cache: Path | None = None) -> Path:
    """Install the ``claude`` program of the pinned version.

    Only the package with this platform's program is fetched: the public package is a wrapper that runs a script to
    copy it.
    """
    package = f"@anthropic-ai/claude-code-{npm_platform()}"
    name = f"claude-code-{CLAUDE_VERSION}"
    return install(name, f"{package}@{CLAUDE_VERSION}", Path(package, "claude"), cache)


def install_codex(cache: Path | None = None) -> Path:
    """Install the ``codex`` program of the pinned version, without its JavaScript wrapper."""
    alias = f"@openai/codex-{npm_platform()}"
    program = Path(alias, "vendor", rust_target(), "bin", "codex")
    package = f"{alias}@npm:@openai/codex@{CODEX_VERSION}-{npm_platform()}"
    return install(f"codex-{CODEX_VERSION}", package, program, cache)


def install_gemini(cache: Path | None = None) -> Path:
    """Install the ``gemini`` program of the pinned version: a script that needs ``node`` on PATH."""
    package = f"@google/gemini-cli@{GEMINI_VERSION}"
    return install(f"gemini-cli-{GEMINI_VERSION}", package, Path(".bin", "gemini"), cache)


def install_opencode(cache: Path | None = None) -> Path:
    """Install the ``opencode`` program of the pinned version, without its JavaScript wrapper."""
    package = f"opencode-{npm_platform()}"
    name = f"opencode-{OPENCODE_VERSION}"
    return install(name, f"{package}@{OPENCODE_VERSION}", Path(package, "bin", "opencode"), cache)


def _base_env(home: Path, program: Path | None, *more: Path) -> dict[str, str]:
    """Return what every agent needs: a home directory, and a PATH with its program, if any, and ``more`` folders."""
    folders = () if program is None else (program.parent, *more)
    return {
        "HOME": str(home),
        "PATH": os.pathsep.join([*map(str, folders), os.defpath]),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
    }


def claude_env(base_url: str, home: Path, program: Path | None = None) -> dict[str, str]:
    """An environment in which Claude Code talks only to ``base_url`` and keeps its files under ``home``.

    ``program`` is on its PATH as ``claude``; without a program, PATH has no agent.
    """
    return {
        **_base_env(home, program),
        "ANTHROPIC_BASE_URL": base_url,
        "ANTHROPIC_API_KEY": "dummy",
        "CLAUDE_CONFIG_DIR": str(home / ".claude"),
        "CLAUDE_CODE_MAX_RETRIES": "2",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_TELEMETRY": "1",
        "IS_SANDBOX": "1",  # otherwise it refuses to run as root with permissions bypassed
    }


def codex_env(base_url: str, home: Path, program: Path | None = None) -> dict[str, str]:
    """An environment in which Codex talks only to ``base_url`` and keeps its files under ``home``.

    ``program`` is on its PATH as ``codex``; without a program, PATH has no agent.
    """
    settings = home / ".codex"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "config.toml").write_text(CODEX_CONFIG.format(url=base_url))
    return {
        **_base_env(home, program),
        "CODEX_HOME": str(settings),
        "SCRIPTED_KEY": "dummy",
    }


def gemini_env(base_url: str, home: Path, program: Path | None = None) -> dict[str, str]:
    """An environment in which Gemini CLI talks only to ``base_url`` and keeps its files under ``home``.

    ``program`` is on its PATH as ``gemini``; without a program, PATH has no agent.
    """
    settings = home / ".gemini"
    settings.mkdir(parents=True, exist_ok=True)
    kept = {"security": {"auth": {"selectedType": "gemini-api-key"}}, "general": {"enableAutoUpdate": False}}
    kept |= {"privacy": {"usageStatisticsEnabled": False}, "telemetry": {"enabled": False}}
    (settings / "settings.json").write_text(json.dumps(kept))
    return {
        **_base_env(home, program, NODE),
        "GEMINI_API_KEY": "dummy",
        "GOOGLE_GEMINI_BASE_URL": base_url,
    }


def opencode_env(base_url: str, home: Path, program: Path | None = None) -> dict[str, str]:
    """An environment in which opencode talks only to ``base_url`` and keeps its files under ``home``.

    ``program`` is on its PATH as ``opencode``; without a program, PATH has no agent.
    """
    settings = home / ".config" / "opencode"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "opencode.json").write_text(json.dumps(_opencode_config(base_url)))
    return {
        **_base_env(home, program),
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
    }


def _opencode_config(base_url: str) -> dict[str, Any]:
    model = {
        "name": "Scripted",
        "limit": {"context": 200_000, "output": 8_000},
        "cost": {"input": 3, "output": 15, "cache_read": 0.3, "cache_write": 3.75},
    }
    provider = {
        "npm": "@ai-sdk/anthropic",
        "name": "Scripted",
        "options": {"baseURL": f"{base_url}/v1", "apiKey": "dummy"},
        "models": {"scripted-model": model},
    }
    return {"model": "scripted/scripted-model", "provider": {"scripted": provider}}


CODEX_CONFIG: Final = """\
model = "gpt-5.5"
model_provider = "scripted"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.scripted]
name = "scripted"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "SCRIPTED_KEY"
request_max_retries = 1
stream_max_retries = 1
"""


AGENTS: Final[Mapping[str, RealAgent]] = {
    "claude": RealAgent(install_claude, claude_env, ["--permission-mode", "bypassPermissions"]),
    "codex": RealAgent(install_codex, codex_env, ["--dangerously-bypass-approvals-and-sandbox"]),
    "gemini": RealAgent(install_gemini, gemini_env, model="gemini-2.5-pro"),
    "opencode": RealAgent(install_opencode, opencode_env, model="scripted/scripted-model"),
}
"""By the adapter's name."""
