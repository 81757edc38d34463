"""Running the user's own git on a repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def git(repository: Path, *arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run git in a repository, with English messages; the caller checks its exit code.

    Raises:
        OSError: git cannot be started.
        subprocess.TimeoutExpired: git took longer than ``timeout`` seconds, and was killed.
    """
    # A git hook that starts this process sets GIT_DIR and more, which would point git at another repository.
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | {"LC_ALL": "C"}
    return subprocess.run(
        ["git", "-C", repository, *arguments],  # noqa: S607 - the user's own git, wherever it is
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=env,
        timeout=timeout,
    )
