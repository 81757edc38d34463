"""``serve``: a gateway alone; any number of them can use one broker."""

from __future__ import annotations

import asyncio
import signal

import typer

from workcast.broker.roots import Roots
from workcast.cli.serving import wait_for_redis
from workcast.cli.usage import WrongUsageError
from workcast.consumer.server import address_of, listen
from workcast.consumer.serving import serve
from workcast.consumer.settings import GatewaySettings


def serve_gateway(roots: Roots, settings: GatewaySettings) -> None:
    """Serve until SIGINT or SIGTERM; prints the address once it answers.

    If the roots' logs are on this host, history is read from them; else it begins where the streams begin.

    Raises:
        WrongUsageError: no broker is named.
        WorkcastError: the broker cannot be reached, or the port is in use.
    """
    url = settings.redis_url
    if url is None:
        raise WrongUsageError(
            "expected --redis-url (or WORKCAST_REDIS_URL): a gateway alone needs the URL of its broker"
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with listen(settings.host, settings.port) as listener:
        wait_for_redis(url, settings.redis_patience)
        asyncio.run(serve(roots, url, settings, listener, lambda: typer.echo(address_of(listener)), ()))
