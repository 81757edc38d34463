"""The options of the command line; each is a variable ``WORKCAST_…`` in the environment too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from workcast.broker import names
from workcast.cli.duration import parse_duration
from workcast.cli.size import parse_size
from workcast.events.errors import WorkcastError


def _checked(check: Callable[[str], object]) -> Callable[[typer.Context, typer.CallbackParam, str | None], str | None]:
    """Return a callback that lets ``check`` raise, and names the variable if the environment gave the value."""

    def callback(context: typer.Context, option: typer.CallbackParam, value: str | None) -> str | None:
        if value is None or context.resilient_parsing:
            return value
        try:
            check(value)
        except WorkcastError as error:
            source = context.get_parameter_source(str(option.name))
            if source is not None and source.name == "ENVIRONMENT":
                raise type(error)(f"{option.envvar}: {error}") from error
            raise
        return value

    return callback


# What they check with is imported when there is something to check: help needs none of it.
def _check_redis_url(url: str) -> None:
    from workcast.broker.connection import check_url

    check_url(url)


def _check_gateway_url(url: str) -> None:
    from workcast.cli.gateway_client import check_gateway_url

    check_gateway_url(url)


def _check_workcell_id(workcell: str) -> None:
    from workcast.broker.root import check_workcell_id

    check_workcell_id(workcell)


def _parse_start(text: str) -> str:
    if text in ("start", "tail") or (text.isascii() and text.isdecimal()):
        return text
    raise typer.BadParameter(f"expected start, tail or an offset, got {text!r}")


def _redis_url(text: str) -> Any:
    """Declare ``--redis-url`` with a help text of a command's own."""
    check = _checked(_check_redis_url)
    return typer.Option("--redis-url", envvar=names.REDIS_URL_VARIABLE, metavar="URL", callback=check, help=text)


VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", envvar=names.VERBOSE_VARIABLE, help="Log more than warnings.")
]
RootOption = Annotated[
    Path,
    typer.Option("--root", envvar=names.ROOT_VARIABLE, metavar="DIR", help="The directory that contains .workcells/."),
]
RootsOption = Annotated[
    list[Path],  # of paths, since the variable is split like PATH
    typer.Option(
        "--root", envvar=names.ROOT_VARIABLE, metavar="[NAME=]DIR",
        help="A directory that contains .workcells/; may be given several times. A name is put before the ids of its "
        "workcells.",
    ),
]  # fmt: skip
HERE: Final = [Path()]
HostOption = Annotated[
    str | None,
    typer.Option("--host", envvar=names.HOST_VARIABLE, help="The address to listen on; default: 127.0.0.1."),
]
PortOption = Annotated[
    int | None,
    typer.Option(
        "--port", envvar=names.PORT_VARIABLE, min=0, max=65535,
        help="The port to listen on; default: 8787; 0: any free one.",
    ),
]  # fmt: skip
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", envvar=names.URL_VARIABLE, metavar="URL", callback=_checked(_check_gateway_url),
        help="Use this gateway instead of the root's.",
    ),
]  # fmt: skip
RedisOption = Annotated[str | None, _redis_url("A Redis server.")]
BrokerOption = Annotated[str | None, _redis_url("A Redis server; default: an embedded Valkey.")]
RelayOption = Annotated[str, _redis_url("The Redis server to relay to.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

WorkcellOption = Annotated[
    str | None,
    typer.Option(
        "--workcell", envvar=names.WORKCELL_VARIABLE, metavar="ID", callback=_checked(_check_workcell_id),
        help="The workcell's id; default: made from agent and time.",
    ),
]  # fmt: skip
IssueOption = Annotated[
    str | None,
    typer.Option("--issue", envvar=names.ISSUE_VARIABLE, metavar="ID", help="The issue that the agent works on."),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", envvar=names.MODEL_VARIABLE, help="A model, by the agent's own name for it.")
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--timeout", envvar=names.TIMEOUT_VARIABLE, parser=parse_duration, metavar="TIME",
        help="End the agent after this time: 90s, 30m, 2h.",
    ),
]  # fmt: skip
BudgetOption = Annotated[
    float | None,
    typer.Option(
        "--budget", envvar=names.BUDGET_VARIABLE, metavar="USD",
        help="End the agent once it has cost more US dollars than this.",
    ),
]  # fmt: skip
MaxTokensOption = Annotated[
    int | None,
    typer.Option(
        "--max-tokens", envvar=names.MAX_TOKENS_VARIABLE, metavar="N",
        help="End the agent once it has used more tokens than this, input and output.",
    ),
]  # fmt: skip
WorktreeOption = Annotated[
    bool,
    typer.Option(
        "--worktree", envvar=names.WORKTREE_VARIABLE,
        help="Make the workcell a git worktree of the root, on branch workcast/ID.",
    ),
]  # fmt: skip
WatchOption = Annotated[
    bool,
    typer.Option(
        "--watch", envvar=names.WATCH_VARIABLE,
        help="Also show the sessions of Claude Code and Codex that workcast did not start.",
    ),
]  # fmt: skip
IndexOption = Annotated[
    bool,
    typer.Option(
        "--index/--no-index", envvar=names.INDEX_VARIABLE,
        help="Keep an index of all runs, from which questions about many events are answered.",
    ),
]  # fmt: skip
ByOption = Annotated[
    str,
    typer.Option(
        "--by", envvar=names.BY_VARIABLE, metavar="KEY[,KEY]",
        help="What to sum up by: tool, agent, model, day, workcell, issue, root, status, path, or two of them.",
    ),
]  # fmt: skip
StatsSinceOption = Annotated[
    float | None,
    typer.Option(
        "--since", envvar=names.SINCE_VARIABLE, parser=parse_duration, metavar="TIME",
        help="Count only runs that began within this time: 12h, 7d.",
    ),
]  # fmt: skip
SinceOption = Annotated[
    float,
    typer.Option(
        "--since", envvar=names.SINCE_VARIABLE, parser=parse_duration, metavar="TIME", show_default="7d",
        help="Skip sessions that have not changed for longer than this: 12h, 7d.",
    ),
]  # fmt: skip
SINCE = 7 * 86400.0
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", envvar=names.DRY_RUN_VARIABLE, help="Change nothing; print what would be removed.")
]
WithWorktreeOption = Annotated[
    bool,
    typer.Option(
        "--with-worktree", envvar=names.WITH_WORKTREE_VARIABLE,
        help="Remove its git worktree too, with the files that git ignores, and the branch workcast/ID; nothing is "
        "removed if the worktree has changes, or commits that are on no other branch.",
    ),
]  # fmt: skip
OlderThanOption = Annotated[
    float | None,
    typer.Option(
        "--older-than", envvar=names.OLDER_THAN_VARIABLE, parser=parse_duration, metavar="TIME",
        help="Remove workcells whose last run ended longer ago than this: 12h, 30d.",
    ),
]  # fmt: skip
KeepFailedOption = Annotated[
    bool,
    typer.Option(
        "--keep-failed", envvar=names.KEEP_FAILED_VARIABLE,
        help="Keep workcells whose last run failed, timed out or was lost.",
    ),
]  # fmt: skip
MaxBytesOption = Annotated[
    int | None,
    typer.Option(
        "--max-bytes", envvar=names.MAX_BYTES_VARIABLE, parser=parse_size, metavar="SIZE",
        help="Remove the oldest workcells until the records of the root have no more bytes than this: 500M, 20G.",
    ),
]  # fmt: skip
ExitCodeOption = Annotated[
    int | None,
    typer.Option("--exit-code", envvar=names.EXIT_CODE_VARIABLE, help="The agent's exit code, if known."),
]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", envvar=names.STRICT_VARIABLE, help="Exit with 1 if any line matches no rule."),
]
StartOption = Annotated[
    str,
    typer.Option(
        "--from", envvar=names.FROM_VARIABLE, parser=_parse_start, help="Where to begin: start, tail, or an offset."
    ),
]
RowsOption = Annotated[
    Literal["runs", "messages", "calls", "subagents"],
    typer.Option("--rows", envvar=names.ROWS_VARIABLE, help="What to list besides the totals."),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit", envvar=names.LIMIT_VARIABLE, min=0, metavar="N",
        help="Show at most this many hits; 0: all. Default: 100; with --json, all.",
    ),
]  # fmt: skip
DemoRootOption = Annotated[
    Path | None,
    typer.Option(  # not WORKCAST_ROOT: recordings must not get among a user's own runs by accident
        "--root", envvar=names.DEMO_ROOT_VARIABLE, metavar="DIR",
        help="Play in this root and keep it; default: a temporary one.",
    ),
]  # fmt: skip
OnlyAgentsOption = Annotated[
    bool,
    typer.Option(
        "--only-agents", envvar=names.ONLY_AGENTS_VARIABLE,
        help="Serve nothing: write the logs of --root, and relay them if Redis is named.",
    ),
]  # fmt: skip
