"""The page of a group's report: what ``report.json`` of a group holds, in sections, tables and sentences.

What it holds is put together by :mod:`pneumo_cli.reports.group_report`; the page of a single run is
:mod:`pneumo_cli.reports.content`. Nothing here raises, whatever is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pneumo_cli.evaluation.metric_names import in_order, is_known, metric_label, metric_text, sd_text
from pneumo_cli.reports.content import settings_shown
from pneumo_cli.reports.document import Block, Commands, Document, Headline, Paragraph, Section, Table
from pneumo_cli.reports.formatting import count, duration, when
from pneumo_cli.reports.results import headlines, pictures, results, verdict
from pneumo_cli.runtime.json_values import mapping, number, sequence, text

_HEADLINES = 4
_OF_A_MEMBER = ("auc", "accuracy", "psnr", "ssim", "mse", "loss")
"""Metrics of a split that the table of members may show, the first few that there are."""
_OF_A_SPLIT, _OF_THE_WHOLE, _COLUMNS = 3, 4, 8
WHOLE = "whole"
"""The metrics of what a task says of its result as a whole (the distances of a GAN), beside those of the splits."""

_SIMPLE = {"pca": "principal components", "bicubic": "a bicubic reduction", "mean-image": "the mean image"}
_RECONSTRUCTED = re.compile(rf"(psnr|ssim)_test_({'|'.join(_SIMPLE)})")
"""How well simple methods reconstruct test images, as :mod:`pneumo_autoencoder.reconstruction` names it."""


def is_of_baseline(metric: str) -> bool:
    """Whether a metric of the result as a whole is there for comparison: what simpler images get."""
    compared = metric.startswith("kid_") and not metric.startswith("kid_spread_") and not is_known(metric)
    return compared or _RECONSTRUCTED.fullmatch(metric) is not None


def document(report: Mapping[str, Any]) -> Document:
    """Arrange a group's report; what is absent is left out."""
    failed = [one for one in map(mapping, sequence(report.get("members"))) if one.get("state") != "finished"]
    cautions = [f"{text(one.get('name'))} has no result: {text(one.get('error'))}" for one in failed]
    if failed and not mapping(report.get("evaluations")).get("test"):
        cautions.append("The test images stay sealed until all members are finished.")
    cautions += [text(mapping(rule).get("text")) for rule in sequence(report.get("caveats"))]
    title, numbers = headlines(report)
    if numbers:
        title = f"Ensemble of the members. {title}"
    else:
        title, numbers = _mean_headlines(report)
    sections = (
        Section("spread", "Spread over the members", tuple(_spread(report))),
        Section("samples", "What the members generate", tuple(pictures(report, "samples"))),
        Section("members", "The runs", tuple(_members(report))),
        Section("results", "Ensemble", tuple(_ensemble(report))),
        Section("training", "Training", tuple(pictures(report, "training"))),
        Section("settings", "Settings", tuple(settings_shown(report))),
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
    )


def _summary(report: Mapping[str, Any]) -> str:
    folds, seeds = int(report.get("folds") or 0), sequence(report.get("seeds"))
    dataset, trainer = mapping(report.get("dataset")), mapping(report.get("trainer"))
    finished = [p for p in map(mapping, sequence(report.get("members"))) if p.get("state") == "finished"]
    said = [
        f"The trainer {text(trainer.get('name'))} carried out one recipe {len(finished)} times on the "
        f"{'synthetic ' if dataset.get('synthetic') else ''}dataset {text(dataset.get('name'))}."
    ]
    if folds:
        said.append(
            f"The training pool was divided into {folds} folds; patients, and identical images, stayed together, "
            "and each fold validated once while the others trained."
        )
        excluded = number(mapping(dataset.get("split")).get("excluded"))
        if excluded:
            said.append(f"{count(excluded)} images that share a patient with the test set were left out.")
    if len(seeds) > 1:
        said.append(f"Seeds: {', '.join(text(seed) for seed in seeds)}.")
    if mapping(report.get("evaluations")).get("test"):
        said.append(
            "The test set was evaluated on once, when all members were finished; nothing was chosen on it."
        )
    elif "test" in mapping(report.get("spread")):
        said.append(
            "Each member was evaluated on the test set when its training was over; nothing was chosen on it."
        )
    return " ".join(said)


