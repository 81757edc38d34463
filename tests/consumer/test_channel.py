from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from workcast.consumer.channel import Channel
from workcast.consumer.frame import build_frame

RING_BYTES = 900
FRAME_BYTES = 300


def line(epoch: int, offset: int) -> bytes:
    return b'{"type":"x","e":%d,"o":%d,"pad":"%s"}' % (epoch, offset, b"." * (offset * 7 % 90))


class ChannelMachine(RuleBasedStateMachine):
    """A feed that repeats, overlaps, skips and switches epochs, and a broker whose heads come late or early."""

    def __init__(self) -> None:
        super().__init__()
        self.channel = Channel("wc", RING_BYTES, FRAME_BYTES)
        self.highest: dict[int, int] = {}
        self.wakes = 0
        self.channel.listen(self._wake)

    def _wake(self) -> None:
        self.wakes += 1

    @initialize()
    def load(self) -> None:
        self.channel.set_position(1, 0, 0)

    @rule(back=st.integers(0, 30), count=st.integers(1, 12))
    def push_what_overlaps_or_repeats(self, back: int, count: int) -> None:
        self._push(max(0, self.channel.head - back), count)

    @rule(jump=st.integers(1, 20), count=st.integers(1, 12))
    def push_past_the_head(self, jump: int, count: int) -> None:
        self._push(self.channel.head + jump, count)

    @rule(ahead=st.integers(-20, 20), base=st.integers(0, 5))
    def hear_of_a_head(self, ahead: int, base: int) -> None:
        self.channel.set_position(self.channel.epoch, base, max(0, self.channel.head + ahead))

    @rule(head=st.integers(0, 9))
    def switch_epoch(self, head: int) -> None:
        epoch = self.channel.epoch + 1
        self.channel.set_position(epoch, 0, head)
        assert (self.channel.epoch, self.channel.head) == (epoch, head)

    def _push(self, offset: int, count: int) -> None:
        channel = self.channel
        head, wakes = channel.head, self.wakes
        channel.push(offset, [line(channel.epoch, at) for at in range(offset, offset + count)])
        assert channel.head == max(head, offset + count)
        assert (self.wakes > wakes) == (channel.head > head)

    @invariant()
    def the_ring_is_dense_bounded_and_ends_where_the_feed_has_come_to(self) -> None:
        channel = self.channel
        frames = list(channel._ring)
        size = sum(len(frame.payload) for frame in frames)
        assert size == sum(frame.size for frame in frames)
        assert channel._size == size
        assert size <= RING_BYTES or len(frames) == 1
        for one, other in pairwise(frames):
            assert one.end == other.offset
        if frames:
            assert frames[-1].end <= channel.head

    @invariant()
    def every_frame_holds_the_lines_of_its_offsets(self) -> None:
        channel = self.channel
        for offset in range(max(0, channel.head - 40), channel.head + 2):
            frame = channel.frame_at(offset)
            if frame is None:
                continue
            assert frame.offset == offset < frame.end <= channel.head
            lines = [line(channel.epoch, at) for at in range(offset, frame.end)]
            head = json.loads(frame.text)["head"]
            assert frame == build_frame("wc", channel.epoch, offset, head, lines)
            assert frame.end <= head == frame.head == channel.head

    @invariant()
    def the_head_never_goes_back_within_an_epoch(self) -> None:
        epoch, head = self.channel.epoch, self.channel.head
        assert head >= self.highest.get(epoch, 0)
        self.highest[epoch] = head


TestChannel = ChannelMachine.TestCase
TestChannel.settings = settings(max_examples=60, stateful_step_count=30)


@pytest.fixture
def channel() -> Channel:
    channel = Channel("wc", RING_BYTES, FRAME_BYTES)
    channel.set_position(1, 0, 0)
    return channel


def test_viewers_at_the_same_place_share_one_frame(channel: Channel) -> None:
    channel.push(0, [line(1, at) for at in range(3)])
    assert channel.frame_at(0) is channel.frame_at(0)


def test_a_head_that_arrives_before_its_events_does_not_change_the_ring(channel: Channel) -> None:
    channel.push(0, [line(1, at) for at in range(3)])
    channel.set_position(1, 0, 5)
    assert (channel.head, channel.frame_at(3)) == (5, None)
    channel.push(3, [line(1, at) for at in range(3, 5)])
    frames = [channel.frame_at(0), channel.frame_at(3)]
    assert [(frame.offset, frame.end, frame.head) for frame in frames if frame] == [(0, 1, 5), (3, 4, 5)]


def test_a_frame_of_the_ring_carries_the_current_head_and_is_still_shared(channel: Channel) -> None:
    channel.push(0, [line(1, at) for at in range(3)])
    first = channel.frame_at(0)
    channel.push(3, [line(1, 3)])
    again = channel.frame_at(0)
    assert first is not None
    assert again is not None
    assert (first.head, again.head) == (3, 4)
    assert again is channel.frame_at(0)
    assert again.events is first.events


def test_one_event_larger_than_the_ring_stays_in_it(channel: Channel) -> None:
    channel.push(0, [b'{"type":"%s"}' % (b"x" * 2 * RING_BYTES)])
    frame = channel.frame_at(0)
    assert frame is not None
    assert frame.end == 1


def test_the_greatest_base_is_kept(channel: Channel) -> None:
    channel.set_position(1, 7, 9)
    channel.set_position(1, 3, 9)
    assert channel.base == 7


def test_events_that_arrive_while_the_broker_is_asked_raise_the_head() -> None:
    channel = Channel("wc", RING_BYTES, FRAME_BYTES)
    channel.announced = (5, 12)
    channel.set_position(5, 0, 10)
    assert (channel.loaded, channel.head) == (True, 12)


def test_an_answer_that_is_older_than_the_feed_is_requested_again() -> None:
    channel = Channel("wc", RING_BYTES, FRAME_BYTES)
    channel.announced = (6, 1)
    channel.set_position(5, 0, 10)
    assert not channel.loaded
    channel.set_position(6, 0, 1)
    assert (channel.loaded, channel.epoch) == (True, 6)


def test_a_removed_listener_is_not_woken(channel: Channel) -> None:
    woken: list[int] = []

    def wake() -> None:
        woken.append(1)

    watched: list[bool] = []
    channel.listen(wake)
    watched.append(channel.watched)
    channel.unlisten(wake)
    watched.append(channel.watched)
    channel.notify()
    assert (watched, woken) == ([True, False], [])


def test_the_number_of_lines_to_read_follows_their_size(channel: Channel) -> None:
    assert 1 < channel.lines_for(262_144, 512) < 512
    channel.note_size([b"x" * 200] * 10)
    assert channel.lines_for(262_144, 512) == 512
    channel.note_size([b"x" * 65_536])
    assert channel.lines_for(262_144, 512) == 5
    channel.note_size([b""])
    assert channel.lines_for(100, 512) == 101


def test_a_ring_keeps_its_bound_when_the_head_in_a_frame_gets_longer(channel: Channel) -> None:
    for at in range(7):
        channel.push(at, [line(1, at)])
    channel.set_position(1, 0, 10**7)
    for at in range(7):
        channel.frame_at(at)
    assert sum(frame.size for frame in channel._ring) == channel._size <= RING_BYTES
