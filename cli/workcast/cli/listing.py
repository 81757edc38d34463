"""Rows in columns: whole in a pipe; in a terminal that is too narrow, the least important columns are left out."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from workcast.cli.messages import say
from workcast.cli.printable import printable

_GAP: Final = "  "
_LEAST_TEXT: Final = 16
"""So many characters of a text say something still."""


class Column(NamedTuple):
    """A column of a listing."""

    name: str
    goes: int = 0
    """Which one gives way first, beginning with 1; 0: none but those that have a number."""
    is_text: bool = False
    """It is the last one, and is cut at the terminal's edge."""
    is_number: bool = False


class Row(NamedTuple):
    """Its cells, one a column, and its style for a terminal with colours."""

    cells: Sequence[str]
    style: str = ""


def print_listing(columns: Sequence[Column], rows: Iterable[Row]) -> None:
    """Print to stdout; below it, on stderr, which columns a narrow terminal left out."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = [Row([" ".join(printable(cell).split("\n")) for cell in row.cells], row.style) for row in rows]
    widths = [max(cell_len(text) for text in (column.name, *(line.cells[index] for line in lines)))
              for index, column in enumerate(columns)]  # fmt: skip
    shown = _fitting(columns, widths, width)
    console = Console(soft_wrap=True, highlight=False)
    for line in (Row([column.name for column in columns], "bold"), *lines):
        cells = [_padded(columns[index], line.cells[index], widths[index]) for index in shown]
        text = _GAP.join(cells).rstrip()
        if width is not None and columns[shown[-1]].is_text and cell_len(text) > width:
            text = set_cell_size(text, width - 1) + "…"
        console.print(Text(text, line.style))
    hidden = [column.name for index, column in enumerate(columns) if index not in shown]
    if hidden:
        say(f"not shown for want of width: {', '.join(hidden)}; --json prints all")


def _fitting(columns: Sequence[Column], widths: Sequence[int], width: int | None) -> list[int]:
    """The columns to show, as their numbers; all where nobody cuts lines."""
    shown = list(range(len(columns)))
    for going in sorted((column.goes, index) for index, column in enumerate(columns) if column.goes):
        needed = sum(min(widths[index], _LEAST_TEXT) if columns[index].is_text else widths[index] for index in shown)
        if width is None or needed + len(_GAP) * (len(shown) - 1) <= width:
            break
        shown.remove(going[1])
    return shown


def _padded(column: Column, cell: str, width: int) -> str:
    blanks = " " * (width - cell_len(cell))
    return blanks + cell if column.is_number else cell + blanks
