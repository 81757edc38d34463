"""``workcast``: the command line, and the one place that knows producer, broker and consumer."""

from __future__ import annotations

import asyncio
import logging
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from workcast.broker.errors import WorkcastError, WorkcellIdError
from workcast.broker.root import Root
from workcast.cli.duration import parse_duration
from workcast.cli.printable import printable

if TYPE_CHECKING:
    from workcast.consumer.settings import GatewaySettings

app = typer.Typer(
    name="workcast",
    help="Shows, live, what coding agents do inside their workcells.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RootOption = Annotated[
    Path, typer.Option("--root", envvar="WORKCAST_ROOT", help="The directory that holds .workcells/.", metavar="DIR")
]
UrlOption = Annotated[
    str | None, typer.Option("--url", envvar="WORKCAST_URL", help="A gateway, instead of the root's.", metavar="URL")
]
RedisOption = Annotated[
    str | None, typer.Option("--redis-url", envvar="WORKCAST_REDIS_URL", help="A Redis server.", metavar="URL")
]
PortOption = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="WORKCAST_PORT, or 8787; 0: any free.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("workcast"))
        raise typer.Exit


@app.callback()
def options(
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """What every verb understands. Logs go to stderr; stdout is for what was asked for."""
    handler = RichHandler(console=Console(stderr=True), show_path=False, markup=False)
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s", handlers=[handler])


@app.command()
def up(
    root: RootOption = Path(),
    host: Annotated[str | None, typer.Option(help="WORKCAST_HOST, or 127.0.0.1.")] = None,
    port: PortOption = None,
    redis_url: Annotated[str | None, typer.Option(help="WORKCAST_REDIS_URL, or an embedded Valkey.")] = None,
) -> None:
    """Serve a root: embedded broker, relay, gateway and dashboard. Prints the address once it answers."""
    from workcast.cli.up import serve_root

    serve_root(root, _settings(host=host, port=port, redis_url=redis_url))


@app.command()
def serve(
    root: RootOption = Path(),
    host: Annotated[str | None, typer.Option(help="WORKCAST_HOST, or 127.0.0.1.")] = None,
    port: PortOption = None,
    redis_url: RedisOption = None,
) -> None:
    """Serve the gateway and dashboard alone, over a broker that runs elsewhere. Any number of them may."""
    from workcast.cli.serve import serve_gateway

    serve_gateway(Root(root), _settings(host=host, port=port, redis_url=redis_url))


@app.command()
def demo(port: PortOption = None) -> None:
    """Serve a fleet of recorded agents, playing at their own pace: needs no agent and no key."""
    from workcast.cli.demo import serve_demo

    serve_demo(_settings(port=port))


@app.command()
def run(
    agent: Annotated[str, typer.Argument(help="claude, codex, or exec for any command.", metavar="AGENT")],
    words: Annotated[
        list[str],
        typer.Argument(help="Options for the agent, and the prompt last; - reads it from stdin.", metavar="-- PROMPT"),
    ],
    root: RootOption = Path(),
    workcell: Annotated[str | None, typer.Option(help="Its id; default: made from agent and time.")] = None,
    issue: Annotated[str | None, typer.Option(help="The issue the agent works on.")] = None,
    model: Annotated[str | None, typer.Option(help="The agent's own name of a model.")] = None,
    timeout: Annotated[
        float | None, typer.Option(parser=parse_duration, help="End it then: 90s, 30m, 2h.", metavar="TIME")
    ] = None,
    *,
    worktree: Annotated[
        bool, typer.Option("--worktree", help="Make the workcell a git worktree of the root, on branch workcast/ID.")
    ] = False,
) -> None:
    """Run an agent in a workcell, with telemetry.

    Exit code: 0 success, 1 failed, 2 wrong usage or an empty prompt, 124 timeout, 130 cancelled, 127 not installed.
    """
    from workcast.cli.run import run_in_workcell

    code = asyncio.run(run_in_workcell(Root(root), agent, words, workcell, issue, model, timeout, worktree=worktree))
    raise typer.Exit(code)


@app.command()
def parse(
    agent: Annotated[str, typer.Argument(help="claude, codex or exec.", metavar="AGENT")],
    file: Annotated[Path | None, typer.Argument(help="The agent's stdout; default: stdin.")] = None,
    exit_code: Annotated[int | None, typer.Option(help="What the agent ended with, if known.")] = None,
) -> None:
    """Turn an agent's stdout into events, as JSON lines. No files, no broker."""
    from workcast.cli.parse import parse_output

    parse_output(agent, file, exit_code)


@app.command()
def tail(
    workcell: Annotated[str, typer.Argument(metavar="WORKCELL")],
    root: RootOption = Path(),
    start: Annotated[str, typer.Option("--from", help="start, tail, or an offset.")] = "start",
    url: UrlOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Follow a workcell in the terminal, as any viewer does."""
    from workcast.cli.tail import follow

    asyncio.run(follow(Root(root), workcell, start, url, as_json=json))


@app.command("ls")
def list_workcells(root: RootOption = Path(), url: UrlOption = None, *, json: JsonOption = False) -> None:
    """List workcells and their state: from the gateway if one runs, else from the files."""
    from workcast.cli.ls import list_fleet

    list_fleet(Root(root), url, as_json=json)


@app.command()
def verify(
    workcells: Annotated[list[str] | None, typer.Argument(metavar="[WORKCELL]…", help="Default: all.")] = None,
    root: RootOption = Path(),
    redis_url: RedisOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Compare logs with their streams, line by line. Exit code 1 if anything is missing or differs."""
    from workcast.cli.verify import verify_root

    if not verify_root(Root(root), redis_url, workcells or [], as_json=json):
        raise typer.Exit(1)


@app.command()
def relay(
    redis_url: Annotated[str, typer.Option(envvar="WORKCAST_REDIS_URL", help="Where to.", metavar="URL")],
    root: RootOption = Path(),
) -> None:
    """Carry the logs of a root to Redis, for gateways that run elsewhere."""
    from workcast.cli.relay import relay_root

    relay_root(Root(root), redis_url, _settings().redis_patience)


def _settings(**given: object) -> GatewaySettings:
    """Settings from the command line, else from the environment, else their defaults."""
    from pydantic import ValidationError

    from workcast.consumer.settings import GatewaySettings

    try:
        return GatewaySettings.model_validate({key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise typer.BadParameter(f"settings (WORKCAST_…): {problems}") from error


def main() -> None:
    """Entry point: what workcast raises on purpose becomes one sentence on stderr and an exit code.

    Typer does as much for Ctrl-C (130) and for a reader of our output who has gone (1).
    """
    from workcast.producer.errors import AgentNotInstalledError, EmptyPromptError, UnknownAgentError

    try:
        app()
    except WorkcastError as error:
        sys.stderr.write("workcast: " + printable(str(error), keep="\n") + "\n")
        wrong_usage = isinstance(error, EmptyPromptError | UnknownAgentError | WorkcellIdError)
        sys.exit(127 if isinstance(error, AgentNotInstalledError) else 2 if wrong_usage else 1)
