"""What several runs are compared by: their folders alone, without plugins, checkpoints or images.

Runs are read, made sure to be about the same images, and handed to :mod:`pneumo_compare.paired`; the page is
:mod:`pneumo_compare.page`. Classifiers have predictions of each image and are tested in pairs; runs of
other kinds are put side by side, if they measure the same things.

Nothing is judged anew here, so that no look at the test images is added.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.calibration import UNCALIBRATED, Calibration
from pneumo_cli.evaluation.confidence.intervals import metric_intervals
from pneumo_cli.runs.folder import GroupFolder, RunFolder, is_group
from pneumo_cli.runs.group_index import read_group
from pneumo_cli.runs.index import BUNDLE, ListedRun, numbers, read_report, read_run
from pneumo_cli.runtime.json_values import mapping, number, number_ends, sequence, text
from pneumo_compare.paired import RESAMPLES, Pair, Scored, compare

SPLITS = ("test", "validation")

_NAMED = 3  # images that an error names
_ROUNDING = 1e-4  # between a report's metric and the same computed again from its predictions


@dataclass(frozen=True)
class Images:
    """Which images a split has, sorted by name.

    Attributes:
        names, patients: [N].
        labels: [N] of 0 and 1; empty where the run is no classifier.
    """

    names: tuple[str, ...]
    patients: tuple[str, ...]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs, as its folder has it.

    Attributes:
        letter: what it is called in a comparison: A, B, …
        listed: its names, settings and state.
        report: the content of ``report.json``.
        metrics, intervals: of the compared split.
        images: of the split; None where the run kept nothing of single images.
        scored: what a classifier says of them, in the same order; None for other kinds.
    """

    letter: str
    listed: ListedRun
    report: Mapping[str, Any]
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    images: Images | None = None
    scored: Scored | None = None

    @property
    def name(self) -> str:
        """Trainer and folder."""
        return self.listed.name


@dataclass(frozen=True)
class Comparison:
    """Runs on the same images.

    Attributes:
        split: ``test`` or ``validation``.
        runs: at least two.
        baseline: which of them the others are compared with, a place in ``runs``.
        pairs: place in ``runs`` to how that run differs from the baseline; empty where they are no classifiers.
        tests: how many tests the families ``primary`` and ``other`` have.
    """

    split: str
    runs: tuple[ComparedRun, ...]
    baseline: int
    pairs: Mapping[int, Pair] = field(default_factory=dict)
    tests: Mapping[str, int] = field(default_factory=dict)

    @property
    def first(self) -> ComparedRun:
        """The run that the others are compared with."""
        return self.runs[self.baseline]

    def same_run(self, place: int) -> bool:
        """Whether a run is the baseline itself, named twice."""
        return self.runs[place].listed.path.resolve() == self.first.listed.path.resolve()


def compare_runs(
    paths: Sequence[Path], *, split: str = "test", baseline: Path | None = None, resamples: int = RESAMPLES
) -> Comparison:
    """Read runs and compare them.

    Args:
        paths: of the folders of runs, or of groups, which count as one: their parts' mean; at least two, the
            baseline counted.
        baseline: the run that the others are compared with, one of ``paths`` or another one; the first by default.

    Raises:
        UsageError: a path is no finished run with an evaluation of this split, or the runs are of different
            kinds or about different images.
        PneumoError: a run's files are damaged or missing.
    """
    if split not in SPLITS:
        raise UsageError(f"--split is test or validation, not {split!r}")
    wanted = list(paths)
    place = 0
    if baseline is not None:
        resolved = [path.resolve() for path in wanted]
        if baseline.resolve() in resolved:
            place = resolved.index(baseline.resolve())
        else:
            wanted.insert(0, baseline)
    if len(wanted) < 2:
        raise UsageError(
            "a comparison takes two runs at least: pneumo compare RUN RUN (pneumo list-runs lists them)"
        )
    runs = tuple(_read(path, split, _letter(number)) for number, path in enumerate(wanted))
    first = runs[place]
    others = [i for i in range(len(runs)) if i != place]
    for i in others:
        _check_same_kind(first, runs[i], split)
        _check_same_images(first, runs[i], split)
    if first.images is None or first.scored is None:
        return Comparison(split, runs, place)
    pairs, tests = compare(
        first.scored,
        [scored for i in others if (scored := runs[i].scored) is not None],
        first.images.labels,
        first.images.patients,
        resamples=resamples,
    )
    return Comparison(split, runs, place, dict(zip(others, pairs, strict=True)), tests)


