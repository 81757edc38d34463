"""The workcells of several roots, as one gateway serves them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from workcast.broker.errors import RootError, WorkcellIdError
from workcast.broker.root import Root


class Roots:
    """Several roots, each workcell answered for by its own.

    Two roots may hold the same id if neither has a name: the first one is used, and the broker, which has its origin,
    refuses the relay of the other.

    Raises:
        RootError: no root is given, or two have the same directory or name.
    """

    def __init__(self, *roots: Root) -> None:
        if not roots:
            raise RootError("expected at least one root")
        for what in ("directory", "name"):
            given = Counter(str(getattr(root, what)) for root in roots)
            twice = next((value for value, times in given.items() if value and times > 1), None)
            if twice is not None:
                raise RootError(f"expected roots that differ, got the {what} {twice} twice")
        self.each = roots

    def ids(self) -> list[str]:
        """Return the ids of all workcells, sorted."""
        return sorted({workcell for root in self.each for workcell in root.ids()})

    def holding(self, workcell: str) -> Root | None:
        """Return the root that a workcell is in; None if no root has it.

        Raises:
            WorkcellIdError: the id is malformed.
        """
        return next((root for root in self.each if root.holds(workcell)), None)

    def of(self, workcell: str) -> Root:
        """Return the root that a workcell is in, or would be in.

        Raises:
            WorkcellIdError: the id is malformed, or not of one of these roots.
        """
        found = self.holding(workcell) or next((root for root in self.each if root.owns(workcell)), None)
        if found is None:
            raise WorkcellIdError(f"expected a workcell of one of these roots, got {workcell[:140]!r}")
        return found


def parse_root(given: Path) -> Root:
    """Parse ``DIR`` or ``NAME=DIR``; an existing directory whose own name has the latter form is taken as ``DIR``.

    Raises:
        RootError: the name is malformed.
    """
    name, equals, directory = str(given).partition("=")
    if not equals or "/" in name or given.is_dir():
        return Root(given)
    return Root(Path(directory), name)
