"""Reports, once, a state file that is not as workcast wrote it.

It is then ignored, and what it held is found out again: a clone or an agent may have put anything there.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from workcast.broker.below import OddFileError, is_directory_below
from workcast.broker.warn_once import WarnOnce

_warnings: Final = WarnOnce(logging.getLogger("workcast.state"))


def ignore(path: Path, error: Exception) -> None:
    """Report that a state file is ignored; not if it is only missing or another user's, or its directory is odd."""
    is_elsewhere = isinstance(error, OddFileError) and not is_directory_below(path.parent)
    if not is_elsewhere and not isinstance(error, FileNotFoundError | PermissionError):
        why = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        _warnings.warn(str(path), f"{path} is ignored, as it is not what workcast wrote there: {why}")
