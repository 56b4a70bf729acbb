"""The page of a group's report: the contents of its ``report.json`` in sections, tables and sentences.

The contents are assembled by :mod:`pneumo_cli.reports.group_report`; the page of a single run is
:mod:`pneumo_cli.reports.content`. Nothing here raises, whatever is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pneumo_cli.evaluation.metric_names import in_order, is_known, metric_label, metric_text, sd_text
from pneumo_cli.reports.document import (
    Block,
    Commands,
    Document,
    Folded,
    Headline,
    Paragraph,
    Section,
    Table,
)
from pneumo_cli.reports.formatting import count, duration, lowered, when
from pneumo_cli.reports.recipe_section import settings_shown
from pneumo_cli.reports.results import NO_HEADLINES, headlines, pictures, results, task_of, verdict
from pneumo_cli.runs.index import WHOLE as WHOLE
from pneumo_cli.runtime.json_values import mapping, number, sequence, text

_HEADLINES = 4
_MEMBER_METRICS = ("auc", "accuracy", "psnr", "ssim", "mse", "loss")
"""Metrics of a split for the table of members, which shows the first few of those measured."""
_OF_A_SPLIT, _OF_THE_WHOLE, _COLUMNS = 3, 4, 8

_SIMPLE = {"pca": "principal components", "bicubic": "bicubic downsampling", "mean-image": "the mean image"}
_RECONSTRUCTED = re.compile(rf"(psnr|ssim)_test_({'|'.join(_SIMPLE)})")
"""Reconstruction quality of simple methods on test images, as named by :mod:`pneumo_autoencoder.reconstruction`."""


def is_of_baseline(metric: str) -> bool:
    """Whether a metric of the whole run is a baseline: the same measure of simpler images."""
    distance = metric.startswith("kid_") and not metric.startswith("kid_spread_") and not is_known(metric)
    return distance or _RECONSTRUCTED.fullmatch(metric) is not None


def document(report: Mapping[str, Any]) -> Document:
    """Arrange a group's report; absent parts are left out."""
    failed = [one for one in map(mapping, sequence(report.get("members"))) if one.get("state") != "finished"]
    cautions = [f"{text(one.get('name'))} has no result: {text(one.get('error'))}" for one in failed]
    if failed and not mapping(report.get("evaluations")).get("test"):
        cautions.append("The test set stays sealed until all members are finished.")
    cautions += [f"{text(note).rstrip('.')}." for note in sequence(report.get("notes"))]
    cautions += [text(mapping(rule).get("text")) for rule in sequence(report.get("caveats"))]
    title, numbers = headlines(report)
    if numbers:
        title = f"Ensemble of the members, {lowered(title)}"
    else:
        title, numbers = _mean_headlines(report)
    sections = (
        Section("spread", "Variation between members", tuple(_spread(report))),
        Section("samples", "Generated images", tuple(pictures(report, "samples"))),
        Section("members", "Members", tuple(_members(report))),
        Section("results", "Ensemble", tuple(_ensemble(report)), folded=True),
        Section("training", "Training", tuple(pictures(report, "training")), folded=True),
        Section("settings", "Settings", tuple(settings_shown(report)), folded=True),
        Section("reproduce", "How to reproduce", tuple(_commands(report))),
    )
    run = mapping(report.get("run"))
    byline = (when(run.get("started")), duration(run.get("seconds")), f"group {text(run.get('name'))}")
    return Document(
        title=text(report.get("title")),
        byline=" · ".join(part for part in byline if part),
        cautions=tuple(dict.fromkeys(cautions)),
        summary=_summary(report),
        verdict=verdict(report),
        headline_title=title,
        headlines=numbers,
        sections=tuple(section for section in sections if section.blocks),
        version=text(report.get("pneumo")),
        opening=tuple(_opening(report)),
    )


