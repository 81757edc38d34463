"""The options that workcast itself gives to an agent: given once more by the user they break some agents' start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from workcast.producer.errors import OptionError


class OwnOption(NamedTuple):
    """One that the command line has already."""

    names: tuple[str, ...]
    value: str | None = None
    """None: a flag without a value."""


def model_option(model: str | None) -> tuple[OwnOption, ...]:
    """The model, if ``run`` was told one; else the user may name it to the agent."""
    return () if model is None else (OwnOption(("-m", "--model"), model),)


def without_own(agent: str, own: Sequence[OwnOption], options: Sequence[str]) -> tuple[str, ...]:
    """The user's options without those that only say what is said already.

    Raises:
        OptionError: one of them says something else.
    """
    kept: list[str] = []
    words = iter(options)
    for word in words:
        name, value = _split(word)
        mine = next((option for option in own if name in option.names), None)
        if mine is None:
            kept.append(word)
            continue
        if value is None and mine.value is not None:
            value = next(words, "")
        if value != mine.value:
            said = " ".join(filter(None, (name, mine.value)))
            raise OptionError(
                f"expected no option {name} for {agent}, got it with {value!r}; "
                f"workcast passes {said} itself: leave it out"
            )
    return tuple(kept)


def _split(word: str) -> tuple[str, str | None]:
    """An option's name, and its value if that stands in the same word: ``--name=value`` or ``-nvalue``."""
    if word.startswith("--"):
        name, mark, value = word.partition("=")
        return name, value if mark else None
    if len(word) > 2 and word.startswith("-") and not any(map(str.isspace, word)):  # else it is a text, not an option
        return word[:2], word[2:].removeprefix("=")
    return word, None