def _letter(place: int) -> str:
    """A to Z, then AA, AB, …"""
    name = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


# --- reading ---------------------------------------------------------------------------------------------------


def _read(path: Path, split: str, letter: str) -> ComparedRun:
    grouped = is_group(path)
    folder = GroupFolder(path) if grouped else RunFolder.open(path)
    report = read_report(folder)
    if report is None and (path / BUNDLE).is_file():
        raise UsageError(
            f"{path} is an exported bundle, without results: compare the run that it was made from"
        )
    if report is None:
        raise UsageError(
            f"{path} is not finished (it has no report.json); pneumo resume {path} goes on with it"
        )
    try:
        listed = read_group(path) if grouped else read_run(path)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    # Of a group's classifiers: what they say together, not the mean of what each part scores.
    evaluations = numbers(mapping(report.get("evaluations"))) if grouped else listed.evaluations
    metrics = evaluations.get(split)
    if not metrics:
        other = next((name for name in SPLITS if evaluations.get(name)), "")
        hint = f"; compare on the {other} images: --split {other}" if other else ""
        raise UsageError(f"{path} was not judged on its {split} images{hint}")
    intervals = {
        name: ends
        for name, value in mapping(mapping(report.get("intervals")).get(split)).items()
        if (ends := number_ends(value)) is not None
    }
    file = folder.predictions / f"{split}.csv"
    rows = _rows(file)
    classifies = "auc" in metrics or "recall" in metrics
    if rows is None:
        if classifies:
            raise PneumoError(
                f"{file} is missing, and it holds what is compared: copy it from where the run was made, or run it "
                f"again: pneumo run {listed.trainer} --config {folder.settings}"
            )
        return ComparedRun(letter, listed, report, metrics, intervals)
    columns = rows[0].keys() if rows else set()
    if not {"name", "patient", *(("logits", "labels") if classifies else ())} <= columns:
        raise PneumoError(f"{file} is damaged: it has no predictions with their names and patients")
    if not {"logits", "labels"} <= columns:
        return ComparedRun(letter, listed, report, metrics, intervals, _images(file, rows))
    images, logits = _predictions(file, rows)
    details = mapping(mapping(report.get("details")).get(split))
    point = mapping(mapping(details.get("operating_points")).get(text(details.get("operating_point"))))
    try:
        calibration = Calibration(
            number(details.get("temperature")) or 1.0, number(details.get("bias")) or 0.0
        )
    except ValueError:
        calibration = UNCALIBRATED
    scored = Scored(logits, number(point.get("logit_threshold", point.get("cut"))) or 0.0, calibration)
    computed = binary_metrics(scored.logits, images.labels, logit_threshold=scored.logit_threshold)
    for name in ("accuracy", "auc"):
        if name in metrics and name in computed and abs(metrics[name] - computed[name]) > _ROUNDING:
            raise PneumoError(
                f"{file} does not belong to {folder.report_json}: the predictions give {name} "
                f"{computed[name]:.4f}, the report says {metrics[name]:.4f}"
            )
    if not intervals:  # a run from before reports had them
        made = metric_intervals(
            scored.logits, images.labels, images.patients, logit_threshold=scored.logit_threshold
        )
        intervals = {name: (ends.low, ends.high) for name, ends in made.items()}
    return ComparedRun(letter, listed, report, {**computed, **metrics}, intervals, images, scored)


def _rows(file: Path) -> list[dict[str, str]] | None:
    """The rows of a file of predictions; None where there is no file."""
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return [dict(row) for row in csv.DictReader(lines, restkey="", restval="")]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PneumoError(f"{file} cannot be read: {error.strerror}") from error
    except (csv.Error, ValueError) as error:
        raise PneumoError(f"{file} is damaged: {text(error)}") from error


