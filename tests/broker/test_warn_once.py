from __future__ import annotations

import logging

import pytest

from workcast.broker.warn_once import WarnOnce

LOGGER = logging.getLogger("workcast.test")


def test_a_problem_is_logged_once_until_it_is_another_one_or_has_passed(caplog: pytest.LogCaptureFixture) -> None:
    warnings = WarnOnce(LOGGER)
    for message in ("full", "full", "away", "away"):
        warnings.warn("server", message)
    warnings.warn("disk", "full")
    assert warnings.passed("server")
    assert not warnings.passed("server")
    warnings.warn("server", "away")
    assert [record.getMessage() for record in caplog.records] == ["full", "away", "full", "away"]


def test_an_unexpected_error_is_logged_with_its_traceback_once(caplog: pytest.LogCaptureFixture) -> None:
    warnings = WarnOnce(LOGGER)
    for error in (KeyError("a"), KeyError("a"), KeyError("b")):
        warnings.warn("log", "unexpected", error)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["'a'", "'b'"]
