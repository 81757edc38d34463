"""Wording: processes and programs are named, and events are emitted, written or reported, in everything people read."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SUFFIXES = {".css", ".html", ".lua", ".md", ".py", ".toml", ".ts", ".tsx", ".yml"}
UNREAD = ("recordings/", "golden/", "node_modules/")
"""Output of real agents, and files of others."""
BANNED = re.compile(r"(?<![a-z])(told|tells|whoever|nobody|somebody|anybody)(?![a-z])(?!_ms\b)", re.IGNORECASE)
"""Part of an identifier as well; ``told_ms`` is a field of the contract."""


def banned_words(text: str) -> list[str]:
    """Return the lines of a text with a banned word, with their numbers."""
    return [f"{number}: {line.strip()}" for number, line in enumerate(text.splitlines(), 1) if BANNED.search(line)]


def test_no_text_of_the_project_uses_a_banned_word() -> None:
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=REPOSITORY, text=True).split("\0")
    paths = [
        path
        for path in listed
        if (Path(path).suffix in SUFFIXES or Path(path).name in {"Makefile", "Dockerfile"})
        and not any(part in path for part in UNREAD)
        and Path(path) != Path(__file__).relative_to(REPOSITORY)
    ]
    assert len(paths) > 300
    found = {path: lines for path in paths if (lines := banned_words((REPOSITORY / path).read_text()))}
    assert found == {}


@pytest.mark.parametrize(
    ("line", "is_banned"),
    [
        ("What a writer told", True),
        ("def test_a_fault_is_told() -> None:", True),
        ("class Told:", True),
        ("Whoever reads this", True),
        ("told_ms: int | None", False),
        ("a toldout, untold", False),
    ],
)
def test_banned_words_are_found(line: str, *, is_banned: bool) -> None:
    assert banned_words(line) == ([f"1: {line}"] if is_banned else [])
