"""The page of a group's report: what ``report.json`` of a group holds, in sections, tables and sentences.

What it holds is put together by :mod:`pneumo_cli.reports.gathered`; the page of a single run is
:mod:`pneumo_cli.reports.content`. Nothing here raises, whatever is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pneumo_cli.reports.document import Block, Commands, Document, Folded, Headline, Paragraph, Section, Table
from pneumo_cli.reports.labels import in_order, metric_label, metric_text, number
from pneumo_cli.reports.results import headlines, pictures, results, verdict
from pneumo_cli.reports.wording import count, duration, mapping, sequence, text, value_text, when

_HEADLINES = 4
_IN_PARTS = ("auc", "accuracy", "loss")
WHOLE = "whole"
"""The metrics of what a task says of its result as a whole (the distances of a GAN), beside those of the splits."""


def document(report: Mapping[str, Any]) -> Document:
    """Arrange a group's report; what is absent is left out."""
    failed = [part for part in map(mapping, sequence(report.get("parts"))) if part.get("state") != "finished"]
    cautions = [f"{text(part.get('name'))} has no result: {text(part.get('error'))}" for part in failed]
    if failed and not mapping(report.get("evaluations")).get("test"):
        cautions.append("The test images stay sealed until all parts are there.")
    cautions += [text(mapping(rule).get("text")) for rule in sequence(report.get("honesty"))]
    title, numbers = headlines(report)
    if numbers:
        title = f"The mean of the parts. {title}"
    else:
        title, numbers = _mean_headlines(report)
    sections = (
        Section("spread", "How far the parts lie apart", tuple(_spread(report))),
        Section("parts", "The parts", tuple(_parts(report))),
        Section("results", "The parts as one", tuple(_together(report))),
        Section("training", "Training", tuple(pictures(report, "training"))),
        Section("settings", "Settings", tuple(_settings_shown(report))),
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
    finished = [p for p in map(mapping, sequence(report.get("parts"))) if p.get("state") == "finished"]
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
        said.append("The test set was opened once, when all parts were there, and chose nothing.")
    return " ".join(said)


def _mean_headlines(report: Mapping[str, Any]) -> tuple[str, tuple[Headline, ...]]:
    measured = mapping(report.get("spread"))
    split = next((name for name in (WHOLE, "test", "validation", *measured) if name in measured), "")
    metrics = mapping(measured.get(split))
    shown = in_order([name for name in metrics if name != "loss"] or list(metrics))[:_HEADLINES]
    title = "Mean over the parts" + (f", {split} set" if split and split != WHOLE else "")
    return title, tuple(
        Headline(
            metric_label(name).label,
            metric_text(name, mapping(metrics[name]).get("mean")),
            f"standard deviation over the parts {metric_text(name, mapping(metrics[name]).get('sd'))}",
        )
        for name in shown
    )


def _spread(report: Mapping[str, Any]) -> Iterator[Block]:
    titles = {WHOLE: "The result as a whole"}
    for split, metrics in mapping(report.get("spread")).items():
        rows = []
        for name in in_order(mapping(metrics)):
            of = mapping(metrics[name])
            rows.append(
                (
                    metric_label(name).label,
                    metric_text(name, of.get("mean")),
                    metric_text(name, of.get("sd")),
                    metric_text(name, of.get("min")),
                    metric_text(name, of.get("max")),
                )
            )
        yield Table(
            ("Metric", "Mean", "Standard deviation", "Lowest", "Highest"),
            tuple(rows),
            frozenset(range(1, 5)),
            title=titles.get(split, f"Each part by itself, {split} images"),
        )
    yield from pictures(report, "spread")
    if report.get("folds"):
        yield Paragraph(
            "The standard deviation over folds tells how the recipe varies with the patients that it trains on and "
            "is judged on. The folds share most of their training images, so it is no standard error of the mean."
        )


def _parts(report: Mapping[str, Any]) -> Iterator[Block]:
    parts = [mapping(part) for part in sequence(report.get("parts"))]
    measured = mapping(report.get("spread"))
    columns = [
        (split, metric)
        for split in measured
        for metric in in_order(mapping(measured[split]))
        if metric in _IN_PARTS or split == WHOLE
    ][:6]
    body = []
    for part in parts:
        cells = [text(part.get("name")), text(part.get("seed")), text(part.get("epoch")) or "–"]
        for split, metric in columns:
            value = mapping(mapping(part.get("evaluations")).get(split)).get(metric)
            cells.append(metric_text(metric, value))
        cells += [duration(part.get("seconds")) or "–", text(part.get("state"))]
        body.append(tuple(cells))
    head = (
        "Part",
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
        f"{text(part.get('folder'))}/report.html" if part.get("state") == "finished" else "" for part in parts
    )
    yield Table(head, tuple(body), frozenset(range(1, len(head) - 1)), links=links)


def _together(report: Mapping[str, Any]) -> Iterator[Block]:
    if not mapping(report.get("evaluations")):
        return
    several = len(sequence(report.get("seeds"))) > 1
    who = "the parts that have" if several else "the one part that has"
    if report.get("folds"):
        yield Paragraph(
            f"Validation here means out of fold: every image of the training pool is judged by {who} not trained "
            "on it, and all are pooled. The epoch that each part kept, its temperature and its thresholds were "
            "chosen on these images, so the numbers are a little too good; those of the test set are not."
        )
    yield Paragraph(
        "Several parts judge one image by the mean of their calibrated logits; an operating point lies at the "
        "mean of the parts' own."
    )
    yield from results(report)


def _settings_shown(report: Mapping[str, Any]) -> Iterator[Block]:
    rows = [mapping(row) for row in sequence(report.get("settings"))]
    if not rows:
        return
    head = ("Setting", "Value", "In the preset", "Value comes from", "Meaning")
    changed = [row for row in rows if row.get("value") != row.get("preset")]
    preset = text(report.get("preset") or "default")
    for title, wanted in (
        (f"What differs from the preset {preset}", changed),
        (f"What is as in the preset {preset}", [row for row in rows if row not in changed]),
    ):
        body = tuple(
            (
                text(row.get("name")),
                value_text(row.get("value")),
                value_text(row.get("preset")),
                text(row.get("origin")),
                text(row.get("help")),
            )
            for row in wanted
        )
        if not body:
            continue
        table = Table(head, body, frozenset({1, 2}), title=title if wanted is changed else "")
        yield table if wanted is changed else Folded(title, (table,))


def _commands(report: Mapping[str, Any]) -> Iterator[Block]:
    for key in ("reproduce", "next"):
        lines = tuple(text(line) for line in sequence(report.get(key)))
        if lines:
            yield Commands(lines)
