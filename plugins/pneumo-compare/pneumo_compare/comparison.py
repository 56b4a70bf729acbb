"""Compares runs from their folders alone, without plugins, checkpoints or images.

Runs are read and checked to be about the same images; :mod:`pneumo_cli.evaluation.confidence.paired` tests them,
and :mod:`pneumo_compare.page` shows them. Classifiers have a prediction for each image and are tested in pairs;
runs of other kinds are shown side by side, if they have the same metrics. Nothing is evaluated again, so no
test-set access is added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.confidence.intervals import metric_intervals
from pneumo_cli.evaluation.confidence.paired import RESAMPLES, Pair, Scored, compare_pairs
from pneumo_cli.evaluation.multi.metrics import multi_metrics
from pneumo_cli.runs.folder import GroupFolder, RunFolder, is_group
from pneumo_cli.runs.group_index import read_group
from pneumo_cli.runs.index import BUNDLE, ListedRun, numbers, read_report, read_run
from pneumo_cli.runs.predictions import Images, binary_predictions, images_of, prediction_rows
from pneumo_cli.runtime.json_values import mapping, number_ends, sequence, text
from pneumo_compare.classes import ClassScored, compare_classes, read_classes
from pneumo_compare.settings import short_names

SPLITS = ("test", "validation")

_NAMED = 3  # images that an error names
_ALL_PAIRS = 8  # runs up to which all pairs are tested
_ROUNDING = 1e-4  # between a report's metric and the same metric recomputed from its predictions


Places: TypeAlias = tuple[int, int]
"""The places in ``runs`` of the first and the second run of a pair."""


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs, as read from its folder.

    Attributes:
        letter: its name in the comparison: A, B, …
        label: a short name that tells it from the others: its trainer, and the settings that differ.
        listed: its names, settings and state.
        report: the content of ``report.json``.
        metrics, intervals: of the compared split.
        images: of the split; None if the run has no predictions for single images.
        scored: a classifier's predictions for them, in the same order; None for other kinds.
    """

    letter: str
    listed: ListedRun
    report: Mapping[str, Any]
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    images: Images | None = None
    scored: Scored | ClassScored | None = None
    label: str = ""

    @property
    def title(self) -> str:
        """Letter and short name."""
        return f"{self.letter} · {self.label}"

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
        baseline: the index in ``runs`` of the run that the others are compared with; of all pairs the first one.
        all_pairs: whether every pair of runs is compared.
        pairs: how the second run of a pair differs from the first; empty if they are not classifiers.
        tests: number of tests of the families ``primary`` and ``other``.
    """

    split: str
    runs: tuple[ComparedRun, ...]
    baseline: int
    all_pairs: bool = False
    pairs: Mapping[Places, Pair] = field(default_factory=dict)
    tests: Mapping[str, int] = field(default_factory=dict)

    @property
    def first(self) -> ComparedRun:
        """The run that the others are compared with."""
        return self.runs[self.baseline]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of K exclusive classes or labels; empty for two classes, and for other runs."""
        scored = self.first.scored
        return scored.classes if isinstance(scored, ClassScored) else ()

    def of(self, places: Places) -> tuple[ComparedRun, ComparedRun]:
        """The first and the second run of a pair."""
        return self.runs[places[0]], self.runs[places[1]]

    def same_run(self, places: Places) -> bool:
        """Whether a pair is one run, given twice."""
        first, second = self.of(places)
        return first.listed.path.resolve() == second.listed.path.resolve()