def _summary(report: Mapping[str, Any]) -> str:
    folds, seeds = int(report.get("folds") or 0), sequence(report.get("seeds"))
    dataset, trainer = mapping(report.get("dataset")), mapping(report.get("trainer"))
    finished = [
        one for one in map(mapping, sequence(report.get("members"))) if one.get("state") == "finished"
    ]
    synthetic = "synthetic " if dataset.get("synthetic") else ""
    sentences = [
        f"The trainer {text(trainer.get('name'))} ran one recipe {len(finished)} times on the {synthetic}dataset "
        f"{text(dataset.get('name'))}."
    ]
    if folds:
        sentences.append(
            f"The training pool was divided into {folds} folds by patient, with identical images in the same fold; "
            "each fold was the validation set once."
        )
        if excluded := number(mapping(dataset.get("split")).get("excluded")):
            sentences.append(f"{count(excluded)} images of patients in the test set were excluded.")
    if len(seeds) > 1:
        sentences.append(f"Seeds: {', '.join(text(seed) for seed in seeds)}.")
    if mapping(report.get("evaluations")).get("test"):
        sentences.append(
            "The test set was used once, after all members were finished; nothing was chosen on it."
        )
    elif "test" in mapping(report.get("spread")):
        sentences.append(
            "Each member was evaluated on the test set after its training; nothing was chosen on it."
        )
    return " ".join(sentences)


def _first_metrics(report: Mapping[str, Any]) -> tuple[str, Mapping[str, Any], list[str]]:
    """The split whose results come first, its metrics, and the names of those that are shown above all others."""
    measured = mapping(report.get("spread"))
    split = next((name for name in (WHOLE, "test", "validation", *measured) if name in measured), "")
    metrics = mapping(measured.get(split))
    shown = in_order([name for name in metrics if name not in NO_HEADLINES] or list(metrics))
    return split, metrics, shown[:_HEADLINES]


def _mean_headlines(report: Mapping[str, Any]) -> tuple[str, tuple[Headline, ...]]:
    split, metrics, shown = _first_metrics(report)
    title = "Mean over the members" + (f", {split} set" if split and split != WHOLE else "")
    return title, tuple(
        Headline(
            metric_label(name, task_of(report)).label,
            metric_text(name, mapping(metrics[name]).get("mean")),
            f"standard deviation over the members {sd_text(name, mapping(metrics[name]).get('sd'))}",
        )
        for name in shown
    )


def _opening(report: Mapping[str, Any]) -> Iterator[Block]:
    """The spread of the first metrics, and its figure."""
    split, metrics, shown = _first_metrics(report)
    if shown:
        labels = {name: metric_label(name, task_of(report)).label for name in shown}
        where = "" if split == WHOLE else f", {split} set"
        yield _spread_table(f"Variation between members{where}", labels, metrics)
    yield from pictures(report, "spread")


def _spread(report: Mapping[str, Any]) -> Iterator[Block]:
    for split, metrics in mapping(report.get("spread")).items():
        title = "Image quality" if split == WHOLE else f"Individual members, {split} set"
        labels = {name: metric_label(name, task_of(report)).label for name in in_order(metrics)}
        table = _spread_table(title, labels, metrics)
        # Of classifiers the first metrics are above already.
        yield table if split == WHOLE else Folded(title, (replace(table, title=""),))
        if split == WHOLE:
            yield from _baselines(report)
    if predicts := sequence(report.get("predicts")):
        yield Paragraph(
            "Each member was evaluated by itself, and there is no result of an ensemble: the metrics are the "
            f"trainer's own, and only of classifiers are ensembles evaluated. For images, pneumo predict averages "
            f"the {lowered(', '.join(map(text, predicts)))} that the members predict."
        )
    if report.get("folds"):
        yield Paragraph(
            "The standard deviation over folds shows how the results vary with the patients used for training and "
            "evaluation. It is not a standard error of the mean, because the folds share most of their training "
            "images."
        )


def _baselines(report: Mapping[str, Any]) -> Iterator[Block]:
    """The same measures of simpler images, and what the distances of real images mean."""
    baselines = mapping(report.get("baselines"))
    if baselines:
        labels = {name: _baseline_label(name) for name in baselines}
        yield _spread_table("Baselines without training", labels, baselines)
    if any(name.startswith("kid_real_") for name in mapping(mapping(report.get("spread")).get(WHOLE))):
        yield Paragraph(
            "Real images of other patients are nearly the same for all members, so the variation of their distance "
            "is the precision of the measurement. Smaller differences between members are not meaningful."
        )


