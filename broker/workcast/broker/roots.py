"""Several roots behind one gateway: the workcells of all of them, each in its own root."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from workcast.broker.errors import RootError, WorkcellIdError
from workcast.broker.root import Root


class Roots:
    """What a gateway asks of a root, answered by the one that a workcell is in.

    Two roots may hold the same id if neither has a name: then the first one's is meant, and the relay of the other is
    refused by the broker, which knows the first one's origin.

    Raises:
        RootError: there is none, or two have the same directory or name.
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
        """The ids of all workcells there are, sorted."""
        return sorted({workcell for root in self.each for workcell in root.ids()})

    def holding(self, workcell: str) -> Root | None:
        """The root that a workcell is in.

        Raises:
            WorkcellIdError: the id is malformed.
        """
        return next((root for root in self.each if root.holds(workcell)), None)

    def of(self, workcell: str) -> Root:
        """The root that a workcell is in, or would be.

        Raises:
            WorkcellIdError: the id is malformed, or of no root here.
        """
        found = self.holding(workcell) or next((root for root in self.each if root.owns(workcell)), None)
        if found is None:
            raise WorkcellIdError(f"expected a workcell of one of these roots, got {workcell[:140]!r}")
        return found


def parse_root(given: Path) -> Root:
    """The root that ``DIR`` or ``NAME=DIR`` stands for; a directory whose own name has such a form is meant itself.

    Raises:
        RootError: the name is malformed.
    """
    name, equals, directory = str(given).partition("=")
    if not equals or "/" in name or given.is_dir():
        return Root(given)
    return Root(Path(directory), name)
