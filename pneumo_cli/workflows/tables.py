"""Tables that a notebook and a terminal show, and that other programs read as what they are: lists of dicts."""

from __future__ import annotations

import html
import importlib
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, SupportsIndex, overload

from pneumo_cli.errors import PneumoError, nearest
from pneumo_cli.installation import pip_install
from pneumo_cli.runtime.json_values import text
from pneumo_cli.runtime.streams import encodable, printable
from pneumo_cli.runtime.terminal import display_width, wrapped

_FIRST, _LAST = 30, 10  # rows that are shown of a longer table
_WIDEST = 60  # characters of a cell in a terminal, unless it is the last one
_PROSE = 30  # characters that are kept for the last column, which may be a text
_LONGEST, _UNWRAPPED = 400, 40  # characters of a cell in a notebook, and of one that is not wrapped
_NARROWEST = 16  # columns of a cell that is wrapped
_BETWEEN = "  "
_NUMBER, _LONG = ' class="number"', ' class="long"'

STYLE = """<style>
.pneumo {color: inherit; font-size: 13px; line-height: 1.45; margin: .4em 0; max-width: 100%; overflow-x: auto}
.pneumo.card {border: 1px solid rgba(128,128,128,.3); border-left: 4px solid #2a7ab0; border-radius: 4px;
  padding: .5em 1em}
.pneumo p, .pneumo ul {margin: .3em 0; max-width: 60em}
.pneumo .title {font-size: 15px; font-weight: 600; margin: 0}
.pneumo .soft {opacity: .7}
.pneumo code {background: none; color: inherit; font-size: 12px; overflow-wrap: anywhere}
.pneumo a {color: inherit; text-decoration: underline}
.pneumo table {border-collapse: collapse; border: 0; margin: .3em 0; width: auto; color: inherit;
  font-size: inherit; font-variant-numeric: tabular-nums}
.pneumo th, .pneumo td {padding: .22em .8em; border: 0; border-bottom: 1px solid rgba(128,128,128,.25);
  background: none; color: inherit; text-align: left; vertical-align: top; white-space: nowrap}
.pneumo td.long {white-space: normal; min-width: 18em; max-width: 40em}
.pneumo thead th {font-weight: 600; border-bottom: 1px solid rgba(128,128,128,.6); vertical-align: bottom}
.pneumo th.number, .pneumo td.number {text-align: right}
.pneumo tbody tr, .pneumo tbody tr:nth-child(odd) {background: none}
.pneumo tr.marked td {background: rgba(42,122,176,.16); font-weight: 600}
.pneumo .bar {display: inline-block; width: 14em; height: .6em; margin: 0 .6em; border-radius: .3em;
  overflow: hidden; background: rgba(128,128,128,.25)}
.pneumo .bar span {display: block; height: 100%; background: #2a7ab0}
</style>"""
"""Of everything that notebooks show: it takes the colours of the page, dark or light."""


class Table(list[dict[str, Any]]):
    """Rows, each a dict. ``table[0]`` is a row, ``table["loss"]`` a column, ``table[-5:]`` a table.

    ``pandas.DataFrame(table)`` and ``json.dumps(table)`` take it as it is.

    Args:
        rows: the rows; columns are those of all rows, in the order of their first appearance.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        super().__init__(dict(row) for row in rows)

    @property
    def columns(self) -> list[str]:
        """The names of all columns."""
        return list(dict.fromkeys(name for row in self for name in row))

    def column(self, name: str) -> list[Any]:
        """The values of one column; None where a row has none.

        Raises:
            KeyError: no row has this column.
        """
        if name not in self.columns:
            raise KeyError(f"there is no column {name!r}; {nearest(name, self.columns)}")
        return [row.get(name) for row in self]

    @overload
    def __getitem__(self, key: SupportsIndex) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, key: slice) -> Self: ...

    @overload
    def __getitem__(self, key: str) -> list[Any]: ...

    def __getitem__(self, key: SupportsIndex | slice | str) -> Any:
        if isinstance(key, str):
            return self.column(key)
        chosen = super().__getitem__(key)
        return type(self)(chosen) if isinstance(chosen, list) else chosen

    def to_pandas(self) -> Any:
        """The same as a ``pandas.DataFrame``.

        Raises:
            PneumoError: pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise PneumoError(f"pandas is not installed: {pip_install('pandas')}") from error
        return pandas.DataFrame(list(self), columns=self.columns)

    def __repr__(self) -> str:
        if not self.columns:
            return "(no rows)"
        columns, hidden = _shown_columns(self)
        lines = aligned(columns, numeric_columns(self))
        if len(self) > _FIRST + _LAST:
            lines.insert(_FIRST + 1, f"… {len(self) - _FIRST - _LAST:,} more rows")
        more = f"… and the columns {', '.join(map(text, hidden))}" if hidden else ""
        return encodable("\n".join([*lines, *wrapped(more, shutil.get_terminal_size().columns)]))

    __str__ = __repr__

    def _repr_html_(self) -> str:
        if not self.columns:
            return f'{STYLE}<div class="pneumo"><p class="soft">(no rows)</p></div>'
        cells, more = _cells(self), ""
        rows = list(zip(*cells.values(), strict=True))
        if left := len(self) - len(rows):
            rows.insert(_FIRST, ("…",) * len(cells))
            more = f'<p class="soft">{left:,} more rows</p>'
        return f'{STYLE}<div class="pneumo">{html_table(cells, rows, numeric_columns(self))}{more}</div>'


