"""Events from fields that a mapping made."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from workcast.events.frozen import builder_of
from workcast.events.models import MODELS, BaseEvent

_BUILDERS: Final = {kind: builder_of(model) for kind, model in MODELS.items()}


def events_of(mapped: Iterable[dict[str, Any]], at: datetime) -> list[BaseEvent]:
    """Build one event for each set of fields, all with the same time.

    Only ``args`` and ``result`` may be None. The sets of fields are changed.
    """
    events: list[BaseEvent] = []
    for fields in mapped:
        fields["timestamp"] = at
        events.append(_BUILDERS[fields["type"]](fields))
    return events