def _baseline_label(metric: str) -> str:
    """The label of a baseline in a table.

    >>> _baseline_label("psnr_test_pca"), _baseline_label("kid_noise_pixels")
    ('PSNR (dB) of principal components, test', 'KID × 1000 of noise (pixels)')
    """
    found = _RECONSTRUCTED.fullmatch(metric)
    if not found:
        return metric_label(metric).label
    quality, what = found.groups()
    return f"{metric_label(quality).label} of {_SIMPLE[what]}, test"


def _spread_table(title: str, labels: Mapping[str, str], metrics: Mapping[str, Any]) -> Table:
    rows = []
    for name, label in labels.items():
        values = mapping(metrics[name])
        reconstructed = _RECONSTRUCTED.fullmatch(name)
        known = reconstructed[1] if reconstructed else name
        mean, low, high = (metric_text(known, values.get(key)) for key in ("mean", "min", "max"))
        rows.append((label, mean, sd_text(known, values.get("sd")), low, high))
    head = ("Metric", "Mean", "Standard deviation", "Lowest", "Highest")
    return Table(head, tuple(rows), frozenset(range(1, 5)), title=title)


def _members(report: Mapping[str, Any]) -> Iterator[Block]:
    members = [mapping(member) for member in sequence(report.get("members"))]
    columns: list[tuple[str, str]] = []
    for split, metrics in mapping(report.get("spread")).items():
        if split == WHOLE:
            names = in_order(mapping(metrics))[:_OF_THE_WHOLE]
        else:
            names = [name for name in _member_metrics(report) if name in mapping(metrics)][:_OF_A_SPLIT]
        columns += [(split, name) for name in names]
    columns = columns[:_COLUMNS]
    body = []
    for member in members:
        cells = [text(member.get("name")), text(member.get("seed")), text(member.get("epoch")) or "–"]
        for split, metric in columns:
            value = mapping(mapping(member.get("evaluations")).get(split)).get(metric)
            cells.append(metric_text(metric, value))
        cells += [duration(member.get("seconds")) or "–", text(member.get("state"))]
        body.append(tuple(cells))
    labels = (
        metric_label(metric, task_of(report)).label + ("" if split == WHOLE else f" ({split})")
        for split, metric in columns
    )
    head = ("Member", "Seed", "Selected epoch", *labels, "Time", "State")
    links = tuple(
        f"{text(member.get('folder'))}/report.html" if member.get("state") == "finished" else ""
        for member in members
    )
    yield Table(head, tuple(body), frozenset(range(1, len(head) - 1)), links=links)


def _member_metrics(report: Mapping[str, Any]) -> tuple[str, ...]:
    """The metrics of a split for the table of members, in their order: what the report knows, or is monitored."""
    monitored = text(mapping(report.get("monitor")).get("metric"))
    return _MEMBER_METRICS if is_known(monitored) else (monitored, *_MEMBER_METRICS)


def _ensemble(report: Mapping[str, Any]) -> Iterator[Block]:
    if not mapping(report.get("evaluations")):
        return
    if report.get("folds"):
        several = len(sequence(report.get("seeds"))) > 1
        members = "the members that were" if several else "the one member that was"
        yield Paragraph(
            f"Validation results are out of fold: each image of the training pool is predicted by {members} not "
            "trained on it, and all predictions are pooled. The checkpoint, calibration and thresholds of each "
            "member were chosen on these images, so these results are slightly too optimistic; those on the test "
            "set are not."
        )
    yield Paragraph(
        "The ensemble averages the calibrated logits of its members; its operating points are the means of the "
        "members' operating points."
    )
    yield from results(report)


def _commands(report: Mapping[str, Any]) -> Iterator[Block]:
    for key in ("reproduce", "next"):
        lines = tuple(text(line) for line in sequence(report.get(key)))
        if lines:
            yield Commands(lines)
