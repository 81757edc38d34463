from __future__ import annotations

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from workcast.cli.printable import harmless_json, printable

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


@given(text=st.text())
def test_characters_that_a_terminal_obeys_are_escaped(text: str) -> None:
    assert not {unicodedata.category(char) for char in printable(text)} & HIDDEN


@given(text=st.text())
def test_characters_to_keep_are_kept(text: str) -> None:
    assert printable(text, keep="\n\t").count("\n") == text.count("\n")


@given(text=st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_ordinary_text_is_unchanged(text: str) -> None:
    assert printable(text) == text


@given(value=st.dictionaries(st.text(), st.text() | st.lists(st.text())))
def test_harmless_json_means_the_same(value: object) -> None:
    text = harmless_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert not {unicodedata.category(char) for char in text} & HIDDEN
