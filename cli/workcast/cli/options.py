"""The options of the command line: each is a variable ``WORKCAST_…`` in the environment too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from workcast.broker.root import check_workcell_id
from workcast.cli.duration import parse_duration
from workcast.events.errors import WorkcastError


def _checked(check: Callable[[str], object]) -> Callable[[typer.Context, typer.CallbackParam, str | None], str | None]:
    """A callback that lets ``check`` raise, and names the variable if the value is the environment's."""

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


def _check_redis_url(url: str) -> None:
    from workcast.broker.connection import check_url

    check_url(url)


def _check_gateway_url(url: str) -> None:
    from workcast.cli.gateway_client import check_gateway_url

    check_gateway_url(url)


def _parse_start(text: str) -> str:
    if text in ("start", "tail") or (text.isascii() and text.isdecimal()):
        return text
    raise typer.BadParameter(f"expected start, tail or an offset, got {text!r}")


_redis_url = _checked(_check_redis_url)

VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", envvar="WORKCAST_VERBOSE", help="Log more.")]
RootOption = Annotated[
    Path, typer.Option("--root", envvar="WORKCAST_ROOT", help="The directory that holds .workcells/.", metavar="DIR")
]
RootsOption = Annotated[
    list[Path],  # of paths, since the variable is split like PATH
    typer.Option(
        "--root", envvar="WORKCAST_ROOT", metavar="[NAME=]DIR",
        help="A directory that holds .workcells/; several may be given. A name goes before the ids of its workcells.",
    ),
]  # fmt: skip
HERE: Final = [Path()]
HostOption = Annotated[
    str | None, typer.Option("--host", envvar="WORKCAST_HOST", help="Where to listen; default: 127.0.0.1.")
]
PortOption = Annotated[
    int | None,
    typer.Option("--port", envvar="WORKCAST_PORT", min=0, max=65535, help="Default: 8787; 0: any that is free."),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="WORKCAST_URL", help="A gateway, instead of the root's.", metavar="URL",
        callback=_checked(_check_gateway_url),
    ),
]  # fmt: skip
RedisOption = Annotated[
    str | None,
    typer.Option(
        "--redis-url", envvar="WORKCAST_REDIS_URL", help="A Redis server.", metavar="URL", callback=_redis_url
    ),
]
BrokerOption = Annotated[
    str | None,
    typer.Option(
        "--redis-url", envvar="WORKCAST_REDIS_URL", help="A Redis server; default: an embedded Valkey.", metavar="URL",
        callback=_redis_url,
    ),
]  # fmt: skip
RelayOption = Annotated[
    str,
    typer.Option("--redis-url", envvar="WORKCAST_REDIS_URL", help="Where to.", metavar="URL", callback=_redis_url),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

WorkcellOption = Annotated[
    str | None,
    typer.Option(
        "--workcell", envvar="WORKCAST_WORKCELL", help="Its id; default: made from agent and time.", metavar="ID",
        callback=_checked(check_workcell_id),
    ),
]  # fmt: skip
IssueOption = Annotated[
    str | None, typer.Option("--issue", envvar="WORKCAST_ISSUE", help="The issue the agent works on.", metavar="ID")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", envvar="WORKCAST_MODEL", help="The agent's own name of a model.")
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--timeout", envvar="WORKCAST_TIMEOUT", parser=parse_duration, help="End it then: 90s, 30m, 2h.", metavar="TIME"
    ),
]
BudgetOption = Annotated[
    float | None,
    typer.Option("--budget", envvar="WORKCAST_BUDGET", help="End it when it has cost more US dollars.", metavar="USD"),
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option(
        "--max-tokens", envvar="WORKCAST_MAX_TOKENS", help="End it when it has taken more, input and output.",
        metavar="N",
    ),
]  # fmt: skip
WorktreeOption = Annotated[
    bool,
    typer.Option(
        "--worktree", envvar="WORKCAST_WORKTREE",
        help="Make the workcell a git worktree of the root, on branch workcast/ID.",
    ),
]  # fmt: skip
WatchOption = Annotated[
    bool,
    typer.Option(
        "--watch", envvar="WORKCAST_WATCH",
        help="Show the sessions of Claude Code and Codex too that were not started by workcast.",
    ),
]  # fmt: skip
SinceOption = Annotated[
    float,
    typer.Option(
        "--since", envvar="WORKCAST_SINCE", parser=parse_duration, metavar="TIME",
        help="Leave sessions alone that have not changed for longer: 12h, 7d.", show_default="7d",
    ),
]  # fmt: skip
SINCE = 7 * 86400.0
ExitCodeOption = Annotated[
    int | None,
    typer.Option("--exit-code", envvar="WORKCAST_EXIT_CODE", help="What the agent ended with, if known."),
]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", envvar="WORKCAST_STRICT", help="Exit with 1 if there is a line that no rule knows."),
]
StartOption = Annotated[
    str, typer.Option("--from", envvar="WORKCAST_FROM", help="start, tail, or an offset.", parser=_parse_start)
]
RowsOption = Annotated[
    Literal["runs", "messages", "calls", "subagents"],
    typer.Option("--rows", envvar="WORKCAST_ROWS", help="What to list besides the totals."),
]
DemoRootOption = Annotated[
    Path | None,
    typer.Option(  # not WORKCAST_ROOT: recordings are not to be played among somebody's own runs by accident
        "--root", envvar="WORKCAST_DEMO_ROOT", help="Play in this root and keep it; default: a temporary one.",
        metavar="DIR",
    ),
]  # fmt: skip
OnlyAgentsOption = Annotated[
    bool,
    typer.Option(
        "--only-agents", envvar="WORKCAST_ONLY_AGENTS",
        help="Do not serve: write the logs of --root, and relay them if Redis is named.",
    ),
]  # fmt: skip