def html_table(
    head: Iterable[str],
    rows: Iterable[Sequence[str]],
    numeric: Iterable[str] = (),
    marked: int | None = None,
) -> str:
    """A table in HTML. Everything is escaped.

    Args:
        head: the names of the columns.
        numeric: those that are right-aligned.
        marked: the position of the row to stand out.
    """
    names, right = list(head), set(numeric)
    kinds = [_NUMBER if name in right else "" for name in names]
    body = []
    for place, row in enumerate(rows):
        own = [
            kind or (_LONG if len(cell) > _UNWRAPPED else "") for kind, cell in zip(kinds, row, strict=True)
        ]
        cells = (
            f"<td{kind}>{html.escape(cut(cell, _LONGEST))}</td>" for kind, cell in zip(own, row, strict=True)
        )
        row_class = ' class="marked"' if place == marked else ""
        body.append(f"<tr{row_class}>{''.join(cells)}</tr>")
    titles = "".join(f"<th{kind}>{html.escape(name)}</th>" for kind, name in zip(kinds, names, strict=True))
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def aligned(columns: Mapping[str, Sequence[str]], numeric: Iterable[str] = (), width: int = 0) -> list[str]:
    """The lines of a table in plain text, its head first; numbers are right-aligned.

    Args:
        width: as for :func:`text_table`.
    """
    right = set(numeric)
    return text_table(
        columns, list(zip(*columns.values(), strict=True)), [name in right for name in columns], width
    )


def text_table(
    head: Iterable[str], rows: Iterable[Sequence[str]], right: Sequence[bool] = (), width: int = 0
) -> list[str]:
    """The lines of a table in plain text. Control characters are escaped.

    Args:
        right: which columns are right-aligned; empty: none.
        width: of the terminal: wide columns are wrapped between words, and a name that is too long for its row
            stands on a line of its own. 0: each row is one line, and such a name widens its own alone.
    """
    cells = [[printable(" ".join(cell.splitlines())) for cell in row] for row in (tuple(head), *rows)]
    widths = [max(map(display_width, column)) for column in zip(*cells, strict=True)]
    if not width:
        names = [display_width(row[0]) for row in cells if row]
        widths[:1] = [max((one for one in names if one <= _WIDEST), default=0)] if names else []
    else:
        widths = _narrowed(widths, cells, width - len(_BETWEEN) * (len(widths) - 1))
    lines = []
    for row in cells:
        parts = [
            wrapped(cell, own) if width and display_width(cell) > own else [cell]
            for cell, own in zip(row, widths, strict=True)
        ]
        if width and parts and any(display_width(line) > widths[0] for line in parts[0]):
            lines += parts[0]
            parts[0] = []
        for place in range(max(map(len, parts), default=0)):
            line = [part[place] if place < len(part) else "" for part in parts]
            lines.append(_BETWEEN.join(map(_padded, line, widths, right or [False] * len(line))).rstrip())
    return lines


def _narrowed(widths: Sequence[int], cells: Sequence[Sequence[str]], room: int) -> list[int]:
    """Widths that take at most ``room`` together: the widest columns become narrower, words permitting."""
    words = [
        max((display_width(word) for cell in column for word in cell.split()), default=0)
        for column in zip(*cells, strict=True)
    ]
    narrowed = list(widths)
    while sum(narrowed) > room:
        loose = [place for place, width in enumerate(narrowed) if width > max(_NARROWEST, words[place])]
        if not loose:
            break
        narrowed[max(loose, key=lambda place: narrowed[place])] -= 1
    if sum(narrowed) > room and narrowed:
        narrowed[0] = max(min(_NARROWEST, narrowed[0]), room - sum(narrowed[1:]))
    return narrowed


