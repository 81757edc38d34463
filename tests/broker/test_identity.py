"""Whether a log is the one that was shown: every case that the documents describe, and what holds in all others."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workcast.broker.identity import Agreement, Decision, Facts, Kind, Shown, decide
from workcast.broker.watermark import Watermark

E, F, OLD = 11, 22, 33
"""The epoch of the first line, another one, and one of an earlier log."""
FILE, COPY = 5, 6
"""The inode of the file whose lines were shown, and of another one."""


def shown(
    head: int = 30,
    agreement: Agreement = "matches",
    epoch: int = E,
    base: int = 0,
    inode: int | None = None,
    crc: int | None = 1,
) -> Shown:
    return Shown(Watermark(epoch, head, crc, base, inode), agreement if epoch == E else "unknown")


def log(
    end: int = 30,
    base: int = 0,
    inode: int = FILE,
    header: int | None = None,
    written: tuple[int, ...] = (),
    retired: frozenset[int] = frozenset(),
    noted: Shown | None = None,
    checkpoint: Shown | None = None,
    broker: Shown | None = None,
    own: Shown | None = None,
    *,
    saw_replacement: bool = False,
    sums_differ: bool = False,
) -> Facts:
    return Facts(
        inode, base, end, E, header, written, retired, noted, checkpoint, broker, own, saw_replacement, sums_differ
    )  # fmt: skip


NOTED = shown(inode=FILE)


@dataclass(frozen=True)
class Case:
    """Facts as a document describes them, and the decision that it promises."""

    name: str
    facts: Facts
    kind: Kind
    epoch: int = E
    head: int | None = None
    replaces: int | None = None
    retire: frozenset[int] = field(default_factory=frozenset[int])


CASES = [
    # ── no line, first lines ──
    Case("a log without a line", Facts(), "empty", 0),
    Case("a log whose lines were all pruned", log(base=30, header=E, noted=NOTED), "empty", 0),
    Case("a new log", log(), "new"),
    Case("a new log with a header", log(header=F), "new", F),
    # ── the same log ──
    Case("a relay starts again", log(noted=NOTED, broker=shown()), "same", head=30),
    Case("a log that has grown", log(end=50, noted=NOTED, broker=shown()), "same", head=30),
    Case("another relay is further", log(noted=NOTED, own=shown(10, inode=FILE), broker=shown()), "same", head=30),
    Case("Redis was flushed", log(noted=NOTED, own=shown(inode=FILE)), "same"),
    Case("a failover to a replica that is behind", log(noted=NOTED, broker=shown(20)), "same", head=20),
    Case("a stream that expired", log(noted=NOTED, broker=shown(crc=None, agreement="unknown")), "same", head=30),
    Case("the state directory was deleted", log(broker=shown()), "same", head=30),
    Case("the mark is lost, the checkpoint is not", log(checkpoint=shown(20)), "same"),
    Case("the epoch in the state file", log(written=(F,), noted=shown(epoch=F, inode=FILE)), "same", F),
    Case("the broker still has an earlier log", log(noted=NOTED, broker=shown(epoch=F)), "same", replaces=F,
         retire=frozenset({F})),
    # ── truncated, edited, replaced ──
    Case("a truncated log", log(end=10, noted=shown(agreement="past end", inode=FILE)), "shortened",
         retire=frozenset({E})),
    Case("truncated, and only the broker shows it", log(end=10, broker=shown(agreement="past end")), "shortened",
         replaces=E, retire=frozenset({E})),
    Case("rewritten with the same first line", log(end=80, noted=shown(agreement="differs", inode=FILE)), "edited",
         retire=frozenset({E})),
    Case("the lines that another relay published were edited",
         log(noted=shown(agreement="differs", inode=FILE), own=shown(10, inode=FILE)), "edited",
         retire=frozenset({E})),
    Case("edited after a failover took the broker back", log(noted=shown(agreement="differs", inode=FILE),
         broker=shown(10)), "edited", replaces=E, retire=frozenset({E})),
    Case("edited, and only the checkpoint shows it", log(checkpoint=shown(agreement="differs")), "edited",
         retire=frozenset({E})),
    Case("a line in the middle was edited in place", log(noted=NOTED, own=shown(inode=FILE), broker=shown(),
         sums_differ=True), "edited", replaces=E, retire=frozenset({E})),
    Case("edited in the middle, and only the sums are left of what was shown", log(sums_differ=True), "edited",
         retire=frozenset({E})),
    Case("edited in the middle, and then pruned", log(base=10, inode=COPY, header=E, noted=NOTED, broker=shown(),
         sums_differ=True), "edited", replaces=E, retire=frozenset({E})),
    Case("an edited copy renamed into place", log(inode=COPY, noted=NOTED, broker=shown()), "copied", replaces=E,
         retire=frozenset({E})),
    Case("restored from a copy", log(inode=COPY, noted=NOTED), "copied", retire=frozenset({E})),
    Case("edited in place under a running relay", log(noted=NOTED, own=shown(inode=FILE), saw_replacement=True),
         "copied", retire=frozenset({E})),
    Case("another log with another first line", log(inode=COPY, noted=shown(epoch=F, inode=FILE),
         broker=shown(epoch=F)), "other", replaces=F, retire=frozenset({F})),
    Case("another log that a relay saw come", log(noted=shown(epoch=F, inode=FILE), own=shown(epoch=F, inode=FILE),
         saw_replacement=True), "other", retire=frozenset({F})),
    # ── headers ──
    Case("pruned", log(base=10, inode=COPY, header=E, noted=NOTED, broker=shown()), "pruned", head=30),
    Case("pruned under a running relay", log(base=10, inode=COPY, header=E, noted=NOTED, own=shown(inode=FILE),
         broker=shown(), saw_replacement=True), "pruned", head=30),
    Case("pruned, and another relay has noted it", log(base=10, inode=COPY, header=E,
         noted=shown(inode=COPY, base=10), own=shown(inode=FILE), broker=shown(), saw_replacement=True), "pruned",
         head=30),
    Case("pruned beyond what was published", log(end=60, base=40, inode=COPY, header=E,
         noted=shown(inode=FILE, agreement="unknown"), broker=shown(agreement="unknown")), "pruned"),
    Case("pruned while the state directory was lost", log(base=10, inode=COPY, header=E, broker=shown()), "same",
         head=30),
    Case("an edited copy of a pruned log", log(base=10, inode=COPY, header=E, noted=shown(inode=FILE, base=10),
         broker=shown(base=10)), "copied", replaces=E, retire=frozenset({E})),
    Case("rewritten in place with the same header", log(base=10, header=E, noted=NOTED, own=shown(inode=FILE),
         saw_replacement=True), "copied", retire=frozenset({E})),
    Case("masked: rewritten with a header of another epoch", log(base=0, inode=COPY, header=F, noted=NOTED,
         broker=shown()), "other", F, replaces=E, retire=frozenset({E})),
    Case("a header whose epoch was replaced", log(header=E, written=(F, E), noted=shown(epoch=F, inode=FILE)), "same",
         F),
    Case("a header whose epoch was replaced for another log", log(header=E, written=(F, OLD)), "new"),
    # ── returned ──
    Case("an earlier log's first line", log(retired=frozenset({E}), noted=shown(epoch=F, inode=FILE)), "returned",
         retire=frozenset({F})),
    Case("an earlier log's header", log(header=OLD, retired=frozenset({OLD})), "returned", OLD),
    Case("a log without a header, after a header whose epoch was replaced", log(written=(F, OLD), noted=shown(epoch=F)),
         "other", E, retire=frozenset({F})),
    Case("an earlier epoch in the state file", log(written=(OLD,), retired=frozenset({OLD})), "returned", OLD),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_documented_case(case: Case) -> None:
    decision = decide(case.facts)
    expected = Decision(case.kind, case.epoch, case.retire, case.head, case.replaces, decision.moved)
    assert decision == expected
    assert decision.needs_epoch == (case.kind in ("returned", "shortened", "edited", "copied"))


def test_the_mark_of_a_pruned_log_moves_to_the_new_file() -> None:
    facts = log(base=10, inode=COPY, header=E, noted=NOTED)
    assert decide(facts).moved
    assert not decide(log(base=10, inode=COPY, header=E, noted=shown(inode=COPY, base=10))).moved
    assert not decide(log(inode=COPY, noted=NOTED)).moved


# ── every combination ────────────────────────────────────────────────────────────────────────────────────────────────
EPOCHS = st.sampled_from([E, F, OLD])


@st.composite
def watermarks(draw: st.DrawFn, facts: Facts, *, has_inode: bool) -> Shown | None:
    """A watermark that a log with these facts may have, and one of the answers that the log may give about it."""
    if draw(st.booleans()):
        return None
    head, crc = draw(st.integers(0, 60)), draw(st.sampled_from([None, 1]))
    inode = draw(st.sampled_from([FILE, COPY])) if has_inode else None
    watermark = Watermark(draw(EPOCHS), head, crc, draw(st.integers(0, 40)), inode)
    if watermark.epoch != facts.epoch:
        return Shown(watermark)
    if head > facts.end:
        return Shown(watermark, "past end")
    if crc is None or head <= facts.base:
        return Shown(watermark, "unknown")
    return Shown(watermark, draw(st.sampled_from(["matches", "differs"])))


@st.composite
def all_facts(draw: st.DrawFn) -> Facts:
    header = draw(st.none() | EPOCHS)
    base = draw(st.integers(0, 20)) if header is not None else 0
    end = base + draw(st.integers(0, 40))
    natural = None if header is None and end == base else draw(EPOCHS)
    written = draw(st.sampled_from([(), (E,), (F,), (F, E), (E, F), (OLD,)]))
    retired = draw(st.frozensets(EPOCHS, max_size=2))
    bare = Facts(draw(st.sampled_from([FILE, COPY])), base, end, natural, header, written, retired)
    return Facts(
        bare.inode, base, end, natural, header, written, retired,
        draw(watermarks(bare, has_inode=True)), draw(watermarks(bare, has_inode=False)),
        draw(watermarks(bare, has_inode=False)), draw(watermarks(bare, has_inode=True)), draw(st.booleans()),
        draw(st.booleans()),
    )  # fmt: skip


def of_its_epoch(facts: Facts) -> list[Shown]:
    return [mark for mark in facts.shown if mark.watermark.epoch == facts.epoch]


@given(all_facts())
@settings(max_examples=300)
def test_an_epoch_under_which_other_lines_were_shown_is_never_kept(facts: Facts) -> None:
    decision = decide(facts)
    if decision.kind == "empty":
        assert facts.end == facts.base
        return
    assert decision.epoch == facts.epoch
    if facts.sums_differ or any(mark.agreement in ("differs", "past end") for mark in of_its_epoch(facts)):
        assert decision.needs_epoch


@given(all_facts())
@settings(max_examples=300)
def test_a_retired_epoch_is_never_given_again_and_every_epoch_left_behind_is_retired(facts: Facts) -> None:
    decision = decide(facts)
    if decision.kind == "empty":
        return
    if not decision.needs_epoch:
        assert decision.epoch not in facts.retired
    known = {facts.epoch, *(mark.watermark.epoch for mark in facts.shown)}
    kept = set[int]() if decision.needs_epoch else {decision.epoch}
    assert known <= kept | decision.retire | facts.retired
    assert not decision.retire & (kept | facts.retired)


@given(all_facts())
@settings(max_examples=300)
def test_a_log_that_is_provably_the_same_is_never_reset(facts: Facts) -> None:
    mine = of_its_epoch(facts)
    files = {mark.watermark.inode for mark in (facts.noted, facts.own) if mark is not None}
    agrees = all(mark.agreement in ("matches", "unknown") for mark in mine)
    agrees &= not facts.sums_differ
    if agrees and files <= {facts.inode} and not facts.saw_replacement and facts.epoch not in facts.retired:
        assert not decide(facts).needs_epoch


@given(all_facts())
@settings(max_examples=300)
def test_a_properly_pruned_log_is_never_reset(facts: Facts) -> None:
    mine = of_its_epoch(facts)
    agrees = all(mark.agreement in ("matches", "unknown") for mark in mine)
    is_higher = all(facts.base > mark.watermark.base for mark in mine)
    was_moved = facts.own is None or facts.own.watermark.inode != facts.inode
    vouched = facts.header_epoch == facts.epoch and is_higher and was_moved
    if agrees and vouched and facts.epoch not in facts.retired and not facts.sums_differ:
        assert not decide(facts).needs_epoch


@given(all_facts())
@settings(max_examples=300)
def test_another_file_without_a_header_that_vouches_for_it_is_always_reset(facts: Facts) -> None:
    noted = facts.noted
    if noted is None or noted.watermark.epoch != facts.epoch or facts.end == facts.base:
        return
    is_vouched = facts.header_epoch is not None and facts.base > noted.watermark.base
    if noted.watermark.inode != facts.inode and not is_vouched:
        assert decide(facts).needs_epoch


@given(all_facts())
@settings(max_examples=300)
def test_publishing_goes_on_only_where_the_broker_has_this_log(facts: Facts) -> None:
    decision = decide(facts)
    if decision.head is not None:
        assert not decision.needs_epoch
        assert facts.broker is not None
        assert (facts.broker.watermark.epoch, facts.broker.watermark.head) == (decision.epoch, decision.head)
        assert facts.base <= decision.head <= facts.end
    if decision.replaces is not None:
        assert facts.broker is not None
        assert decision.replaces == facts.broker.watermark.epoch
        assert decision.head is None
        assert decision.needs_epoch or decision.replaces != decision.epoch


@given(all_facts())
@settings(max_examples=300)
def test_without_the_broker_no_log_is_trusted_more_than_with_it(facts: Facts) -> None:
    """A broker that forgot everything does not turn a replaced log into the same one, unless only it knew."""
    alone = Facts(
        facts.inode, facts.base, facts.end, facts.natural_epoch, facts.header_epoch, facts.written, facts.retired,
        facts.noted, facts.checkpoint, None, facts.own, facts.saw_replacement, facts.sums_differ,
    )  # fmt: skip
    if decide(alone).needs_epoch and facts.header_epoch is None:
        assert decide(facts).needs_epoch
