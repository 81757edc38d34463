"""Rows in columns; a terminal that is too narrow gets only the most important columns, a pipe gets all."""

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
"""The least width at which a text is still useful."""


class Column(NamedTuple):
    """A column of a listing."""

    name: str
    goes: int = 0
    """The order in which columns are left out, beginning with 1; 0: never."""
    is_text: bool = False
    """Whether it is the last one, which is cut at the terminal's edge."""
    is_number: bool = False


class Row(NamedTuple):
    """A row: one cell per column, and a style for terminals with colours."""

    cells: Sequence[str]
    style: str = ""


def print_listing(columns: Sequence[Column], rows: Iterable[Row]) -> None:
    """Print to stdout; on stderr, name the columns that did not fit."""
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
        say(f"not shown, the terminal is too narrow: {', '.join(hidden)}; --json prints all")


def _fitting(columns: Sequence[Column], widths: Sequence[int], width: int | None) -> list[int]:
    """Return the indexes of the columns to show; all if there is no width."""
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
