from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from workcast.consumer.frame import ENVELOPE_BYTES, build_frame, split
from workcast.events.wire import wire

SIZES = st.integers(ENVELOPE_BYTES + 1, ENVELOPE_BYTES + 150)
LINES = st.lists(st.binary(max_size=300).map(lambda line: wire(line.replace(b"\n", b""))), min_size=1, max_size=20)


@given(lines=LINES, epoch=st.integers(0, 2**48 - 1), offset=st.integers(0, 2**53), ahead=st.integers(0, 9))
def test_a_frame_parses_to_exactly_its_lines(lines: list[bytes], epoch: int, offset: int, ahead: int) -> None:
    end = offset + len(lines)
    frame = build_frame("wc-1", epoch, offset, end + ahead, lines)
    assert json.loads(frame.text) == {
        "op": "events",
        "workcell": "wc-1",
        "epoch": epoch,
        "offset": offset,
        "head": end + ahead,
        "events": [json.loads(line) for line in lines],
    }
    assert (frame.offset, frame.end, frame.lines) == (offset, end, tuple(lines))


@given(lines=LINES)
def test_a_frame_carries_the_bytes_of_its_lines_unchanged(lines: list[bytes]) -> None:
    frame = build_frame("wc-1", 1, 0, len(lines), lines)
    assert frame.text.encode().endswith(b'"events":[' + b",".join(lines) + b"]}")


def test_the_spacing_of_a_line_is_preserved_in_a_frame() -> None:
    line = b'{ "type" :\t"x",  "n":1.0e0 , "s":"\\u0041" }'
    assert line.decode() in build_frame("wc-1", 1, 0, 1, [line]).text


@given(lines=st.lists(st.binary(max_size=60), max_size=30), max_bytes=SIZES)
def test_split_keeps_every_line_in_order_and_within_bounds(lines: list[bytes], max_bytes: int) -> None:
    runs = list(split(lines, max_bytes))
    assert [line for run in runs for line in run] == lines
    for run in runs:
        size = sum(len(line) + 1 for line in run)
        assert run
        assert size <= max_bytes - ENVELOPE_BYTES or len(run) == 1


@given(lines=st.lists(st.binary(max_size=60), max_size=30), max_bytes=SIZES)
def test_split_makes_no_run_shorter_than_necessary(lines: list[bytes], max_bytes: int) -> None:
    runs = list(split(lines, max_bytes))
    for run, following in pairwise(runs):
        assert sum(len(line) + 1 for line in [*run, following[0]]) > max_bytes - ENVELOPE_BYTES


def test_a_message_without_its_events_is_never_longer_than_the_envelope() -> None:
    most = 2**53
    frame = build_frame("w" * 128, 2**48 - 1, most, most, [b""])
    assert len(frame.payload) <= ENVELOPE_BYTES
