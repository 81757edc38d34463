"""``workcast``: the command line, and the one place that knows producer, broker and consumer."""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workcast.broker.errors import WorkcellIdError
from workcast.broker.root import Root
from workcast.cli.log_lines import log_to_stderr
from workcast.cli.options import (
    HERE,
    SINCE,
    BrokerOption,
    BudgetOption,
    DemoRootOption,
    ExitCodeOption,
    HostOption,
    IssueOption,
    JsonOption,
    MaxTokensOption,
    ModelOption,
    OnlyAgentsOption,
    PortOption,
    RedisOption,
    RelayOption,
    RootOption,
    RootsOption,
    RowsOption,
    SinceOption,
    StartOption,
    StrictOption,
    TimeoutOption,
    UrlOption,
    VerboseOption,
    WatchOption,
    WorkcellOption,
    WorktreeOption,
)
from workcast.cli.printable import printable
from workcast.cli.usage import OneSentence, WrongUsageError
from workcast.events.errors import WorkcastError

if TYPE_CHECKING:
    from workcast.consumer.settings import GatewaySettings

app = typer.Typer(
    name="workcast",
    cls=OneSentence,
    help="Shows, live, what coding agents do inside their workcells.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("workcast"))
        raise typer.Exit


_SERVING = frozenset({"up", "serve", "demo", "relay", "watch"})
"""The verbs that run on and on: when something happened matters there."""


@app.callback()
def options(
    ctx: typer.Context,
    *,
    verbose: VerboseOption = False,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """What every verb understands. Logs go to stderr; stdout is for what was asked for."""
    log_to_stderr(verbose=verbose, timed=ctx.invoked_subcommand in _SERVING)


@app.command()
def up(
    roots: RootsOption = HERE,
    host: HostOption = None,
    port: PortOption = None,
    redis_url: BrokerOption = None,
    since: SinceOption = SINCE,
    *,
    watch: WatchOption = False,
) -> None:
    """Serve roots: embedded broker, relay, gateway and dashboard. Prints the address once it answers."""
    from workcast.broker.roots import Roots, parse_root
    from workcast.cli.up import serve_roots
    from workcast.cli.watch import Watch

    settings = _settings(host=host, port=port, redis_url=redis_url)
    serve_roots(Roots(*map(parse_root, roots)), settings, [Watch(since)] if watch else ())


@app.command()
def serve(
    roots: RootsOption = HERE,
    host: HostOption = None,
    port: PortOption = None,
    redis_url: RedisOption = None,
) -> None:
    """Serve the gateway and dashboard alone, over a broker that runs elsewhere. Any number of them may."""
    from workcast.broker.roots import Roots, parse_root
    from workcast.cli.serve import serve_gateway

    serve_gateway(Roots(*map(parse_root, roots)), _settings(host=host, port=port, redis_url=redis_url))


@app.command()
def demo(
    port: PortOption = None,
    root: DemoRootOption = None,
    redis_url: BrokerOption = None,
    *,
    only_agents: OnlyAgentsOption = False,
) -> None:
    """Serve a fleet of recorded agents, playing at their own pace: needs no agent and no key."""
    from workcast.cli.demo import play_demo, serve_demo

    settings = _settings(port=port, redis_url=redis_url)
    if not only_agents:
        serve_demo(settings, root)
    elif root is None:
        raise typer.BadParameter("expected --root with --only-agents: somebody else is to serve it")
    else:
        play_demo(root, settings.redis_url, settings.redis_patience)


@app.command()
def run(
    agent: Annotated[
        str, typer.Argument(help="claude, codex, gemini, opencode, or exec for any command.", metavar="AGENT")
    ],
    words: Annotated[
        list[str],
        typer.Argument(help="Options for the agent, and the prompt last; - reads it from stdin.", metavar="-- PROMPT"),
    ],
    root: RootOption = Path(),
    workcell: WorkcellOption = None,
    issue: IssueOption = None,
    model: ModelOption = None,
    timeout: TimeoutOption = None,
    budget: BudgetOption = None,
    max_tokens: MaxTokensOption = None,
    *,
    worktree: WorktreeOption = False,
) -> None:
    """Run an agent in a workcell, with telemetry.

    Exit code: 0 success, 1 failed, 2 wrong usage or an empty prompt, 124 timeout, 130 cancelled, 127 not installed.
    """
    from workcast.cli.run import run_in_workcell
    from workcast.ledger.limits import Limits

    limits = Limits(budget, max_tokens)
    code = asyncio.run(
        run_in_workcell(Root(root), agent, words, workcell, issue, model, timeout, limits, worktree=worktree)
    )
    raise typer.Exit(code)


@app.command()
def parse(
    agent: Annotated[str, typer.Argument(help="claude, codex, gemini, opencode or exec.", metavar="AGENT")],
    file: Annotated[Path | None, typer.Argument(help="The agent's stdout; default: stdin.")] = None,
    exit_code: ExitCodeOption = None,
    *,
    strict: StrictOption = False,
) -> None:
    """Turn an agent's stdout into events, as JSON lines. No files, no broker."""
    from workcast.cli.parse import parse_output

    unknown = parse_output(agent, file, exit_code)
    if strict and unknown:
        sys.stderr.write(f"workcast: {unknown} lines that no rule knows; see the unknown events\n")
        raise typer.Exit(1)


@app.command()
def tail(
    workcell: Annotated[str, typer.Argument(metavar="WORKCELL")],
    root: RootOption = Path(),
    start: StartOption = "start",
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
def account(
    workcell: Annotated[str, typer.Argument(metavar="WORKCELL")],
    root: RootOption = Path(),
    rows: RowsOption = "runs",
    url: UrlOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """What a workcell's runs took, in tokens, money and time: from the gateway if one runs, else from the files."""
    from workcast.cli.account import show_account

    show_account(Root(root), workcell, rows, url, as_json=json)


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


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A transcript of Claude Code or Codex.", metavar="FILE")],
    root: RootOption = Path(),
    workcell: WorkcellOption = None,
) -> None:
    """Make a workcell of a session that an agent has kept on disk. Once more: adds what is new."""
    from workcast.cli.import_ import import_transcript

    import_transcript(Root(root), file, workcell)


@app.command()
def watch(
    agents: Annotated[list[str], typer.Argument(help="claude, codex, or both.", metavar="AGENT…")],
    root: RootOption = Path(),
    since: SinceOption = SINCE,
) -> None:
    """Make workcells of the sessions that agents keep on disk, live, as they grow."""
    from workcast.broker.roots import parse_root
    from workcast.cli.watch import watch_agents

    watch_agents(parse_root(root), agents, since)


@app.command(context_settings={"ignore_unknown_options": True})
def hook(words: Annotated[list[str] | None, typer.Argument(metavar="[--root DIR]")] = None) -> None:
    """Tell what a hook of Claude Code gets on stdin. Never ends with 2, which would forbid the tool's call.

    The root is --root, else WORKCAST_ROOT, else the nearest directory above the session's that holds .workcells/;
    without one nothing is told.
    """
    from workcast.cli.hook import run

    raise typer.Exit(run(words or []))


@app.command()
def relay(
    redis_url: RelayOption,
    roots: RootsOption = HERE,
) -> None:
    """Carry the logs of roots to Redis, for gateways that run elsewhere."""
    from workcast.broker.roots import Roots, parse_root
    from workcast.cli.relay import relay_roots

    relay_roots(Roots(*map(parse_root, roots)), redis_url, _settings().redis_patience)


def _settings(**given: object) -> GatewaySettings:
    """Settings from the command line, else from the environment, else their defaults."""
    from pydantic import ValidationError

    from workcast.broker.price_file import current_prices
    from workcast.consumer.settings import GatewaySettings

    current_prices()  # what is wrong with a table is said now, not once tokens are counted
    try:
        return GatewaySettings.model_validate({key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(
            f"WORKCAST_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}, got {e['input']!r}"
            for e in error.errors(include_url=False)
        )
        raise typer.BadParameter(problems) from error


def main() -> None:
    """Entry point: what workcast raises on purpose becomes one sentence on stderr and an exit code.

    Typer does as much for Ctrl-C (130) and for a reader of our output who has gone (1).
    """
    from workcast.ledger.limits import LimitError
    from workcast.producer.errors import (
        AgentNotInstalledError,
        EmptyPromptError,
        OptionError,
        UnknownAgentError,
    )

    try:
        app()
    except WorkcastError as error:
        sys.stderr.write("workcast: " + printable(str(error), keep="\n") + "\n")
        wrong_usage = isinstance(
            error, EmptyPromptError | LimitError | OptionError | UnknownAgentError | WorkcellIdError | WrongUsageError
        )
        sys.exit(127 if isinstance(error, AgentNotInstalledError) else 2 if wrong_usage else 1)
