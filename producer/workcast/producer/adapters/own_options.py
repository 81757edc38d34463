"""The options that workcast itself passes to an agent; repeated by the user, some agents would refuse them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from workcast.producer.errors import OptionError


class OwnOption(NamedTuple):
    """An option that workcast passes."""

    names: tuple[str, ...]
    value: str | None = None
    """None: a flag without a value."""


def model_option(model: str | None) -> tuple[OwnOption, ...]:
    """Return the model option, if ``run`` was given a model; else the user may pass one to the agent."""
    return () if model is None else (OwnOption(("-m", "--model"), model),)


def without_own(agent: str, own: Sequence[OwnOption], options: Sequence[str]) -> tuple[str, ...]:
    """Return the user's options without those that repeat ours.

    Raises:
        OptionError: one of them has another value than ours.
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
            ours = " ".join(filter(None, (name, mine.value)))
            raise OptionError(
                f"expected no option {name} for {agent}, got it with {value!r}; "
                f"workcast passes {ours} itself: leave it out"
            )
    return tuple(kept)


def _split(word: str) -> tuple[str, str | None]:
    """Return an option's name, and its value if both are one word: ``--name=value`` or ``-nvalue``."""
    if word.startswith("--"):
        name, mark, value = word.partition("=")
        return name, value if mark else None
    if len(word) > 2 and word.startswith("-") and not any(map(str.isspace, word)):
        return word[:2], word[2:].removeprefix("=")
    return word, None
