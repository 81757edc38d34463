from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workcast.events.cut_line import CutLine, size_of
from workcast.events.models import Unknown
from workcast.producer.adapters import ADAPTERS
from workcast.producer.lines import LineSplitter


def split(pieces: list[bytes], cap: int = 1 << 20) -> list[bytes]:
    splitter = LineSplitter(cap)
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    return lines + splitter.drain()


@given(st.lists(st.text("ab\n\r\u2028\x85").map(str.encode)), st.integers(1, 8))
def test_the_lines_are_the_same_however_the_bytes_arrive(pieces: list[bytes], cap: int) -> None:
    whole = b"".join(pieces)
    expected = whole.split(b"\n")
    if not expected[-1]:
        expected.pop()
    lines = split(pieces, cap)
    assert lines == split([whole], cap)
    assert [(line, size_of(line)) for line in lines] == [(part[:cap], len(part)) for part in expected]
    assert [isinstance(line, CutLine) for line in lines] == [len(part) > cap for part in expected]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\r", "\x0b", "\x0c", "\x1c"])
def test_only_a_newline_ends_a_line(separator: str) -> None:
    raw = f"one{separator}line".encode()
    assert split([raw + b"\n"]) == [raw]


def test_a_tail_without_its_newline_is_returned_at_the_end() -> None:
    assert split([b"a\nta", b"il"]) == [b"a", b"tail"]
    assert split([b"a\n"]) == [b"a"]
    assert split([]) == []


def test_a_line_over_the_cap_is_cut_and_has_its_true_size() -> None:
    first, second = split([b"x" * 7, b"y" * 7, b"z\nnext\n"], cap=10)
    assert isinstance(first, CutLine)
    assert (first, first.size) == (b"xxxxxxxyyy", 15)
    assert second == b"next"
    assert not isinstance(second, CutLine)


@pytest.mark.parametrize("agent", ADAPTERS)
def test_no_adapter_reads_a_line_that_was_cut(agent: str) -> None:
    adapter, line = ADAPTERS[agent](), CutLine(b'{"type":"result"}' + b" " * 10_000, 20_000_000)
    (event,) = adapter.feed(line, datetime(2026, 1, 1, tzinfo=UTC))
    assert isinstance(event, Unknown)
    assert event.raw.encode() == line[:4096]
    assert event.model_extra == {"truncated": {"bytes": 20_000_000}}
