"""Reading the predictions of a finished run: ``predictions/{test,validation}.csv``.

They are written by :mod:`pneumo_cli.reports.predictions`. Runs are compared from them, without models or images.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.calibration import UNCALIBRATED, Calibration
from pneumo_cli.evaluation.confidence.paired import Scored
from pneumo_cli.runtime.json_values import mapping, number, text


@dataclass(frozen=True)
class Images:
    """The images of a split, sorted by name.

    Attributes:
        names, patients: [N].
        labels: [N] of 0 and 1, or class indices; of labels 1, 0 and -1 for unknown, [N, K]; empty if the run is not
            a classifier.
    """

    names: tuple[str, ...]
    patients: tuple[str, ...]
    labels: NDArray[np.int64]


def prediction_rows(file: Path) -> list[dict[str, str]] | None:
    """The rows of a file of predictions; None if there is no file.

    Raises:
        PneumoError: it cannot be read, or is no table.
    """
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return [dict(row) for row in csv.DictReader(lines, restkey="", restval="")]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PneumoError(f"{file} cannot be read: {error.strerror}") from error
    except (csv.Error, ValueError) as error:
        raise PneumoError(f"{file} is damaged: {text(error)}") from error


def images_of(file: Path, rows: Sequence[Mapping[str, str]]) -> Images:
    """The images of some rows, which have the columns ``name`` and ``patient``, without labels.

    Raises:
        PneumoError: an image occurs twice.
    """
    patients: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        if row["name"] in patients:
            raise PneumoError(f"{file} is damaged: line {line} repeats {text(row['name'])}")
        patients[row["name"]] = row["patient"]
    names = tuple(sorted(patients))
    return Images(names, tuple(patients[name] for name in names), np.empty(0, dtype=np.int64))


def binary_predictions(
    file: Path, rows: Sequence[Mapping[str, str]], details: Mapping[str, Any]
) -> tuple[Images, Scored]:
    """The labelled images of a classifier of two classes, and its logits for them, in the same order.

    Args:
        rows: with the columns ``name``, ``patient``, ``logits`` and ``labels``.
        details: of the split in the run's report: operating point and calibration.

    Raises:
        PneumoError: a row is damaged, or an image occurs twice.
    """
    images = images_of(file, rows)
    predictions: dict[str, tuple[int, float]] = {}
    for line, row in enumerate(rows, start=2):
        try:
            label, logit = int(row["labels"]), float(row["logits"])
        except ValueError:
            raise PneumoError(
                f"{file} is damaged: line {line} has no number for its label or logit"
            ) from None
        if not math.isfinite(logit) or label not in (0, 1):
            raise PneumoError(f"{file} is damaged: line {line} has the logit {logit} and the label {label}")
        predictions[row["name"]] = label, logit
    labels = np.array([predictions[name][0] for name in images.names], dtype=np.int64)
    logits = np.array([predictions[name][1] for name in images.names], dtype=np.float64)
    point = mapping(mapping(details.get("operating_points")).get(text(details.get("operating_point"))))
    threshold = number(point.get("logit_threshold", point.get("cut"))) or 0.0  # the second key is that of 0.1
    return replace(images, labels=labels), Scored(logits, threshold, _calibration(details))


def _calibration(details: Mapping[str, Any]) -> Calibration:
    try:
        return Calibration(number(details.get("temperature")) or 1.0, number(details.get("bias")) or 0.0)
    except ValueError:
        return UNCALIBRATED
