"""Whether a workcell's summary answers what a question asks of runs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Final

from workcast.ledger.summary import Summary
from workcast.question.matcher import NameMatcher
from workcast.question.question import Comparison, NameField, Names, Quantity, QuantityField, Question


class RunFilter:
    """The filters of a question that are about runs: ``in``, ``root``, ``agent``, ``status``, ``cost`` and so on."""

    def __init__(self, question: Question) -> None:
        names = [filter_ for filter_ in question.filters if isinstance(filter_, Names)]
        self._places = [(filter_.field, NameMatcher(filter_)) for filter_ in names if filter_.field in _PLACES]
        self._names = [
            (_SUMMARY_NAMES[filter_.field], NameMatcher(filter_))
            for filter_ in names
            if filter_.field in _SUMMARY_NAMES
        ]
        self._quantities = [filter_ for filter_ in question.filters if isinstance(filter_, Quantity)]

    @property
    def needs_summary(self) -> bool:
        """Whether a summary is needed; if not, :meth:`admits_place` decides alone."""
        return bool(self._names or self._quantities)

    def admits_place(self, workcell: str, root: str) -> bool:
        """Whether ``in`` and ``root`` hold of a workcell's id and its root's name."""
        values = {"in": workcell, "root": root}
        return all(matcher.holds(values[field]) for field, matcher in self._places)

    def admits(self, summary: Summary) -> bool:
        """Whether all other filters hold of a workcell's summary: its figures are those of all its runs."""
        return all(matcher.holds(value(summary)) for value, matcher in self._names) and all(
            _holds(quantity, _QUANTITIES[quantity.field](summary)) for quantity in self._quantities
        )


_PLACES: Final[frozenset[NameField]] = frozenset(("in", "root"))
_SUMMARY_NAMES: Final[Mapping[NameField, Callable[[Summary], str | None]]] = {
    "agent": lambda summary: summary.agent,
    "model": lambda summary: summary.model,
    "status": lambda summary: summary.status,
    "issue": lambda summary: summary.issue_id,
}
_QUANTITIES: Final[Mapping[QuantityField, Callable[[Summary], float | None]]] = {
    "cost": lambda summary: summary.cost_computed_usd if summary.cost_usd is None else summary.cost_usd,
    "tokens": lambda summary: summary.usage.input_tokens + summary.usage.output_tokens,
    "duration": lambda summary: summary.duration_ms / 1000,
}
_COMPARISONS: Final[Mapping[Comparison, Callable[[float, float], bool]]] = {
    "=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def _holds(quantity: Quantity, value: float | None) -> bool:
    """Whether a figure compares so; one that is not known compares in no way."""
    compares = value is not None and _COMPARISONS[quantity.comparison](value, quantity.value)
    return compares is not quantity.is_excluded
