"""The simplest search: read every line of every log, decode it, fold it, and try each term at each character."""

from __future__ import annotations

import fnmatch
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from workcast.broker.log import natural_epoch, parse_header
from workcast.broker.root import Root
from workcast.events.wire import wire
from workcast.items.item import Item
from workcast.items.item_fold import ItemFold
from workcast.question.question import Flags, Names, Pattern, Question, Term, Text

Found = tuple[str, int, int]
"""Workcell, epoch and offset of an item."""


def plain_search(root: Root, question: Question) -> list[Found]:
    """Return what answers a question about items, in the order of hits; filters of runs are not looked at."""
    found: list[tuple[int, str, list[Found]]] = []
    for workcell in root.ids():
        raw = root.log(workcell).read_bytes() if root.log(workcell).exists() else b""
        lines = raw.split(b"\n")[:-1]
        if not lines:
            continue
        header = parse_header(lines[0])
        epoch, base = (header.epoch, header.base) if header else (natural_epoch(lines[0]), 0)
        events = [json.loads(wire(line)) for line in (lines[1:] if header else lines)]
        if events:
            hits = [(workcell, epoch, item.offset) for item in plain_items(events, base) if answers(item, question)]
            found.append((-started(events[0].get("timestamp")), workcell, hits))
    return [hit for _, _, hits in sorted(found) for hit in hits]


def plain_items(events: Iterable[dict[str, object]], base: int) -> Iterator[Item]:
    """Yield the items of a log; a call has the flag ``open`` only if it is open at the end."""
    fold = ItemFold(base)
    items = [item for offset, event in enumerate(events, base) for item in fold.push(offset, event)]
    items.sort(key=lambda item: (item.end, item.offset))
    for item in (*items, *sorted(fold.close(), key=lambda item: item.offset)):
        is_closed = item.kind == "call" and item.offset not in fold.open_calls()
        yield Item(
            item.kind, item.offset, item.end, item.type, item.timestamp, item.tool, item.path,
            item.flags - {"open"} if is_closed else item.flags, item.texts,
        )  # fmt: skip


def started(timestamp: object) -> int:
    """Convert a timestamp to milliseconds; 0 if it is not one."""
    try:
        at = datetime.fromisoformat(str(timestamp))
    except ValueError:
        return 0
    return max(0, round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000))


def answers(item: Item, question: Question) -> bool:
    """Whether an item answers a question."""
    for filter_ in question.filters:
        match filter_:
            case Flags():
                holds = any(flag in item.flags for flag in filter_.flags)
            case Names(field="tool" | "type" | "path"):
                holds = any(has_name(getattr(item, filter_.field), filter_.field, name) for name in filter_.values)
            case _:
                continue
        if holds is filter_.is_excluded:
            return False
    if question.since or question.until:
        at = started(item.timestamp)
        since, until = (time and started(time.isoformat()) for time in (question.since, question.until))
        if item.timestamp is None or (since and at < since) or (until and at >= until):
            return False
    return all(
        any(occurs(term, text, is_caseless=question.is_caseless) for text in item.texts.values())
        is not term.is_excluded
        for term in question.terms
    )


def has_name(value: str | None, field: str, name: str) -> bool:
    """Whether a value fits a pattern of names."""
    if value is None:
        return False
    parts = value.split("/")
    values = ["/".join(parts[at:]) for at in range(len(parts))] if field == "path" else [value]
    return any(fnmatch.fnmatchcase(text.lower(), name.lower().replace("[", "[[]")) for text in values)


def is_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM"


def occurs(term: Term, text: str, *, is_caseless: bool) -> bool:
    """Whether a term occurs in a text."""
    if isinstance(term, Pattern):
        return re.search(term.pattern, text, re.IGNORECASE if term.ignores_case else 0) is not None
    return any(True for _ in plain_spans(term, text, is_caseless=is_caseless))


def plain_spans(term: Text, text: str, *, is_caseless: bool) -> Iterator[tuple[int, int]]:
    """Yield the places of a word or phrase in a text, tried at each character."""
    pattern = re.compile(r"\s+".join(map(re.escape, term.text.split())), re.IGNORECASE if is_caseless else 0)
    start = 0
    while start <= len(text):
        found = pattern.match(text, start)
        if found is None:
            start += 1
            continue
        end = found.end()
        left = is_word(text[start]) and start > 0 and is_word(text[start - 1])
        right = not term.is_prefix and is_word(text[end - 1]) and end < len(text) and is_word(text[end])
        if left or right:
            start += 1
        else:
            yield start, end
            start = end
