"""Tables: CSV and TSV with any of the usual delimiters, and Parquet. Rows are read one by one, columns as wanted.

A file is untrusted: its size, the length of a line and the number of columns are bounded.
"""

from __future__ import annotations

import csv
import io
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pneumo_cli import DataError, UnreadableImage, UsageError
from pneumo_cli.data import ImageFiles
from pneumo_cli.runtime import pip_install

SUFFIXES = (".csv", ".tsv", ".parquet")
"""Of tables, in lower case."""

MAX_LINE = 2**20
"""Longest line of a text table, in characters."""

MAX_PARQUET = 2**30
"""Most bytes of values that are read from a Parquet file."""

MAX_COLUMNS = 10_000
MAX_ROWS = 10_000_000

_PARQUET_ROWS = 1024
_TEXT_ROWS = 256  # that are turned into columns at once
_SHOWN = 12  # columns that a message names
PATH_COLUMNS = (
    "path", "filepath", "imagepath", "file", "filename", "image", "imagefile", "imagename", "imageindex", "imageid",
    "dicomid", "dicom", "sopinstanceuid", "id",
)  # fmt: skip
"""What columns with the image are called, in lower case without other characters than letters and digits."""

PATIENT_COLUMNS = ("patient", "patientid", "subject", "subjectid", "patientno", "patientnumber")
"""What columns with the patient are called, likewise."""

_MISSING = frozenset({"NA", "N/A", "n/a", "#N/A", "NaN", "nan", "<NA>", "NULL", "null"})
"""What pandas, R, Excel and databases write for a value that is missing."""


class Table(ABC):
    """A table of texts.

    Attributes:
        name: of the file, for messages.
        columns: their names in order; some may be equal or empty.
    """

    name: str
    columns: tuple[str, ...]

    @abstractmethod
    def select(self, columns: Sequence[str]) -> list[list[str]]:
        """The values of some columns, row by row; a missing value is empty.

        Raises:
            DataError: the file is damaged, or a row does not fit the header.
        """


def open_table(files: ImageFiles, path: Path) -> tuple[Table, str]:
    """Open a table that lies below the root of the images, or anywhere else.

    Args:
        path: absolute, or relative to the root.

    Returns:
        the table, and its folder below the root; empty: it lies elsewhere, or at the top level.

    Raises:
        UsageError: there is no such file.
        DataError: it is no table.
    """
    root = files.root.absolute()
    inside = path.relative_to(root) if path.is_relative_to(root) else path
    name = inside.as_posix()
    if not inside.is_absolute() and name in set(files.files()):
        return table_below(files, name), name.rpartition("/")[0]
    if not (path.is_absolute() and os.path.isfile(path)):
        raise UsageError(f"there is no table {path}, neither in the working folder nor below {files.root}")
    return table_below(ImageFiles(path.parent), path.name, str(path)), ""


def table_below(files: ImageFiles, name: str, shown: str = "") -> Table:
    """Open a table below a root.

    Args:
        shown: its name for messages; empty: ``name``.

    Raises:
        DataError: it cannot be read, or is no table.
    """
    try:
        data = files.read_bytes(name)
    except UnreadableImage as error:
        raise DataError(f"the table {name} cannot be read: {error}") from None
    return read_table(data, shown or name)


def read_table(data: bytes, name: str) -> Table:
    """Read the header of a table.

    Args:
        data: its content.
        name: as messages show it; a suffix ``.parquet`` decides its format.

    Raises:
        DataError: it has no header, is in an unknown encoding, or is damaged.
    """
    return _Parquet(data, name) if name.lower().endswith(".parquet") else _Text(data, name)


class _Known(dict[str, str]):
    """Values by their text: equal ones are kept once."""

    def __missing__(self, text: str) -> str:
        self[text] = value = _text(text)
        return value


