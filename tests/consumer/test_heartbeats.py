from __future__ import annotations

from workcast.consumer.heartbeats import Heartbeats


def test_the_newest_heartbeat_of_each_relay_counts() -> None:
    heartbeats = Heartbeats()
    for now, name in enumerate([b"a", b"b", b"a"]):
        heartbeats.record(name, float(now))
    assert heartbeats.ages(5.0) == {"b": 4.0, "a": 3.0}
    assert heartbeats.silence(5.0) == 3.0


def test_no_relay_has_been_heard_of_at_first() -> None:
    assert Heartbeats().silence(5.0) is None
    assert Heartbeats().ages(5.0) == {}


def test_relays_that_come_and_go_do_not_accumulate() -> None:
    heartbeats = Heartbeats()
    for now in range(10_000):
        heartbeats.record(b"relay-%d" % now, now * 0.01)
    ages = heartbeats.ages(100.0)
    assert len(ages) == 256
    assert "relay-9999" in ages
    assert "relay-0" not in ages


def test_a_relay_that_is_silent_for_ten_minutes_is_forgotten_but_not_the_silence() -> None:
    heartbeats = Heartbeats()
    heartbeats.record(b"old", 0.0)
    assert heartbeats.ages(601.0) == {}
    assert heartbeats.silence(601.0) == 601.0
    heartbeats.record(b"new", 602.0)
    assert heartbeats.ages(602.0) == {"new": 0.0}


def test_the_name_of_a_relay_is_cut_to_128_characters() -> None:
    heartbeats = Heartbeats()
    heartbeats.record(b"n" * 100_000, 0.0)
    heartbeats.record(b"\xff" * 100_000, 0.0)
    assert {len(name) for name in heartbeats.ages(0.0)} == {128}