def _padded(cell: str, width: int, right: bool) -> str:
    space = " " * (width - display_width(cell))
    return space + cell if right else cell + space


def fitting(
    columns: Mapping[str, Sequence[str]], dropped_first: Sequence[str], width: int, prose: int = 0
) -> dict[str, Sequence[str]]:
    """The columns that fit into a width.

    Args:
        columns: title to cells.
        dropped_first: titles of the columns to leave out, in this order.
        prose: the width that the last column may be wrapped to; 0: it is not wrapped.
    """
    needed = {
        name: max(map(display_width, (name, *cells))) + len(_BETWEEN) for name, cells in columns.items()
    }
    if needed:
        first, *_, last = [*columns, *columns]
        needed[first] = min(needed[first], width // 2)  # a longer name stands on a line of its own
        needed[last] = min(needed[last], prose + len(_BETWEEN)) if prose else needed[last]
    left_out: set[str] = set()
    room = width + len(_BETWEEN) - sum(needed.values())
    for title in dropped_first:
        if room < 0 and title in columns:
            left_out.add(title)
            room += needed[title]
    for title in reversed(dropped_first):  # a narrow one may fit after all
        if title in left_out and needed[title] <= room:
            left_out.remove(title)
            room -= needed[title]
    return {name: cells for name, cells in columns.items() if name not in left_out}


def numeric_columns(table: Table) -> list[str]:
    """The columns that hold numbers alone (and gaps)."""
    found = []
    for name in table.columns:
        values = [value for row in table if (value := row.get(name)) is not None]
        if values and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            found.append(name)
    return found


def _cells(table: Table) -> dict[str, list[str]]:
    """The rows that are shown, as text by column. Columns without any value, such as errors, say nothing."""
    rows = list(table) if len(table) <= _FIRST + _LAST else [*table[:_FIRST], *table[-_LAST:]]
    numeric = set(numeric_columns(table))
    filled = [name for name in table.columns if any(row.get(name) not in (None, "") for row in table)]
    return {
        name: _number_texts(values) if name in numeric else [_value(value) for value in values]
        for name in filled or table.columns
        for values in [[row.get(name) for row in rows]]
    }


def _shown_columns(table: Table) -> tuple[dict[str, list[str]], list[str]]:
    """The columns that fit into the terminal, as text, and the names of the others."""
    cells = {name: [text(cell) for cell in column] for name, column in _cells(table).items()}
    widths = {name: min(_WIDEST, max(map(display_width, (name, *column)))) for name, column in cells.items()}
    last = next(reversed(cells))
    widths[last] = min(widths[last], _PROSE)  # at least; it gets what the others leave
    room = shutil.get_terminal_size().columns - widths[last]
    shown = []
    for name in list(cells)[:-1]:
        if widths[name] + len(_BETWEEN) > room:
            break
        room -= widths[name] + len(_BETWEEN)
        shown.append(name)
    widths[last] += room
    hidden = [name for name in cells if name not in (*shown, last)]
    return {name: [cut(cell, widths[name]) for cell in cells[name]] for name in (*shown, last)}, hidden


def _number_texts(values: Sequence[float | None]) -> list[str]:
    """Numbers of one column: whole ones as they are, others with four significant digits of the largest."""
    sizes = sorted(
        abs(value)
        for value in values
        if isinstance(value, float) and math.isfinite(value) and value and not value.is_integer()
    )
    digits = max(1, 3 - math.floor(math.log10(sizes[-1]))) if sizes else 0
    tiny = digits > 6 or (sizes and sizes[len(sizes) // 2] < 10.0 ** (1 - digits))  # most would be zeros

    def written(value: Any) -> str:
        if isinstance(value, int):
            return str(value)
        if value is None or math.isnan(value):
            return "–"
        if not math.isfinite(value):
            return str(value)
        return f"{float(value):.3g}" if tiny or abs(value) >= 1e9 else f"{float(value):.{digits}f}"

    return [written(value) for value in values]


def _value(value: Any) -> str:
    """Any other value of a cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {_value(item)}" for name, item in value.items())
    return str(value)


def cut(cell: str, longest: int) -> str:
    """A text of at most as many columns of a terminal; … for what is left out."""
    if display_width(cell) <= longest:
        return cell
    cell = cell[: longest - 1]
    while display_width(cell) > longest - 1:
        cell = cell[:-1]
    return f"{cell}…"
