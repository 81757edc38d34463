"""``demo``: a fleet of recorded agents, served or alone."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from pathlib import Path
from typing import Final

import typer

from workcast.broker.relay import Relay
from workcast.broker.root import Root
from workcast.broker.roots import Roots
from workcast.cli.serving import wait_for_redis
from workcast.cli.up import serve_roots
from workcast.consumer.settings import GatewaySettings
from workcast.producer.demo import ACTS, hold_stage, play
from workcast.producer.errors import DemoError

_DRAIN_SECONDS: Final = 2.0


def serve_demo(settings: GatewaySettings, directory: Path | None = None) -> None:
    """Play and serve until interrupted, in ``directory``, else in a temporary root that is removed at the end.

    Raises:
        WorkcastError: the port is in use, or the root is busy or cannot be written.
    """
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="workcast-demo-")))
        stack.enter_context(hold_stage(Root(directory)))
        serve_roots(Roots(Root(directory)), settings, [play])


def play_demo(directory: Path, redis_url: str | None, patience: float) -> None:
    """Play until SIGINT or SIGTERM, for another process to serve; with ``redis_url``, relay the root's logs as well.

    Raises:
        WorkcastError: the root is busy or cannot be written, or Redis does not answer within ``patience`` seconds.
    """
    root = Root(directory)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the loop takes it over
    with hold_stage(root), contextlib.ExitStack() as stack:
        if redis_url:
            wait_for_redis(redis_url, patience)
            relay = Relay(root, redis_url)
            relay.start()
            stack.callback(relay.close, _DRAIN_SECONDS)
        typer.echo(f"{len(ACTS)} workcells play in {root.directory}")
        asyncio.run(_play_until_signalled(root))


async def _play_until_signalled(root: Root) -> None:
    playing = asyncio.ensure_future(play(root))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, playing.cancel)
    await asyncio.wait({playing})
    if playing.cancelled():
        return
    try:
        playing.result()
    except* OSError as failed:
        raise DemoError(f"cannot write the demo's logs in {root.workcells}: {failed.exceptions[0]}") from None
