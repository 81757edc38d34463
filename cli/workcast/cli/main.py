"""``workcast``: its verbs and their options; what a verb needs is imported when it runs, so that help comes at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workcast.cli.messages import say
from workcast.cli.options import (
    HERE,
    SINCE,
    BrokerOption,
    BudgetOption,
    ByOption,
    DemoRootOption,
    DryRunOption,
    ExitCodeOption,
    HostOption,
    IndexOption,
    IssueOption,
    JsonOption,
    KeepFailedOption,
    LimitOption,
    MaxBytesOption,
    MaxTokensOption,
    ModelOption,
    OlderThanOption,
    OnlyAgentsOption,
    PortOption,
    RedisOption,
    RelayOption,
    RootOption,
    RootsOption,
    RowsOption,
    SinceOption,
    StartOption,
    StatsSinceOption,
    StrictOption,
    TimeoutOption,
    UrlOption,
    VerboseOption,
    WatchOption,
    WithWorktreeOption,
    WorkcellOption,
    WorktreeOption,
)
from workcast.cli.printable import printable
from workcast.cli.usage import OneSentence
from workcast.events.errors import WorkcastError

if TYPE_CHECKING:
    from workcast.broker.root import Root
    from workcast.broker.roots import Roots
    from workcast.consumer.serving import Background
    from workcast.consumer.settings import GatewaySettings

app = typer.Typer(
    name="workcast",
    cls=OneSentence,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # loading rich takes longer than all else that help needs
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("workcast"))
        raise typer.Exit


_SERVING = frozenset({"up", "serve", "demo", "relay", "watch", "index"})
"""The verbs that run until they are ended: their log lines need a time."""


@app.callback()
def options(
    ctx: typer.Context,
    *,
    verbose: VerboseOption = False,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Shows, live, what coding agents do inside their workcells.

    Logs go to stderr; stdout is for results.
    """
    from workcast.cli.log_lines import log_to_stderr

    log_to_stderr(verbose=verbose, timed=ctx.invoked_subcommand in _SERVING)


@app.command()
def up(
    roots: RootsOption = HERE,
    host: HostOption = None,
    port: PortOption = None,
    redis_url: BrokerOption = None,
    since: SinceOption = SINCE,
    older_than: OlderThanOption = None,
    max_bytes: MaxBytesOption = None,
    *,
    watch: WatchOption = False,
    keep_failed: KeepFailedOption = False,
    index: IndexOption = True,
) -> None:
    """Serve roots, all on this machine.

    Runs an embedded broker, relay, index, gateway and dashboard; prints the address once it answers. With
    --older-than or --max-bytes it removes workcells as prune does, at the start and then every ten minutes.
    """
    from workcast.broker.retention import Rules
    from workcast.cli.retention import Retention
    from workcast.cli.up import serve_roots

    settings = _settings(host=host, port=port, redis_url=redis_url)
    served = _roots(roots)
    background: list[Background] = [Retention(served, Rules(older_than, max_bytes, keep_failed=keep_failed))]
    if index:
        from workcast.cli.index import Index

        background.append(Index(served))
    if watch:
        from workcast.cli.watch import Watch

        background.append(Watch(since))
    serve_roots(served, settings, background)


@app.command()
def serve(
    roots: RootsOption = HERE,
    host: HostOption = None,
    port: PortOption = None,
    redis_url: RedisOption = None,
) -> None:
    """Serve the gateway and dashboard alone.

    The broker runs elsewhere; any number of gateways can use it.
    """
    from workcast.cli.serve import serve_gateway

    serve_gateway(_roots(roots), _settings(host=host, port=port, redis_url=redis_url))