def _mean_headlines(report: Mapping[str, Any]) -> tuple[str, tuple[Headline, ...]]:
    measured = mapping(report.get("spread"))
    split = next((name for name in (WHOLE, "test", "validation", *measured) if name in measured), "")
    metrics = mapping(measured.get(split))
    shown = in_order([name for name in metrics if name != "loss"] or list(metrics))[:_HEADLINES]
    title = "Mean over the members" + (f", {split} set" if split and split != WHOLE else "")
    return title, tuple(
        Headline(
            metric_label(name).label,
            metric_text(name, mapping(metrics[name]).get("mean")),
            f"standard deviation over the members {sd_text(name, mapping(metrics[name]).get('sd'))}",
        )
        for name in shown
    )


def _spread(report: Mapping[str, Any]) -> Iterator[Block]:
    for split, metrics in mapping(report.get("spread")).items():
        title = "The result as a whole" if split == WHOLE else f"Single members, {split} images"
        yield _spread_table(title, {name: metric_label(name).label for name in in_order(metrics)}, metrics)
        if split == WHOLE:
            yield from _compared(report)
    yield from pictures(report, "spread")
    if report.get("folds"):
        yield Paragraph(
            "The standard deviation over folds tells how the recipe varies with the patients that it is "
            "trained and evaluated on. The folds share most of their training images, so it is no standard "
            "error of the mean."
        )


def _compared(report: Mapping[str, Any]) -> Iterator[Block]:
    """What simpler images get, and how far a distance varies where nothing but the measurement does."""
    baselines = mapping(report.get("baselines"))
    if baselines:
        labels = {name: _baseline_label(name) for name in baselines}
        yield _spread_table("Baselines that cost no training", labels, baselines)
    if any(name.startswith("kid_real_") for name in mapping(mapping(report.get("spread")).get(WHOLE))):
        yield Paragraph(
            "Real images of other patients are the same for each member, or nearly so: how much their "
            "distance varies is how precisely a distance is measured. A smaller difference between members "
            "means nothing."
        )


def _baseline_label(metric: str) -> str:
    """What stands in a table for a metric that is there for comparison.

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
        of = mapping(metrics[name])
        found = _RECONSTRUCTED.fullmatch(name)
        digits = found[1] if found else name
        mean, low, high = (metric_text(digits, of.get(key)) for key in ("mean", "min", "max"))
        rows.append((label, mean, sd_text(digits, of.get("sd")), low, high))
    head = ("Metric", "Mean", "Standard deviation", "Lowest", "Highest")
    return Table(head, tuple(rows), frozenset(range(1, 5)), title=title)


def _members(report: Mapping[str, Any]) -> Iterator[Block]:
    members = [mapping(member) for member in sequence(report.get("members"))]
    columns: list[tuple[str, str]] = []
    for split, metrics in mapping(report.get("spread")).items():
        if split == WHOLE:
            names = in_order(mapping(metrics))[:_OF_THE_WHOLE]
        else:
            names = [name for name in _OF_A_MEMBER if name in mapping(metrics)][:_OF_A_SPLIT]
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
    head = (
        "Member",
        "Seed",
        "Kept epoch",
        *(
            f"{metric_label(metric).label}{'' if split == WHOLE else f' ({split})'}"
            for split, metric in columns
        ),
        "Time",
        "State",
    )
    links = tuple(
        f"{text(member.get('folder'))}/report.html" if member.get("state") == "finished" else ""
        for member in members
    )
    yield Table(head, tuple(body), frozenset(range(1, len(head) - 1)), links=links)


def _ensemble(report: Mapping[str, Any]) -> Iterator[Block]:
    if not mapping(report.get("evaluations")):
        return
    several = len(sequence(report.get("seeds"))) > 1
    who = "the members that were" if several else "the one member that was"
    if report.get("folds"):
        yield Paragraph(
            f"Validation here means out of fold: every image of the training pool is predicted by {who} not "
            "trained on it, and all are pooled. The epoch that each member kept, its calibration and its "
            "thresholds were chosen on these images, so the numbers are a little too good; those of the test "
            "set are not."
        )
    yield Paragraph(
        "An ensemble predicts an image by the mean of its members' calibrated logits; an operating point lies at "
        "the mean of the members' own."
    )
    yield from results(report)


def _commands(report: Mapping[str, Any]) -> Iterator[Block]:
    for key in ("reproduce", "next"):
        lines = tuple(text(line) for line in sequence(report.get(key)))
        if lines:
            yield Commands(lines)