def _images(file: Path, rows: Sequence[Mapping[str, str]]) -> Images:
    """Images without labels, sorted by name."""
    patients: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        if row["name"] in patients:
            raise PneumoError(f"{file} is damaged: line {line} is a second one of {text(row['name'])}")
        patients[row["name"]] = row["patient"]
    names = tuple(sorted(patients))
    return Images(names, tuple(patients[name] for name in names), np.empty(0, dtype=np.int64))


def _predictions(file: Path, rows: Sequence[Mapping[str, str]]) -> tuple[Images, NDArray[np.float64]]:
    """Images with labels, and logits, sorted by name."""
    images = _images(file, rows)
    found: dict[str, tuple[int, float]] = {}
    for line, row in enumerate(rows, start=2):
        try:
            label, logit = int(row["labels"]), float(row["logits"])
        except ValueError:
            raise PneumoError(f"{file} is damaged: line {line} has no number where one belongs") from None
        if not math.isfinite(logit) or label not in (0, 1):
            raise PneumoError(f"{file} is damaged: line {line} has the logit {logit} and the label {label}")
        found[row["name"]] = label, logit
    labels = np.array([found[name][0] for name in images.names], dtype=np.int64)
    logits = np.array([found[name][1] for name in images.names], dtype=np.float64)
    return replace(images, labels=labels), logits


# --- whether they can be compared ------------------------------------------------------------------------------


def _check_same_kind(first: ComparedRun, other: ComparedRun, split: str) -> None:
    if (first.scored is None) != (other.scored is None):
        classifier, neither = (first, other) if other.scored is None else (other, first)
        raise UsageError(
            f"{first.name} and {other.name} are of different kinds: {classifier.name} is a classifier, "
            f"{neither.name} predicts no classes"
        )
    if first.scored is None and not (first.metrics.keys() & other.metrics.keys()) - {"loss"}:
        raise UsageError(
            f"{first.name} ({first.listed.trainer}) and {other.name} ({other.listed.trainer}) are of different "
            f"kinds: no metric of their {split} images is of both"
        )


def _check_same_images(first: ComparedRun, other: ComparedRun, split: str) -> None:
    one, two = first.images, other.images
    if one is None or two is None:
        return
    classes = [sequence(mapping(run.report.get("dataset")).get("classes")) for run in (first, other)]
    if list(classes[0]) != list(classes[1]):
        spoken = [", ".join(map(text, names)) or "none" for names in classes]
        raise UsageError(
            f"{first.name} and {other.name} know different classes: {spoken[0]}; and {spoken[1]}"
        )
    here, there = set(one.names), set(two.names)
    apart = [
        f"{len(missing):,} of {whose.letter} are not among those of {rest.letter} ({_few(missing)})"
        for missing, whose, rest in ((here - there, first, other), (there - here, other, first))
        if missing
    ]
    if apart:
        raise UsageError(
            f"{first.name} ({first.letter}) and {other.name} ({other.letter}) were judged on different {split} "
            f"images, so their numbers cannot be compared: {'; '.join(apart)}"
        )
    for what, differs in (
        ("labels", one.labels != two.labels),
        ("patients", np.array(one.patients) != np.array(two.patients)),
    ):
        if differs.any():
            names = [one.names[i] for i in np.flatnonzero(differs)]
            raise UsageError(
                f"{first.name} and {other.name} have the same {split} images with different {what}: "
                f"{len(names):,} differ ({_few(names)})"
            )
    contents = {
        text(mapping(run.report.get("dataset")).get("test_fingerprint")) for run in (first, other)
    } - {""}
    if split == "test" and len(contents) > 1:
        raise UsageError(
            f"{first.name} and {other.name} were judged on test images of the same names that are other files: "
            "their numbers cannot be compared"
        )


def _few(names: Sequence[str] | set[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - _NAMED:,} more" if len(listed) > _NAMED else ""
    return ", ".join(text(name) for name in listed[:_NAMED]) + more
