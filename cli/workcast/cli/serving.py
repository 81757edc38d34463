"""Waiting for a Redis server that is still starting."""

from __future__ import annotations

import threading
from typing import Final

import tenacity

from workcast.broker.connection import mask_url
from workcast.broker.errors import BrokerError
from workcast.broker.publisher import Publisher
from workcast.cli.messages import say

_QUIET_SECONDS: Final = 1.0


def wait_for_redis(url: str, patience: float) -> None:
    """Try to reach Redis for up to ``patience`` seconds; a wait of more than a moment is reported on stderr.

    Raises:
        BrokerError: it cannot be reached, or another layout is in use there.
    """
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(patience),
        wait=tenacity.wait_exponential(0.1, max=1),
        retry=tenacity.retry_if_exception(_may_pass),
        reraise=True,
    )
    publisher = Publisher(url)
    reporter = threading.Timer(_QUIET_SECONDS, _report_waiting, (url, patience))
    reporter.daemon = True
    if patience > _QUIET_SECONDS:
        reporter.start()
    try:
        retrying(publisher.prepare)
    finally:
        reporter.cancel()
        publisher.close()


def _report_waiting(url: str, patience: float) -> None:
    say(f"workcast: waiting for Redis at {mask_url(url)}, for up to {patience:g} s")


def _may_pass(error: BaseException) -> bool:
    """Whether trying again can help: a network error may pass, another layout will not."""
    return isinstance(error, BrokerError) and error.__cause__ is not None
