"""How ``pneumo predict`` prints predictions: a table, JSON or CSV on stdout, and their explanation on stderr."""

from __future__ import annotations

import csv
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumo_cli.cli.output import json_text, print_line, print_text
from pneumo_cli.cli.prediction_values import NumbersAndMasks, values_of
from pneumo_cli.inference.predict import AnyPredictor
from pneumo_cli.inference.prediction import Prediction
from pneumo_cli.reports.formatting import DISCLAIMER
from pneumo_cli.runs.index import bare
from pneumo_cli.runtime.streams import is_terminal, printable
from pneumo_cli.runtime.terminal import display_width, line_width, print_message
from pneumo_cli.workflows.prediction_rows import checks, row_of


class Writer(ABC):
    """Prints predictions as they come."""

    def __init__(self, predictor: AnyPredictor, files: Iterable[Path]) -> None:
        self.predictor = predictor
        self.files = files
        self.values = values_of(predictor)

    @contextmanager
    def open(self) -> Iterator[Writer]:
        """Print what comes before and after all predictions."""
        yield self

    @abstractmethod
    def write(self, prediction: Prediction) -> None:
        """Print one prediction."""


class Text(Writer):
    """A table for people."""

    @contextmanager
    def open(self) -> Iterator[Writer]:
        self._widths = self.values.widths()
        longest = max((display_width(printable(str(file))) for file in self.files), default=4)
        if is_terminal(sys.stdout):
            room = line_width(sys.stdout) - sum(self._widths) - 2 * len(self._widths) - 2
            longest = min(longest, max(20, room - 12))
        self._file = max(len("file"), longest)
        self._print_row("FILE", self.values.head, "NOTE")
        yield self

    def write(self, prediction: Prediction) -> None:
        name = printable(str(prediction.file))
        if display_width(name) > self._file:
            name = name[1 - self._file :]
            while display_width(name) >= self._file:
                name = name[1:]
            name = f"…{name}"
        if prediction.error:
            self._print_row(name, ["–"] * len(self._widths), prediction.error)
        else:
            self._print_row(name, self.values.cells(prediction), self._note(prediction))

    def _print_row(self, file: str, cells: Sequence[str], note: str) -> None:
        padded = [
            f"{cell:>{width}}" if right else f"{cell:<{width}}"
            for cell, width, right in zip(cells, self._widths, self.values.right, strict=True)
        ]
        start = "  ".join([file + " " * (self._file - display_width(file)), *padded])
        if note:
            print_text(note, f"{start}  ")
        else:
            print_line(start.rstrip())

    def _note(self, prediction: Prediction) -> str:
        """Why not to trust a prediction, and what to do about it; empty without such a reason."""
        if prediction.other_part:
            return f"the file says that it shows {prediction.other_part}, no chest: do not trust it"
        if prediction.presentation:
            return f"{prediction.presentation.name}: do not trust it; {prediction.presentation.remedy} first"
        if not prediction.out_of_distribution:
            return ""
        threshold = ood_threshold(self.predictor)
        score = f" (OOD score {_times(prediction.ood_score / threshold)} the threshold)" if threshold else ""
        return f"unlike the training images{score}: do not trust it"


class Json(Writer):
    """One JSON document, written piece by piece, since there may be a million files."""

    @contextmanager
    def open(self) -> Iterator[Writer]:
        head = {
            **self.predictor.facts,
            "synthetic": _synthetic(self.predictor),
            **self.values.json_head(),
            "ood_threshold": ood_threshold(self.predictor),
            "notice": DISCLAIMER,
        }
        opened = json_text(head, indent=2)[:-2]
        print(opened + ',\n  "predictions": [', end="")
        self._separator = "\n"
        yield self
        print("\n  ]\n}")

    def write(self, prediction: Prediction) -> None:
        print(f"{self._separator}    {json_text(row_of(prediction))}", end="")
        self._separator = ",\n"


