"""Wrong usage of the command line, reported in one sentence as all errors are."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

import typer
from typer.core import TyperGroup

from workcast.events.errors import WorkcastError

_AFTER_DASHES: Final = "; options for the agent go after --, before the prompt"
_BRACES: Final = str.maketrans("", "", "{}")
"""Typer puts them around arguments that are required."""


class WrongUsageError(WorkcastError):
    """The command line cannot be understood; the message says what was expected."""

    exit_code: ClassVar[int] = 2


@runtime_checkable
class _UsageError(Protocol):
    """Typer's error for wrong usage, whose class is private."""

    ctx: typer.Context | None

    def format_message(self) -> str: ...


class OneSentence(TyperGroup):
    """The group of all verbs; turns Typer's usage errors into :class:`WrongUsageError`."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Parse the words before the verb."""
        with _wrong_usage():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Parse the verb's own words, and run it."""
        with _wrong_usage():
            return super().invoke(ctx)


@contextmanager
def _wrong_usage() -> Generator[None]:
    try:
        yield
    except Exception as error:
        if not isinstance(error, _UsageError) or type(error).__name__ == "NoArgsIsHelpError":
            raise
        raise WrongUsageError(_sentence(error)) from error


def _sentence(error: _UsageError) -> str:
    message = " ".join(error.format_message().split()).rstrip(".")
    if error.ctx is None:
        return message
    form = error.ctx.get_usage().translate(_BRACES).split(None, 1)[1]
    is_option = type(error).__name__ == "NoSuchOption" and error.ctx.info_name == "run"
    return f"{message}{_AFTER_DASHES if is_option else ''}; expected: {' '.join(form.split())}"
