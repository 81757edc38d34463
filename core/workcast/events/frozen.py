"""The base of all models of events: immutable, keeps unknown fields, and is built past pydantic's constructor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, ParamSpec, TypeVar

from pydantic import BaseModel, ConfigDict

P = ParamSpec("P")
E = TypeVar("E", bound="Frozen")


class Frozen(BaseModel):
    """Immutable, and keeps the fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    null_told: ClassVar[frozenset[str]] = frozenset()
    """The fields whose None says something: :func:`make` keeps it."""


def make(model: Callable[P, E], /, *_: P.args, **fields: P.kwargs) -> E:
    """A validated instance of ``fields``, of which those that are None are left out, but for ``null_told``.

    So an event says nothing about what nobody knows. It goes straight to the model's validator, past the constructor:
    1.0 µs, where ``model(**fields)`` takes 1.2.

    Raises:
        pydantic.ValidationError: a field does not fit.
    """
    kind: Any = model
    known: dict[str, Any] = fields
    for value in fields.values():  # mostly none is None; to ask with `in` would compare with each
        if value is None:
            known, told = {}, kind.null_told
            for name, given in fields.items():
                if given is not None or name in told:
                    known[name] = given
            break
    made: E = kind.__pydantic_validator__.validate_python(known)
    return made


def validator(model: type[E]) -> Callable[[dict[str, Any]], E]:
    """What makes a validated instance of a dict of fields, none of them None, in one call: 0.3 µs less than ``make``.

    No type checker looks at such fields, so this is for the events that come by the million.
    """
    validate: Callable[[dict[str, Any]], E] = model.__pydantic_validator__.validate_python
    return validate