@app.command()
def demo(
    port: PortOption = None,
    root: DemoRootOption = None,
    redis_url: BrokerOption = None,
    *,
    only_agents: OnlyAgentsOption = False,
) -> None:
    """Serve a fleet of recorded agents.

    They play at their own pace; no agent and no key is needed.
    """
    from workcast.cli.demo import play_demo, serve_demo

    settings = _settings(port=port, redis_url=redis_url)
    if not only_agents:
        serve_demo(settings, root)
    elif root is None:
        raise typer.BadParameter("expected --root with --only-agents, for another workcast to serve")
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
    import asyncio

    from workcast.cli.run import run_in_workcell
    from workcast.ledger.limits import Limits

    limits = Limits(budget, max_tokens)
    code = asyncio.run(
        run_in_workcell(_root(root), agent, words, workcell, issue, model, timeout, limits, worktree=worktree)
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
    """Turn an agent's stdout into events.

    Prints them as JSON lines; writes no files and needs no broker.
    """
    from workcast.cli.parse import parse_output

    unknown = parse_output(agent, file, exit_code)
    if strict and unknown:
        say(f"workcast: {unknown} lines match no rule; see the unknown events")
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
    """Follow a workcell in the terminal."""
    import asyncio

    from workcast.cli.tail import follow

    asyncio.run(follow(_root(root), workcell, start, url, as_json=json))


@app.command("ls")
def list_workcells(root: RootOption = Path(), url: UrlOption = None, *, json: JsonOption = False) -> None:
    """List workcells and their state.

    Reads them from the gateway if one runs, else from the files.
    """
    from workcast.cli.ls import list_fleet

    list_fleet(_root(root), url, as_json=json)


@app.command()
def account(
    workcell: Annotated[str, typer.Argument(metavar="WORKCELL")],
    root: RootOption = Path(),
    rows: RowsOption = "runs",
    url: UrlOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Show what a workcell's runs used.

    Counts tokens, money and time; reads them from the gateway if one runs, else from the files.
    """
    from workcast.cli.account import show_account

    show_account(_root(root), workcell, rows, url, as_json=json)


@app.command()
def search(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help='Words, "a phrase", /regex/, field:value.')],
    root: RootOption = Path(),
    limit: LimitOption = None,
    url: UrlOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Search all logs.

    Finds what agents were asked, said, called and got; from the gateway if one runs, else from the files. Quote the
    question for the shell; put -- before one that begins with a minus.
    """
    from workcast.cli.search import search as search_logs

    search_logs(_root(root), question, limit, url, as_json=json)


@app.command()
def stats(
    root: RootOption = Path(),
    by: ByOption = "agent",
    since: StatsSinceOption = None,
    url: UrlOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Sum up all runs by what they have in common.

    Counts runs, calls, tokens, money and time; reads them from the gateway if one runs, else from index and files.
    """
    from workcast.cli.stats import show_stats

    show_stats(_root(root), by, since, url, as_json=json)


@app.command()
def verify(
    workcells: Annotated[list[str] | None, typer.Argument(metavar="[WORKCELL]…", help="Default: all.")] = None,
    root: RootOption = Path(),
    redis_url: RedisOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Compare logs with their streams.

    Compares line by line; the exit code is 1 if anything is missing or differs.
    """
    from workcast.cli.verify import verify_root

    if not verify_root(_root(root), redis_url, workcells or [], as_json=json):
        raise typer.Exit(1)


@app.command("rm")
def remove(
    workcells: Annotated[list[str], typer.Argument(metavar="WORKCELL")],
    root: RootOption = Path(),
    redis_url: RedisOption = None,
    *,
    with_worktree: WithWorktreeOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Remove workcells.

    Removes what workcast wrote for them: log, prompt, output, proof, state; and the directory if nothing else is in it.
    The exit code is 1 if any was not removed: it is unknown, or a run or session in it goes on.

    \b
    workcast rm claude-20261122-101500-3f2a
    workcast rm --with-worktree fix-17 fix-18
    """
    from workcast.cli.removal import remove_named

    if not remove_named(
        _named_root(root), redis_url, workcells, with_worktree=with_worktree, dry_run=dry_run, as_json=json
    ):
        raise typer.Exit(1)


@app.command()
def prune(
    root: RootOption = Path(),
    older_than: OlderThanOption = None,
    max_bytes: MaxBytesOption = None,
    redis_url: RedisOption = None,
    *,
    keep_failed: KeepFailedOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Remove old workcells.

    Removes what rm would remove, by age or until the rest is small enough; runs and sessions that go on are left alone.

    \b
    workcast prune --older-than 30d --keep-failed --dry-run
    workcast prune --max-bytes 20G
    """
    from workcast.broker.retention import Rules
    from workcast.cli.removal import remove_by_rules

    rules = Rules(older_than, max_bytes, keep_failed=keep_failed)
    if not remove_by_rules(_named_root(root), redis_url, rules, dry_run=dry_run, as_json=json):
        raise typer.Exit(1)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A transcript of Claude Code or Codex.", metavar="FILE")],
    root: RootOption = Path(),
    workcell: WorkcellOption = None,
) -> None:
    """Make a workcell of a stored session.

    Reads a transcript that Claude Code or Codex keeps on disk. Running it again adds what is new.
    """
    from workcast.cli.import_ import import_transcript

    import_transcript(_root(root), file, workcell)


@app.command()
def watch(
    agents: Annotated[list[str], typer.Argument(help="claude, codex, or both.", metavar="AGENT…")],
    root: RootOption = Path(),
    since: SinceOption = SINCE,
) -> None:
    """Make workcells of sessions as they grow.

    Follows the transcripts that agents keep on disk.
    """
    from workcast.broker.roots import parse_root
    from workcast.cli.watch import watch_agents

    watch_agents(parse_root(root), agents, since)


@app.command("index")
def index_logs(roots: RootsOption = HERE) -> None:
    """Keep the index of roots up to date.

    An up does this itself. The index is made from the logs and can be deleted at any time.
    """
    from workcast.cli.index import index_roots

    index_roots(_roots(roots))


@app.command(context_settings={"ignore_unknown_options": True})
def hook(words: Annotated[list[str] | None, typer.Argument(metavar="[--root DIR]")] = None) -> None:
    """Emit the events of a Claude Code hook.

    Reads the hook's payload from stdin. The root is --root, else WORKCAST_ROOT, else the nearest directory above the
    session's that contains .workcells/; without one nothing is written. The exit code is never 2, which would forbid
    the tool's call.
    """
    from workcast.cli.hook import run

    raise typer.Exit(run(words or []))


@app.command()
def relay(
    redis_url: RelayOption,
    roots: RootsOption = HERE,
) -> None:
    """Relay the logs of roots to Redis.

    The gateways run elsewhere.
    """
    from workcast.broker.batch import Budgets
    from workcast.cli.relay import relay_roots

    settings = _settings()
    relay_roots(_roots(roots), redis_url, settings.redis_patience, Budgets(window_bytes=settings.window_bytes))


def _root(directory: Path) -> Root:
    from workcast.broker.root import Root

    return Root(directory)


def _named_root(given: Path) -> Root:
    from workcast.broker.roots import parse_root

    return parse_root(given)


def _roots(given: list[Path]) -> Roots:
    from workcast.broker.roots import Roots, parse_root

    return Roots(*map(parse_root, given))


def _settings(**given: object) -> GatewaySettings:
    """Return the gateway's settings: from the command line, else from the environment, else their defaults."""
    from pydantic import ValidationError

    from workcast.broker.environment import gateway_variable, read_gateway_settings
    from workcast.broker.price_file import current_prices
    from workcast.consumer.settings import GatewaySettings

    current_prices()  # reports a faulty price table now, not once tokens are counted
    options = {key: value for key, value in given.items() if value is not None}
    try:
        return GatewaySettings.model_validate({**read_gateway_settings(), **options})
    except ValidationError as error:
        problems = "; ".join(
            f"{gateway_variable('_'.join(map(str, e['loc'])))}: {e['msg']}, got {e['input']!r}"
            for e in error.errors(include_url=False)
        )
        raise typer.BadParameter(problems) from error


def main() -> None:
    """Run the command line; an error of workcast becomes one sentence on stderr and its exit code.

    Typer handles Ctrl-C (130) and a closed stdout (1).
    """
    try:
        app()
    except WorkcastError as error:
        say("workcast: " + printable(str(error), keep="\n"))
        sys.exit(error.exit_code)
