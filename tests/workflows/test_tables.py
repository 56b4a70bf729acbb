"""Tables: lists of dicts for programs, aligned and rounded for readers."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from types import ModuleType

import pytest

from pneumo_cli import PneumoError, Table
from pneumo_cli.runtime.terminal import display_width
from pneumo_cli.workflows.metric_values import metrics_of
from pneumo_cli.workflows.report_view import Card
from pneumo_cli.workflows.tables import cut, text_table

ROWS = [{"epoch": 0, "loss": 0.693147, "rate": 1e-5}, {"epoch": 1, "loss": 0.51234, "auc": 0.9}]


def test_a_table_is_a_list_of_dicts_with_columns() -> None:
    table = Table(ROWS)
    assert table == ROWS
    assert json.loads(json.dumps(table)) == ROWS
    assert table.columns == ["epoch", "loss", "rate", "auc"]
    assert table["auc"] == table.column("auc") == [None, 0.9]
    assert table[0] == ROWS[0]
    assert isinstance(table[1:], Table)
    assert type(copy.deepcopy(table)) is Table
    with pytest.raises(KeyError, match="did you mean loss"):
        table.column("los")


def test_numbers_are_rounded_and_right_aligned_for_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = repr(
        Table([{"name": "a", "loss": 0.693147, "images": 1234}, {"name": "longer", "loss": 12.3}])
    ).splitlines()
    assert lines == ["name     loss  images", "a        0.69    1234", "longer  12.30       –"]
    page = Table(ROWS)._repr_html_()
    assert '<td class="number">0.6931</td>' in page
    assert '<td class="number">1e-05</td>' in page
    assert "0.693147" not in page


def test_a_long_table_shows_its_ends_and_counts_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    table = Table(
        {"epoch": number, **{f"metric_{place}": 0.5 for place in range(20)}} for number in range(1000)
    )
    lines = repr(table).splitlines()
    assert len(lines) < 50
    assert max(map(len, lines)) <= 60
    assert "… 960 more rows" in lines
    assert "… and the columns metric_" in " ".join(lines)
    page = table._repr_html_()
    assert "960 more rows" in page
    assert page.count("<tr") == 1 + 40 + 1


def test_wide_characters_take_two_columns_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    wide = Table(
        [{"name": "\u80ba" * 30, "site": "\u75c5" * 30, "auc": 0.9}, {"name": "a", "site": "b", "auc": 0.8}]
    )
    lines = repr(wide).splitlines()
    assert max(map(display_width, lines)) <= 60
    assert cut("\u80ba" * 9, 8) == "\u80ba" * 3 + "…"
    assert cut("abc", 3) == "abc"


def test_off_a_terminal_a_long_name_is_whole_and_widens_no_other_row() -> None:
    name = "x" * 240
    head, long, short = text_table(["run", "state"], [(name, "finished"), ("two  spaces\t", "running")])
    assert long == f"{name}  finished"
    assert short == r"two  spaces\t  running"
    assert head == "run            state"


def test_what_comes_from_data_cannot_change_a_page_or_a_terminal() -> None:
    table = Table([{"<script>": "<img src=x onerror=alert(1)>", "b": "\x1b[2Jx\ny"}])
    assert "<script>" not in table._repr_html_()
    assert "<img" not in table._repr_html_()
    assert "\x1b" not in repr(table)
    assert len(repr(table).splitlines()) == 2
    assert repr(Table()) == "(no rows)"
    assert "no rows" in Table()._repr_html_()


def test_pandas_takes_it_and_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    pandas = ModuleType("pandas")
    pandas.DataFrame = lambda rows, columns: made.append((rows, columns)) or "frame"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    assert Table(ROWS).to_pandas() == "frame"
    assert made == [(ROWS, ["epoch", "loss", "rate", "auc"])]
    monkeypatch.setitem(sys.modules, "pandas", None)  # type: ignore[arg-type]
    with pytest.raises(PneumoError, match="pip install pandas"):
        Table(ROWS).to_pandas()


def test_whatever_a_damaged_file_gives_is_shown() -> None:
    import numpy as np

    assert repr(Table([{}, {}])) == "(no rows)"
    assert "(no rows)" in Table([{}])._repr_html_()
    assert repr(Table([{"a": 10**400}])).splitlines()[1].startswith("1000")
    assert repr(Table([{"a": np.float32(1.5)}, {"a": "x"}])).splitlines() == ["a", "1.5", "x"]


def test_a_name_that_is_missing_is_answered_with_those_that_are_similar() -> None:
    metrics = metrics_of({"auc": 0.9, "accuracy": None})
    with pytest.raises(KeyError, match="there is no 'acu'; did you mean auc"):
        metrics["acu"]
    assert metrics.get("acu") is None
    assert json.dumps(metrics) == '{"auc": 0.9, "accuracy": NaN}'
    assert pickle.loads(pickle.dumps(metrics))["auc"].name == "auc"


def test_a_card_leaves_out_columns_of_validation_images_where_the_terminal_is_narrow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    columns = {"": ["auc"], "test": ["x" * 25], "validation": ["y" * 25], "test, mean ± SD": ["z" * 25]}
    assert Card("title", columns=columns).text().splitlines()[1].endswith("test, mean ± SD")
    assert "validation" not in Card("title", columns=columns).text()
    assert "validation" in Card("title", columns=columns).html()