class Csv(Writer):
    """One row per file."""

    @contextmanager
    def open(self) -> Iterator[Writer]:
        self._rows = csv.DictWriter(sys.stdout, self.values.columns, lineterminator="\n")
        self._rows.writeheader()
        yield self

    def write(self, prediction: Prediction) -> None:
        row: dict[str, Any] = {"file": prediction.file, "error": prediction.error}
        if not prediction.error:
            row |= {**checks(prediction), **self.values.csv_row(prediction)}
            if "out_of_distribution" in row:
                row["out_of_distribution"] = "yes" if prediction.out_of_distribution else "no"
        self._rows.writerow(row)


def _times(ratio: float) -> str:
    """A score above the threshold in multiples of it; never shown as 1.0.

    >>> _times(1.0001), _times(1.04), _times(2.51)
    ('1.01 ×', '1.04 ×', '2.5 ×')
    """
    return f"{max(1.01, ratio):.{2 if ratio < 1.1 else 1}f} ×"


def ood_threshold(predictor: AnyPredictor) -> float | None:
    """The largest OOD score that is not flagged; None without an OOD detector, which only classifiers have."""
    threshold: float | None = getattr(predictor, "ood_threshold", None)
    return threshold


def _synthetic(predictor: AnyPredictor) -> bool | None:
    """Whether any of the models was trained on synthetic images; None if unknown for one of them."""
    origins = [member.facts.get("synthetic") for member in predictor.members or (predictor,)]
    return True if True in origins else None if None in origins else False


@dataclass
class Counts:
    """How many files there are, and how many of them need attention.

    Attributes:
        files: the total.
        failed: could not be classified.
        out_of_distribution: are unlike the training images.
        misoriented: are turned or inverted.
        other_parts: do not show a chest, according to the file.
    """

    files: int
    failed: int = 0
    out_of_distribution: int = 0
    misoriented: int = 0
    other_parts: int = 0

    def add(self, prediction: Prediction) -> None:
        """Count one more."""
        self.failed += bool(prediction.error)
        self.out_of_distribution += prediction.out_of_distribution
        self.misoriented += bool(prediction.presentation)
        self.other_parts += bool(prediction.other_part)


def print_explanation(predictor: AnyPredictor, counts: Counts) -> None:
    """Print on stderr what the numbers mean, and how many of the files not to trust."""
    lines, values = [], values_of(predictor)
    if predictor.count > 1:
        averaged = "predictions" if isinstance(values, NumbersAndMasks) else "calibrated logits"
        lines.append(f"ensemble of {predictor.count} models: the mean of their {averaged}")
    lines += values.explanation()
    if _synthetic(predictor):
        lines.append(_synthetic_warning(predictor))
    for count, verbs, rest in (
        (
            counts.out_of_distribution,
            "is|are",
            "unlike those that the model was trained on (out of distribution)",
        ),
        (
            counts.other_parts,
            "says that it shows|say that they show",
            "another part of the body than the chest",
        ),
        (
            counts.misoriented,
            "is|are",
            "turned or inverted, and classified unchanged: correct and predict again",
        ),
    ):
        if count:
            verb = verbs.split("|")[count > 1]
            lines.append(f"{count} of {counts.files - counts.failed} images {verb} {rest}")
    if counts.failed:
        verb = "predicted" if isinstance(values, NumbersAndMasks) else "classified"
        lines.append(f"{counts.failed} of {counts.files} files could not be {verb}")
    lines.append(DISCLAIMER)
    for line in lines:
        print_message(line)


def _synthetic_warning(predictor: AnyPredictor) -> str:
    """Which models were trained on synthetic images, and what that means."""
    members = predictor.members or (predictor,)
    datasets = [bare(member.facts.get("dataset")) for member in members if member.facts.get("synthetic")]
    who = "the model was" if len(members) == 1 else "all models were"
    if len(datasets) < len(members):
        who = f"{len(datasets)} of {len(members)} models {'was' if len(datasets) == 1 else 'were'}"
    return (
        f"{who} trained on synthetic images ({', '.join(dict.fromkeys(datasets))}): the predictions say nothing "
        "about patients"
    )
