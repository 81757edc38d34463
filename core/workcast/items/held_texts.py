"""Texts that come in pieces, held until they are whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from workcast.items.item import Kind

MAX_TEXT: Final = 1 << 20
"""Code points of one held text; a longer one is given in parts of whole pieces: no phrase is found across two."""
MAX_HELD: Final = 4 << 20
"""Code points of all held texts; beyond, the oldest is given as it is."""
MAX_TEXTS: Final = 256
"""Held texts; beyond, likewise."""


class Key(NamedTuple):
    """What the pieces of one text have in common."""

    kind: Kind
    owner: str | None
    """The message or the call."""
    part: int | str | None
    """The block of the message, or the stream of the output."""


@dataclass(slots=True)
class HeldText:
    """The pieces so far, and what is known from the first one's event."""

    key: Key
    offset: int
    """Of the first piece."""
    type: str
    timestamp: str | None
    pieces: list[str] = field(default_factory=list[str])
    size: int = 0

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class HeldTexts:
    """The texts that are not whole yet, in the order of their first pieces; bounded."""

    def __init__(self) -> None:
        self._held: dict[Key, HeldText] = {}
        self._by_owner: dict[str | None, dict[Key, None]] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def first_offset(self) -> int | None:
        """The offset of the first piece that is held; None if none is."""
        return next((text.offset for text in self._held.values()), None)  # in the order of their first pieces

    def add(self, piece: str, new: HeldText) -> Iterable[HeldText]:
        """Add a piece to the text of the key of ``new``, which is that text if this is its first piece.

        Returns:
            Texts, or parts of one, that can be held no longer.
        """
        text = self._held.get(new.key)
        if text is None:
            text = self._held[new.key] = new
            self._by_owner.setdefault(new.key.owner, {})[new.key] = None
        text.pieces.append(piece)
        text.size += len(piece)
        self._size += len(piece)
        if text.size <= MAX_TEXT and self._size <= MAX_HELD and len(self._held) <= MAX_TEXTS:
            return ()
        given = [self.pop(text.key)] if text.size > MAX_TEXT else []
        while self._size > MAX_HELD or len(self._held) > MAX_TEXTS:
            given.append(self.pop(next(iter(self._held))))
        return given

    def pop(self, key: Key) -> HeldText:
        """Remove and return a text that is held."""
        text = self._held.pop(key)
        self._size -= text.size
        keys = self._by_owner[key.owner]
        del keys[key]
        if not keys:
            del self._by_owner[key.owner]
        return text

    def discard(self, key: Key) -> None:
        """Remove a text, if it is held."""
        if key in self._held:
            self.pop(key)

    def of(self, owner: str) -> Iterable[Key]:
        """Return the keys of the texts of a message or call."""
        return self._by_owner.get(owner, ())

    def keys(self) -> Iterable[Key]:
        return self._held.keys()

    def take(self, keys: Iterable[Key]) -> list[HeldText]:
        """Remove and return texts that are over, those of them that are held."""
        return [self.pop(key) for key in tuple(keys) if key in self._held]

    def all(self) -> list[HeldText]:
        return list(self._held.values())