def compare_runs(
    paths: Sequence[Path], *, split: str = "test", baseline: Path | None = None, resamples: int = RESAMPLES
) -> Comparison:
    """Read runs and compare them.

    Args:
        paths: folders of runs, or of groups (compared as ensembles: the mean of their members); at least two with
            the baseline.
        baseline: the run that the others are compared with, one of ``paths`` or another one; None: all pairs are
            compared, or with many runs (more than eight) each with the first one.

    Raises:
        UsageError: a path is not a finished run with an evaluation of this split, or the runs are of different
            kinds or were evaluated on different images.
        PneumoError: a run's files are damaged or missing.
    """
    if split not in SPLITS:
        raise UsageError(f"--split is test or validation, not {split!r}")
    folders = list(paths)
    place = 0
    if baseline is not None:
        resolved = [path.resolve() for path in folders]
        if baseline.resolve() in resolved:
            place = resolved.index(baseline.resolve())
        else:
            folders.insert(0, baseline)
    if len(folders) < 2:
        raise UsageError(
            "a comparison needs at least two runs: pneumo compare RUN RUN (pneumo list-runs lists them)"
        )
    runs = tuple(_read(path, split, _letter(number)) for number, path in enumerate(folders))
    names = short_names(
        [run.listed.trainer for run in runs], [run.report for run in runs], [run.listed.path for run in runs]
    )
    runs = tuple(replace(run, label=name) for run, name in zip(runs, names, strict=True))
    first = runs[place]
    others = [i for i in range(len(runs)) if i != place]
    for i in others:
        _check_same_kind(first, runs[i], split)
        _check_same_images(first, runs[i], split)
    whole = baseline is None and len(runs) <= _ALL_PAIRS
    compared = Comparison(split, runs, place, all_pairs=whole and len(runs) > 2)
    if first.images is None or first.scored is None:
        return compared
    wanted = [*combinations(range(len(runs)), 2)] if whole else [(place, i) for i in others]
    labels, patients = first.images.labels, first.images.patients
    if isinstance(first.scored, ClassScored):
        classes = [scored for run in runs if isinstance(scored := run.scored, ClassScored)]
        pairs, tests = compare_classes(classes, wanted, labels, patients)
    else:
        binary = [scored for run in runs if isinstance(scored := run.scored, Scored)]
        pairs, tests = compare_pairs(binary, wanted, labels, patients, resamples=resamples)
    return replace(compared, pairs=dict(zip(wanted, pairs, strict=True)), tests=tests)


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
            f"{path} is an exported bundle without results: compare the run that it was exported from"
        )
    if report is None:
        raise UsageError(f"{path} is not finished (it has no report.json); pneumo resume {path} continues it")
    try:
        listed = read_group(path) if grouped else read_run(path)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    # Of a group: the metrics of the ensemble, not the mean of its members' metrics.
    evaluations = numbers(mapping(report.get("evaluations"))) if grouped else listed.evaluations
    metrics = evaluations.get(split)
    if not metrics and grouped and mapping(report.get("spread")).get(split):
        raise UsageError(
            f"{path} has no result of an ensemble, as its members are no classifiers: compare its members "
            f"({folder.path / 'members'}) one by one"
        )
    if not metrics:
        other = next((name for name in SPLITS if evaluations.get(name)), "")
        hint = f"; compare on the {other} images: --split {other}" if other else ""
        raise UsageError(f"{path} was not evaluated on its {split} images{hint}")
    intervals = {
        name: ends
        for name, value in mapping(mapping(report.get("intervals")).get(split)).items()
        if (ends := number_ends(value)) is not None
    }
    file = folder.predictions / f"{split}.csv"
    rows = prediction_rows(file)
    classifies = "auc" in metrics or "recall" in metrics
    if rows is None:
        if classifies:
            raise PneumoError(
                f"{file} is missing, and it holds the predictions to compare: copy it from the original run, "
                f"or repeat that: pneumo run {listed.trainer} --config {folder.settings}"
            )
        return ComparedRun(letter, listed, report, metrics, intervals)
    columns = rows[0].keys() if rows else set()
    details = mapping(mapping(report.get("details")).get(split))
    if "task" in details and {"name", "patient"} <= columns:
        return _of_classes(ComparedRun(letter, listed, report, metrics, intervals), file, rows, details)
    if not {"name", "patient", *(("logits", "labels") if classifies else ())} <= columns:
        raise PneumoError(f"{file} is damaged: it has no predictions with names and patients")
    if not {"logits", "labels"} <= columns:
        return ComparedRun(letter, listed, report, metrics, intervals, images_of(file, rows))
    images, scored = binary_predictions(file, rows, details)
    computed = binary_metrics(scored.logits, images.labels, logit_threshold=scored.logit_threshold)
    _check_computed(file, folder, metrics, computed)
    if not intervals:  # a run from before reports had them
        computed_intervals = metric_intervals(
            scored.logits, images.labels, images.patients, logit_threshold=scored.logit_threshold
        )
        intervals = {name: (ends.low, ends.high) for name, ends in computed_intervals.items()}
    return ComparedRun(letter, listed, report, {**computed, **metrics}, intervals, images, scored)