class _Text(Table):
    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        self._data, self._encoding = data, _encoding(data, name)
        first = next(self._lines(), "")
        if not first.strip():
            raise DataError(f"the table {name} is empty: its first line has to name the columns")
        unquoted = re.sub(r'"[^"]*"', "", first)
        self._delimiter = max(",;\t", key=unquoted.count)
        self.columns = tuple(column.strip() for column in next(self._rows()))
        if len(self.columns) > MAX_COLUMNS:
            raise DataError(f"the table {name} has {len(self.columns):,} columns, more than {MAX_COLUMNS:,}")

    def select(self, columns: Sequence[str]) -> list[list[str]]:
        places = [self.columns.index(column) for column in columns]
        known = _Known()
        selected: list[list[str]] = [[] for _ in places]
        rows = self._whole_rows()
        while part := list(islice(rows, _TEXT_ROWS)):
            by_column = list(zip(*part, strict=True))
            for values, place in zip(selected, places, strict=True):
                values += map(known.__getitem__, by_column[place])
        return selected

    def _whole_rows(self) -> Iterator[list[str]]:
        """The rows below the header that are not empty, with as many values as there are columns."""
        width = len(self.columns)
        rows = self._rows()
        next(rows)
        for number, row in enumerate(rows, 1):
            if not any(map(str.strip, row)):
                continue
            if len(row) > width and any(row[width:]):
                raise DataError(
                    f"the table {self.name} has {len(row)} values in row {number:,}, but {width} columns"
                )
            if number > MAX_ROWS:
                raise DataError(f"the table {self.name} has more than {MAX_ROWS:,} rows")
            yield row if len(row) == width else (row + [""] * width)[:width]

    def _rows(self) -> Iterator[list[str]]:
        try:
            yield from csv.reader(self._lines(), delimiter=self._delimiter)
        except csv.Error as error:
            raise DataError(f"the table {self.name} is damaged: {error}") from None

    def _lines(self) -> Iterator[str]:
        text = io.TextIOWrapper(io.BytesIO(self._data), self._encoding, newline="")
        number = 0
        try:
            while line := text.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise DataError(
                        f"the table {self.name} has more than {MAX_LINE:,} characters in line {number:,}"
                    )
                yield line
        except UnicodeError:
            raise DataError(
                f"the table {self.name} is not in UTF-8: save it as UTF-8 (in Excel: CSV UTF-8)"
            ) from None


def _encoding(data: bytes, name: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in data[:1000]:
        raise DataError(f"the table {name} is no text, or in UTF-16 without a mark: save it as UTF-8")
    return "utf-8-sig"


class _Parquet(Table):
    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        try:
            from pyarrow import parquet
        except ImportError:
            raise UsageError(
                f"{name} is a Parquet file, which needs pyarrow: {pip_install('pneumo-datasets[parquet]')}"
            ) from None
        try:
            self._file = parquet.ParquetFile(io.BytesIO(data))
            self.columns = tuple(self._file.schema_arrow.names)
            rows = self._file.metadata.num_rows
        except Exception as error:  # pyarrow's for damaged files are many
            raise self._damaged(error) from None
        if len(self.columns) > MAX_COLUMNS or rows > MAX_ROWS:
            raise DataError(
                f"the table {name} has {len(self.columns):,} columns and {rows:,} rows; at most {MAX_COLUMNS:,} "
                f"and {MAX_ROWS:,} are read"
            )

    def select(self, columns: Sequence[str]) -> list[list[str]]:
        try:
            selected: list[list[str]] = [[] for _ in columns]
            size = 0
            # In small parts: a file of a few bytes may repeat a long text millions of times.
            for part in self._file.iter_batches(_PARQUET_ROWS, columns=list(dict.fromkeys(columns))):
                size += part.nbytes
                if size > MAX_PARQUET:
                    raise ValueError(f"more than {MAX_PARQUET // 2**20} MiB of values")
                for values, name in zip(selected, columns, strict=True):
                    values += [_text(value) for value in part.column(name).to_pylist()]
            return selected
        except Exception as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> DataError:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return DataError(f"the table {self.name} is no readable Parquet file: {reason[:200]}")


def _text(value: Any) -> str:
    if value is None or value != value:  # NaN stands for nothing in tables from pandas
        return ""
    if isinstance(value, (bool, float)) and value == int(value):
        return str(int(value))
    text = str(value).strip()
    return "" if text in _MISSING else text


# --- columns ----------------------------------------------------------------------------------------------------


def column_named(table: Table, name: str) -> str:
    """The column of a name, in any case.

    Raises:
        DataError: there is none, or there are several.
    """
    same = [column for column in table.columns if column == name] or [
        column for column in table.columns if column.casefold() == name.casefold()
    ]
    if len(same) == 1:
        return same[0]
    problem = f"{len(same)} columns" if same else "no column"
    raise DataError(f"the table {table.name} has {problem} {name!r}; it has: {shown_columns(table)}")


def find_column(table: Table, candidates: Sequence[str], what: str, flag: str = "") -> str:
    """The column with one of several names, the first ones preferred.

    Args:
        candidates: as :data:`PATH_COLUMNS`.
        what: what it holds, for the message.
        flag: that names it, for the message.

    Raises:
        DataError: there is none.
    """
    if column := usual_column(table, candidates):
        return column
    remedy = f"name it with {flag}" if flag else f"call it {candidates[0]!r}"
    raise DataError(
        f"the table {table.name} has no column with {what}: {remedy}; it has: {shown_columns(table)}"
    )


def usual_column(table: Table, candidates: Sequence[str]) -> str:
    """As :func:`find_column`; empty: there is none.

    Raises:
        DataError: several columns have the name.
    """
    by_key: dict[str, str] = {}
    for column in table.columns:
        by_key.setdefault(re.sub(r"[^a-z0-9]", "", column.casefold()), column)
    found = next((by_key[name] for name in candidates if name in by_key), "")
    return column_named(table, found) if found else ""


def shown_columns(table: Table) -> str:
    """The names of the columns for a message."""
    names = [column[:40] for column in table.columns if column]
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
