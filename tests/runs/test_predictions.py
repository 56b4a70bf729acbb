"""Predictions of finished runs are read as they were written, and damaged ones are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumo_cli.errors import PneumoError
from pneumo_cli.runs.predictions import binary_predictions, prediction_rows

HEAD = "name,patient,subtype,logits,labels\n"


def test_images_are_sorted_by_name_with_their_logits_and_the_runs_own_threshold(tmp_path: Path) -> None:
    file = tmp_path / "test.csv"
    file.write_text(f"{HEAD}b.png,p2,,-1.5,0\na.png,p1,,0.25,1\n")
    details = {
        "operating_point": "own",
        "operating_points": {"own": {"logit_threshold": 0.5}},
        "temperature": 2.0,
        "bias": -0.25,
    }
    images, scored = binary_predictions(file, prediction_rows(file) or [], details)
    assert (images.names, images.patients, images.labels.tolist()) == (
        ("a.png", "b.png"),
        ("p1", "p2"),
        [1, 0],
    )
    assert (scored.logits.tolist(), scored.logit_threshold) == ([0.25, -1.5], 0.5)
    assert scored.calibrated.logits.tolist() == [-0.125, -1.0]
    # Without an operating point and a calibration the threshold is a probability of 0.5.
    assert binary_predictions(file, prediction_rows(file) or [], {})[1].logit_threshold == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,p,,x,1\n", "line 2 has no number"),
        ("a,p,,inf,1\n", "line 2 has the logit inf"),
        ("a,p,,1,2\n", "and the label 2"),
        ("a,p,,1,1\na,p,,1,1\n", "line 3 repeats a"),
    ],
)
def test_a_damaged_row_is_named(tmp_path: Path, rows: str, message: str) -> None:
    file = tmp_path / "test.csv"
    file.write_text(HEAD + rows)
    with pytest.raises(PneumoError, match=message):
        binary_predictions(file, prediction_rows(file) or [], {})


def test_no_file_is_no_error_and_no_text_is_one(tmp_path: Path) -> None:
    assert prediction_rows(tmp_path / "test.csv") is None
    (tmp_path / "test.csv").write_bytes(b"\xff\x00")
    with pytest.raises(PneumoError, match=r"test.csv is damaged"):
        prediction_rows(tmp_path / "test.csv")
