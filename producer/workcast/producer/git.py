"""The user's own git, asked about a repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def git(repository: Path, *arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run git there, in plain English; its exit code is the caller's to judge.

    Raises:
        OSError: git cannot be started.
        subprocess.TimeoutExpired: it took longer than ``timeout`` seconds, and was killed.
    """
    # A git hook that starts us says GIT_DIR and more, which would turn git away from the repository that is meant.
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | {"LC_ALL": "C"}
    return subprocess.run(
        ["git", "-C", repository, *arguments],  # noqa: S607 - the user's own git, wherever it is
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=env,
        timeout=timeout,
    )
