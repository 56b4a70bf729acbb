"""The predictions file has a column for each output, and for each class of outputs of K classes."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from pneumo_cli.data.records import Record
from pneumo_cli.evaluation.result import Evaluation
from pneumo_cli.reports import predictions
from pneumo_cli.reports.predictions import predictions_csv

RECORDS = [Record(f"{number}.png", 0, f"p{number}", "test", "") for number in range(3)]


def rows_of(evaluation: Evaluation) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(predictions_csv(evaluation, RECORDS))))


def test_outputs_of_classes_have_a_column_for_each_named_class() -> None:
    names = ("normal", "with, comma", 'with "quotes"\nand a line')
    outputs = {
        "index": np.array([2, 0]),
        "logits": np.array([[1.5, -2.0, 0.25], [0.1, 1e-12, 3.0]]),
        "labels": np.array([1, 2]),
    }
    found = rows_of(Evaluation({}, outputs=outputs, details={"classes": [{"name": name} for name in names]}))
    assert [row["name"] for row in found] == ["2.png", "0.png"]
    assert [row["labels"] for row in found] == ["1", "2"]
    for row, logits in zip(found, outputs["logits"], strict=True):
        assert [float(row[f"logits_{name}"]) for name in names] == logits.tolist()


def test_other_outputs_of_several_values_are_numbered() -> None:
    outputs = {"index": np.array([1]), "codes": np.arange(4, dtype=np.float32).reshape(1, 2, 2)}
    (row,) = rows_of(Evaluation({}, outputs=outputs, details={"classes": [{"name": "a"}, {"name": "b"}]}))
    assert {name: float(value) for name, value in row.items() if name.startswith("codes")} == {
        f"codes_{place}": place for place in range(4)
    }


def test_numbers_are_written_to_the_last_digit_and_without_an_index_there_are_none() -> None:
    values = np.float32([0.1, 1 / 3]), np.float64([0.1, 1 / 3])
    outputs = {"index": np.arange(2), "single": values[0], "double": values[1]}
    for row, single, double in zip(rows_of(Evaluation({}, outputs=outputs)), *values, strict=True):
        assert float(row["single"]) == single.item()
        assert float(row["double"]) == double.item()
    assert predictions_csv(Evaluation({}), RECORDS) == "name,patient,subtype\n"


@pytest.mark.parametrize(("positions", "values"), [(4096, 5000), (5000, 4096), (0, 50)])
def test_outputs_of_other_lengths_than_the_positions_are_refused(positions: int, values: int) -> None:
    outputs = {"index": np.zeros(positions, np.int64), "logits": np.zeros(values)}
    with pytest.raises(ValueError, match="zip"):
        predictions_csv(Evaluation({}, outputs=outputs), RECORDS)


def test_rows_are_the_same_whatever_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = {"index": np.array([2, 0, 1]), "logits": np.arange(6.0).reshape(3, 2), "labels": np.arange(3)}
    whole = predictions_csv(Evaluation({}, outputs=outputs), RECORDS)
    assert whole.splitlines()[1:] == ["2.png,p2,,0.0,1.0,0", "0.png,p0,,2.0,3.0,1", "1.png,p1,,4.0,5.0,2"]
    monkeypatch.setattr(predictions, "_ROWS", 2)
    assert predictions_csv(Evaluation({}, outputs=outputs), RECORDS) == whole
