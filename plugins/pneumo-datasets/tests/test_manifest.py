"""Reading tables: delimiters, encodings, Parquet, and limits."""

from __future__ import annotations

import csv
import io
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumo_cli.data import ImageFiles
from pneumo_cli.errors import DataError, UsageError
from pneumo_datasets import manifest
from pneumo_datasets.manifest import column_named, open_table, read_table, usual_column
from pneumo_datasets.settings import TableSettings

ROWS = [["path", "label, or not", "Größe"], ["a.png", 'say "x"', "1"], ["b.png", "two\nlines", ""]]


def text(delimiter: str = ",", end: str = "\n") -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, lineterminator=end).writerows(ROWS)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        text().encode(),
        text(";", "\r\n").encode(),
        text("\t").encode("utf-8-sig"),
        text().encode("utf-16"),
        b"\xfe\xff" + text(";").encode("utf-16-be"),
        text(end="\r\n").encode("utf-8-sig"),
    ],
)
def test_delimiters_line_ends_quotes_and_marks_of_encodings(data: bytes) -> None:
    table = read_table(data, "t.csv")
    assert table.columns == tuple(ROWS[0])
    assert table.select(["Größe", "label, or not"]) == [["1", ""], ['say "x"', "two\nlines"]]


_MISSING = ("na", "n/a", "#n/a", "nan", "<na>", "null")
_TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8).map(str.strip)
_VALUES = _TEXTS.filter(lambda value: value.casefold() not in _MISSING)


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(_VALUES, min_size=n, max_size=n).filter(any), min_size=1, max_size=6)
    )
)
def test_what_is_written_is_read(rows: list[list[str]]) -> None:
    header = [f"c{number}" for number in range(len(rows[0]))]
    stream = io.StringIO()
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    columns = read_table(stream.getvalue().encode(), "t.csv").select(header)
    assert [list(row) for row in zip(*columns, strict=True)] == rows


def test_rows_without_a_value_are_skipped_and_words_for_missing_are_empty() -> None:
    table = read_table(b"a,b\n1,NA\n,\n , \nNaN,None\n", "t.csv")
    assert table.select(["a", "b"]) == [["1", ""], ["", "None"]]


def test_short_rows_are_filled_and_blank_lines_skipped() -> None:
    table = read_table(b"a,b,\n1\n\n2,3,,\n", "t.csv")
    assert table.select(["a", "b"]) == [["1", "2"], ["", "3"]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty: its first line has to name the columns"),
        (b"\n\n", "is empty"),
        ("path,Größe\na,ä".encode("latin-1"), "is not in UTF-8"),
        (b"a,b\n1,2,3\n", "has 3 values in row 1, but 2 columns"),
        (b"a," * 20_000 + b"a", "has 20,001 columns, more than 10,000"),
        (b"a," * 1_000_000, "has more than 1,048,576 characters in line 1"),
        (b"a,b\n" + b"x" * 2_000_000, "has more than 1,048,576 characters in line 2"),
        (b'a,b\n"' + b"x" * 200_000, "is damaged: field larger than field limit"),
        (b"a,b\n\0\xff\xfe", "is no text, or in UTF-16 without a mark"),
        ("a,b\n1,2".encode("utf-16-le"), "is no text, or in UTF-16 without a mark"),
    ],
)
def test_one_line_says_what_is_wrong(data: bytes, message: str) -> None:
    started = time.monotonic()
    with pytest.raises(DataError, match=message) as caught:
        read_table(data, "t.csv").select(["a"])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert time.monotonic() - started < 5


def test_a_file_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.csv"
    with path.open("wb") as handle:
        handle.truncate(2**30)
    with pytest.raises(DataError, match=r"huge\.csv cannot be read: larger than 256 MiB"):
        open_table(ImageFiles(tmp_path), Path("huge.csv"))


def test_columns_are_found_in_any_case_and_named_if_not() -> None:
    table = read_table(b"Image Index,X,x,X-Ray\n", "t.csv")
    assert column_named(table, "image index") == "Image Index"
    assert column_named(table, "x") == "x"
    assert usual_column(table, ("path", "imageindex")) == "Image Index"
    with pytest.raises(DataError, match=r"has no column 'y'; it has: Image Index, X, x, X-Ray"):
        column_named(table, "y")
    twice = read_table(b"A,A\n", "t.csv")
    with pytest.raises(DataError, match="has 2 columns 'a'"):
        column_named(twice, "a")


def test_a_table_of_the_working_folder_is_preferred_to_one_of_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    for folder in (root / "sub", root, tmp_path):
        (folder / "t.csv").write_text(f"{folder.name}\n")
    monkeypatch.chdir(tmp_path)

    def opened(name: str) -> tuple[manifest.Table, str]:
        path = TableSettings(manifest=Path(name)).manifest
        assert path is not None
        return open_table(ImageFiles(root), path)

    assert opened("sub/t.csv")[1] == "sub"
    assert opened("t.csv")[0].columns == (tmp_path.name,)
    assert opened("root/t.csv")[0].name == "t.csv"
    with pytest.raises(UsageError, match="neither in the working folder nor below"):
        opened("../none.csv")


def test_parquet_is_read_as_text() -> None:
    pyarrow = pytest.importorskip(
        "pyarrow", reason="pyarrow is not installed: pip install 'pneumo-datasets[parquet]'"
    )
    from pyarrow import parquet

    stream = io.BytesIO()
    columns = {"path": ["a", "b"], "x": [1.0, float("nan")], "y": [True, None], "z": [-1, 0], "p": [0.5, 2.0]}
    parquet.write_table(pyarrow.table(columns), stream)
    table = read_table(stream.getvalue(), "t.parquet")
    assert table.columns == tuple(columns)
    assert table.select(["x", "y", "z", "path", "p"]) == [
        ["1", ""],
        ["1", ""],
        ["-1", "0"],
        ["a", "b"],
        ["0.5", "2"],
    ]
    for damaged in (b"PAR1", stream.getvalue()[:-20], b""):
        with pytest.raises(DataError, match="is no readable Parquet file") as caught:
            read_table(damaged, "t.parquet").select(["x"])
        assert "\n" not in str(caught.value)


def test_without_pyarrow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install '\S*pneumo-datasets\[parquet\]'"):
        read_table(b"PAR1", "t.parquet")


def test_values_of_parquet_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip(
        "pyarrow", reason="pyarrow is not installed: pip install 'pneumo-datasets[parquet]'"
    )
    from pyarrow import parquet

    stream = io.BytesIO()
    parquet.write_table(pyarrow.table({"a": ["x" * 10_000] * 20_000}), stream)
    assert len(stream.getvalue()) < 100_000
    monkeypatch.setattr(manifest, "MAX_PARQUET", 50 * 2**20)
    with pytest.raises(DataError, match="more than 50 MiB of values"):
        read_table(stream.getvalue(), "t.parquet").select(["a"])


def test_rows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MAX_ROWS", 3)
    with pytest.raises(DataError, match="has more than 3 rows"):
        read_table(b"a\n" + b"1\n" * 4, "t.csv").select(["a"])
