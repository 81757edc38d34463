"""Text of agents, made safe for a terminal: it obeys whatever escape sequence it is shown."""

from __future__ import annotations

import json
import unicodedata

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))


def printable(text: str, *, keep: str = "") -> str:
    """``text`` with control, bidirectional and invisible characters shown as escapes, but for those in ``keep``."""
    if text.isprintable():
        return text
    return "".join(
        char if char in keep or unicodedata.category(char) not in _HIDDEN else char.encode("unicode_escape").decode()
        for char in text
    )


def harmless_json(text: str) -> str:
    """JSON ``text`` that means the same, with such characters escaped: programs and terminals can both have it."""
    if text.isprintable():
        return text
    return "".join(json.dumps(char)[1:-1] if unicodedata.category(char) in _HIDDEN else char for char in text)