def _of_classes(
    run: ComparedRun, file: Path, rows: Sequence[Mapping[str, str]], details: Mapping[str, Any]
) -> ComparedRun:
    """A run of K classes or labels, with its predictions."""
    images = images_of(file, rows)
    labels, scored = read_classes(file, rows, images.names, details)
    computed = multi_metrics(scored.logits, labels, scored.task, scored.thresholds)
    _check_computed(file, RunFolder(run.listed.path), run.metrics, computed)
    return replace(
        run, metrics={**computed, **run.metrics}, images=replace(images, labels=labels), scored=scored
    )


def _check_computed(
    file: Path, folder: RunFolder | GroupFolder, metrics: Mapping[str, float], computed: Mapping[str, float]
) -> None:
    """Check that the predictions are those that a report is about.

    Raises:
        PneumoError: they give other metrics.
    """
    for name in ("accuracy", "auc"):
        if name in metrics and name in computed and abs(metrics[name] - computed[name]) > _ROUNDING:
            raise PneumoError(
                f"{file} does not belong to {folder.report_json}: the predictions give {name} "
                f"{computed[name]:.4f}, the report says {metrics[name]:.4f}"
            )


# --- whether they can be compared ------------------------------------------------------------------------------


def _check_same_kind(first: ComparedRun, other: ComparedRun, split: str) -> None:
    if (first.scored is None) != (other.scored is None):
        classifier, rest = (first, other) if other.scored is None else (other, first)
        raise UsageError(
            f"{first.name} and {other.name} are of different kinds: {classifier.name} is a classifier, "
            f"{rest.name} is not"
        )
    if first.scored is not None and other.scored is not None:
        tasks = [_task(one.scored) for one in (first, other)]
        if tasks[0] != tasks[1]:
            raise UsageError(
                f"{first.name} and {other.name} decide different things: {tasks[0]} vs {tasks[1]}: not comparable"
            )
    # The losses of different trainers are different measures.
    ignored = set() if first.listed.trainer == other.listed.trainer else {"loss"}
    if first.scored is None and not (first.metrics.keys() & other.metrics.keys()) - ignored:
        raise UsageError(
            f"{first.name} ({first.listed.trainer}) and {other.name} ({other.listed.trainer}) are of different "
            f"kinds: they have no metric of their {split} images in common"
        )


def _task(scored: Scored | ClassScored | None) -> str:
    return scored.task if isinstance(scored, ClassScored) else "binary"


def _check_same_images(first: ComparedRun, other: ComparedRun, split: str) -> None:
    one, two = first.images, other.images
    if one is None or two is None:
        return
    classes = [sequence(mapping(run.report.get("dataset")).get("classes")) for run in (first, other)]
    if list(classes[0]) != list(classes[1]):
        listed = [", ".join(map(text, names)) or "none" for names in classes]
        raise UsageError(
            f"{first.name} and {other.name} have different classes: {listed[0]}; and {listed[1]}"
        )
    names_of_first, names_of_other = set(one.names), set(two.names)
    differences = [
        f"{len(missing):,} of {run.letter} are not among those of {rest.letter} ({_few(missing)})"
        for missing, run, rest in (
            (names_of_first - names_of_other, first, other),
            (names_of_other - names_of_first, other, first),
        )
        if missing
    ]
    if differences:
        raise UsageError(
            f"{first.name} ({first.letter}) and {other.name} ({other.letter}) were evaluated on different {split} "
            f"images, so they are not comparable: {'; '.join(differences)}"
        )
    for what, differs in (
        ("labels", one.labels != two.labels),
        ("patients", np.array(one.patients) != np.array(two.patients)),
    ):
        if differs.any():
            rows = differs.reshape(len(differs), -1).any(axis=1)
            names = [one.names[i] for i in np.flatnonzero(rows)]
            raise UsageError(
                f"{first.name} and {other.name} have the same {split} images with different {what}: "
                f"{len(names):,} differ ({_few(names)})"
            )
    digests = {text(mapping(run.report.get("dataset")).get("test_fingerprint")) for run in (first, other)}
    if split == "test" and len(digests - {""}) > 1:
        raise UsageError(
            f"{first.name} and {other.name} were evaluated on test images with the same names that are other "
            "files: they are not comparable"
        )


def _few(names: Sequence[str] | set[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - _NAMED:,} more" if len(listed) > _NAMED else ""
    return ", ".join(text(name) for name in listed[:_NAMED]) + more
