"""Making the text of agents safe for a terminal, which would obey its escape sequences."""

from __future__ import annotations

import json
import unicodedata

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))


def printable(text: str, *, keep: str = "") -> str:
    """Return ``text`` with control, bidirectional and invisible characters escaped, except for those in ``keep``."""
    if text.isprintable():
        return text
    return "".join(
        char if char in keep or unicodedata.category(char) not in _HIDDEN else char.encode("unicode_escape").decode()
        for char in text
    )


def harmless_json(text: str) -> str:
    """Return equivalent JSON with such characters escaped, which is safe for programs and terminals."""
    if text.isprintable():
        return text
    return "".join(json.dumps(char)[1:-1] if unicodedata.category(char) in _HIDDEN else char for char in text)
