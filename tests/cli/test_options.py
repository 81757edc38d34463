"""Every option of every verb is a variable in the environment too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup, TyperOption

from support.processes import workcast
from workcast.cli.main import app

UNNAMED = frozenset({"--help", "--version", "--json", "--install-completion", "--show-completion"})
"""Options that ask for another answer, or another form of it, are not settings."""
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def options() -> Iterator[tuple[str, str, TyperOption]]:
    """Each option with the verb that has it (none: the program's own) and its long name."""
    program = typer.main.get_command(app)
    assert isinstance(program, TyperGroup)
    for verb, command in [("", program), *program.commands.items()]:
        assert isinstance(command, TyperGroup | TyperCommand)
        for option in command.params:
            name = max(option.opts, key=len)
            if isinstance(option, TyperOption) and name not in UNNAMED:
                yield verb, name, option


def test_each_option_has_a_variable_of_its_name_which_help_and_documentation_mention() -> None:
    found = list(options())
    assert {(verb, name) for verb, name, _ in found} > {("", "--verbose"), ("run", "--worktree"), ("tail", "--from")}
    documentation = OPERATIONS.read_text()
    for verb, name, option in found:
        variable = "WORKCAST_" + name.removeprefix("--").replace("-", "_").upper()
        if (verb, name) == ("demo", "--root"):  # recordings do not go among a user's own runs by accident
            variable = "WORKCAST_DEMO_ROOT"
        assert (option.envvar, option.show_envvar) == (variable, True), f"{verb} {name}"
        assert f"`{variable}`" in documentation, f"{verb} {name}"


def test_a_run_takes_its_options_from_the_environment(tmp_path: Path) -> None:
    env = {"WORKCAST_ROOT": str(tmp_path), "WORKCAST_WORKCELL": "wc", "WORKCAST_ISSUE": "X-1", "WORKCAST_MODEL": "m-1"}
    done = workcast("run", "exec", "sleep", "600", env={**env, "WORKCAST_TIMEOUT": "300ms"})
    assert done.returncode == 124
    lines = (tmp_path / ".workcells" / "wc" / "telemetry.jsonl").read_bytes().splitlines()
    assert {(event["issue_id"], event["model"]) for event in map(json.loads, lines)} == {("X-1", "m-1")}


def test_an_option_on_the_command_line_overrides_its_variable(tmp_path: Path) -> None:
    env = {"WORKCAST_WORKCELL": "there", "WORKCAST_ROOT": "/no/such/root"}
    assert workcast("run", "--workcell", "here", "--root", str(tmp_path), "exec", "true", env=env).returncode == 0
    assert (tmp_path / ".workcells" / "here").is_dir()


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    env = {f"WORKCAST_{name}": "" for name in ("WORKCELL", "ISSUE", "MODEL", "TIMEOUT", "WORKTREE", "REDIS_URL")}
    assert workcast("run", "exec", "true", cwd=tmp_path, env=env).returncode == 0


@pytest.mark.parametrize(
    ("words", "variable", "value", "code"),
    [
        ("up", "WORKCAST_PORT", "http", 2),
        ("up", "WORKCAST_MAX_VIEWERS", "many", 2),
        ("run exec true", "WORKCAST_TIMEOUT", "soon", 2),
        ("run exec true", "WORKCAST_WORKTREE", "perhaps", 2),
        ("run exec true", "WORKCAST_WORKCELL", "../x", 2),
        ("tail wc", "WORKCAST_FROM", "-1", 2),
        ("tail wc", "WORKCAST_URL", "localhost", 1),
        ("ls", "WORKCAST_VERBOSE", "loudly", 2),
        ("parse claude", "WORKCAST_EXIT_CODE", "one", 2),
        ("relay", "WORKCAST_REDIS_URL", "localhost", 1),
    ],
)
def test_a_malformed_variable_is_an_error_that_names_it(
    tmp_path: Path, words: str, variable: str, value: str, code: int
) -> None:
    done = workcast(*words.split(), cwd=tmp_path, env={variable: value})
    assert done.returncode == code
    assert done.stdout == b""
    text = done.stderr.decode()
    assert "Traceback" not in text
    assert variable in text
    assert list(tmp_path.iterdir()) == []
