"""docs/architecture.md names only files, functions and tests that exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = REPOSITORY / "docs"
TEXT = (DOCUMENTS / "architecture.md").read_text()
NAMES = sorted(set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL))))
_MODULE = re.compile(r"(workcast(?:\.\w+)+)(?::([\w.]+))?")
_PATH = re.compile(r"([\w.-]+(?:/[\w.-]+)*/?)(?::([\w.]+))?")


def exists(name: str) -> bool:
    """Whether a module, a name in one (``module:name``), a path, or a name in a file (``path:name``) exists."""
    if found := _MODULE.fullmatch(name):
        return _has_attribute(found.group(1), found.group(2))
    found = _PATH.fullmatch(name)
    if found is None or not (REPOSITORY / found.group(1)).exists():
        return False
    return found.group(2) is None or _defines((REPOSITORY / found.group(1)).read_text(), found.group(2))


def _has_attribute(module: str, name: str | None) -> bool:
    try:
        value: object = importlib.import_module(module)
        for part in name.split(".") if name else ():
            value = getattr(value, part)
    except (ImportError, AttributeError):
        return False
    return True


def _defines(source: str, name: str) -> bool:
    """Whether a Python or TypeScript source defines a name: the class, and then its method."""
    first, *inner = name.split(".")
    found = re.search(rf"\b(?:class|def|function|const|interface|type) {first}\b", source)
    return found is not None and all(
        re.search(rf"^ +(?:async )?(?:def )?#?{part}\(", source[found.end() :], re.MULTILINE) for part in inner
    )


def is_a_term(name: str) -> bool:
    """Whether a name is not code but a term of the contract or a command, as the other documents use it."""
    return any(f"`{name}`" in (DOCUMENTS / other).read_text() for other in ("protocol.md", "operations.md"))


def test_every_name_in_the_architecture_exists() -> None:
    assert len(NAMES) > 50
    assert [name for name in NAMES if not exists(name) and not is_a_term(name)] == []


@pytest.mark.parametrize(
    "name",
    [
        "workcast.broker.nothing", "workcast.events.wire:nothing", "workcast.broker.relay:Relay.nothing",
        "tests/nothing.py", "tests/test_architecture.py:nothing", "ui/src/core/fold.ts:Fold.nothing", "nothing at all",
    ],
)  # fmt: skip
def test_a_name_that_does_not_exist_is_found(name: str) -> None:
    assert not exists(name)


@pytest.mark.parametrize(
    "name",
    [
        "workcast.events.wire:inspect", "workcast.broker.relay:Relay.run", "tests/", "ui/src/core/fold.ts:Fold.push",
        "tests/test_architecture.py:test_a_name_that_exists_is_accepted",
    ],
)  # fmt: skip
def test_a_name_that_exists_is_accepted(name: str) -> None:
    assert exists(name)
