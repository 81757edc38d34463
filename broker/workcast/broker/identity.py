"""Decides whether a log is the one that was shown: a pure function of what is known about the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from workcast.broker.watermark import Watermark

Agreement = Literal["matches", "differs", "past end", "unknown"]
"""What a log says about a watermark: the line before the head is, or is not, the one that was shown; the log is
shorter; or there is no telling, because that line was pruned or its CRC was not kept."""

Kind = Literal["empty", "new", "same", "pruned", "other", "returned", "shortened", "edited", "copied"]
"""What a log is.

- ``empty``: it has no line yet.
- ``new``: nothing was shown of any log of this workcell.
- ``same``: the log that was shown.
- ``pruned``: the log that was shown, without its first lines.
- ``other``: another log, and its epoch says so.
- ``returned``: its epoch stood for an earlier log of the workcell.
- ``shortened``: its epoch was shown to be longer.
- ``edited``: another line was shown at an offset of its epoch.
- ``copied``: another file under its epoch, and no header vouches for the lines.
"""

_NEEDS_EPOCH: Final[frozenset[Kind]] = frozenset({"returned", "shortened", "edited", "copied"})


@dataclass(frozen=True, slots=True)
class Shown:
    """A watermark, and whether the log agrees with it; ``unknown`` for a watermark of another epoch."""

    watermark: Watermark
    agreement: Agreement = "unknown"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a log when its identity is decided."""

    inode: int = -1
    base: int = 0
    end: int = 0
    natural_epoch: int | None = None
    """The epoch that the first line gives; None if there is no line."""
    header_epoch: int | None = None
    """None if the first line is not a header."""
    written: tuple[int, ...] = ()
    """The epoch in the state file, and the epoch of the header that it replaces, if it replaces one."""
    retired: frozenset[int] = frozenset()
    """Epochs of earlier logs of the workcell."""
    noted: Shown | None = None
    """The watermark in the state directory."""
    checkpoint: Shown | None = None
    broker: Shown | None = None
    own: Shown | None = None
    """What this process has published or found published."""
    saw_replacement: bool = False
    """Whether this process has seen the file replaced, or rewritten, since ``own``."""
    sums_differ: bool = False
    """Whether the checksums of the log's epoch say that a line was edited since it was shown."""

    @property
    def epoch(self) -> int:
        """The log's epoch by its files: the header's, else the state file's, else that of the first line.

        A header's epoch yields only to one that was written to replace it, which says nothing of a log without that
        header. 0 if there is no line.
        """
        if self.natural_epoch is None:
            return 0
        replaced = () if self.header_epoch is None else (self.header_epoch,)
        if self.written and self.written[1:] == replaced:
            return self.written[0]
        return self.natural_epoch if self.header_epoch is None else self.header_epoch

    @property
    def shown(self) -> list[Shown]:
        """All watermarks that are known."""
        return [shown for shown in (self.own, self.checkpoint, self.broker, self.noted) if shown is not None]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a log is, and what follows from it."""

    kind: Kind
    epoch: int = 0
    """The log's epoch by its files; see :attr:`needs_epoch`."""
    retire: frozenset[int] = frozenset()
    """Epochs that stood for earlier logs and are not recorded as such yet."""
    head: int | None = None
    """Where to go on publishing; None if a window must begin."""
    replaces: int | None = None
    """The epoch in the broker that the log's epoch takes the place of."""
    moved: bool = False
    """Whether the noted watermark is of the file that was pruned, and must name the new file."""

    @property
    def needs_epoch(self) -> bool:
        """Whether the log must get a fresh epoch before any of its lines is shown."""
        return self.kind in _NEEDS_EPOCH

    @property
    def keeps_what_was_shown(self) -> bool:
        """Whether everything that was shown in the log's epoch is still true."""
        return self.kind in ("same", "pruned")


def decide(facts: Facts) -> Decision:
    """Decide what a log is. A reset too many is harmless; one too few shows lines that are not there."""
    if facts.end == facts.base:
        return Decision("empty")
    epoch, kind = facts.epoch, _kind(facts)
    in_force = None if kind in _NEEDS_EPOCH else epoch
    known = {epoch, *(shown.watermark.epoch for shown in facts.shown)}
    broker = facts.broker.watermark if facts.broker is not None else None
    noted = facts.noted.watermark if facts.noted is not None else None
    continues = broker is not None and broker.epoch == in_force and broker.head >= facts.base
    return Decision(
        kind,
        epoch,
        retire=frozenset(known - {in_force} - facts.retired),
        head=broker.head if broker is not None and continues else None,
        replaces=broker.epoch if broker is not None and broker.epoch != in_force else None,
        moved=noted is not None and noted.epoch == in_force and noted.inode != facts.inode,
    )


def _kind(facts: Facts) -> Kind:
    epoch = facts.epoch
    if epoch in facts.retired:
        return "returned"
    agreements = [shown.agreement for shown in facts.shown if shown.watermark.epoch == epoch]
    if "past end" in agreements:
        return "shortened"
    if "differs" in agreements or facts.sums_differ:
        return "edited"
    if not agreements:
        return "other" if facts.shown else "new"
    if not _is_another_file(facts):
        return "same"
    return "pruned" if _is_pruned(facts) else "copied"


def _is_another_file(facts: Facts) -> bool:
    """Whether the file is not the one whose lines were shown, or was rewritten: any line of it may have been edited.

    What this process saw counts only for the epoch in which it saw it.
    """
    if facts.noted is not None and facts.noted.watermark.inode != facts.inode:
        return True
    return facts.saw_replacement and facts.own is not None and facts.own.watermark.epoch == facts.epoch


def _is_pruned(facts: Facts) -> bool:
    """Whether another file is what a prune renamed into place: its header has a higher base than the file before."""
    if facts.header_epoch is None or (facts.own is not None and facts.own.watermark.inode == facts.inode):
        return False
    for shown in (facts.noted, facts.own, facts.broker):
        if shown is not None and shown.watermark.epoch == facts.epoch:
            return shown.watermark.inode == facts.inode or facts.base > shown.watermark.base
    return True
