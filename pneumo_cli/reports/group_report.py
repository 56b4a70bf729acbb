"""The report of a group: what several runs of one recipe say together, as JSON, HTML and Markdown.

Each metric's mean and spread over the parts, the mean of classifiers judged as one with intervals over patients,
what trainers of images make side by side, all curves in one figure, and where each part's own report lies. How the
parts came to be is :mod:`pneumo_cli.training.groups`; a single run's report :mod:`pneumo_cli.reports.run_report`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.metric_names import is_known, metric_label
from pneumo_cli.reports import caveats, html, markdown
from pneumo_cli.reports.figures import style
from pneumo_cli.reports.figures.spread import overlaid_curves, side_by_side, spread_of
from pneumo_cli.reports.group_page import WHOLE, document, stands_beside
from pneumo_cli.reports.predictions import predictions_csv
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.json_values import mapping, number, sequence, text

if TYPE_CHECKING:
    from pneumo_cli.runs.groups import GroupResult, Part

_PICTURES = 12  # parts whose images are shown; the others' lie in their own reports
_SHARES = 3  # metrics that are shares, from which on their figure says more than the table


def write_group_report(group: GroupResult) -> dict[str, Any]:
    """Write everything that a person reads about a group.

    Returns:
        the content of ``report.json``.

    Raises:
        PneumoError: the folder cannot be written, or a part's report is damaged.
    """
    folder = group.folder
    reports = {part.name: _read(group, part) for part in group.done}
    try:
        report = _content(group, reports)
        drawn = _figures(group, reports, report)
        for split, evaluation in group.evaluations.items():
            report["evaluations"][split] = dict(evaluation.metrics)
            report["intervals"][split] = {name: list(ends) for name, ends in evaluation.intervals.items()}
            report["tables"][split] = [asdict(table) for table in evaluation.tables]
            report["details"][split] = dict(evaluation.details)
            for figure in evaluation.figures:
                file = f"figures/{figure.name}-{split}.png"
                style.save(figure.draw(), folder.path / file)
                caption = f"{split.capitalize()}. {figure.caption}"
                drawn.append({"file": file, "caption": caption, "group": figure.group, "split": split})
            rows = predictions_csv(evaluation, group.records)
            atomic.write_text(folder.predictions / f"{split}.csv", rows)
        report["figures"] = drawn
        report["honesty"] = kept_in_mind(report, reports[group.done[0].name])
        shown = document(report)
        atomic.write_text(folder.report_html, html.render_document(shown, folder.path))
        atomic.write_text(folder.report_markdown, markdown.render_document(shown, folder.path))
        atomic.write_json(folder.report_json, report)
    except OSError as error:
        raise PneumoError(
            f"the report in {folder.path} cannot be written ({error.strerror}); the parts are intact: "
            f"pneumo resume {folder.path} writes it again"
        ) from error
    return report


def _read(group: GroupResult, part: Part) -> dict[str, Any]:
    path = group.folder.part(part.name).report_json
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise PneumoError(f"{path} cannot be read: {error}") from error


def _content(group: GroupResult, reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    settings = group.resolved.trainer
    first = reports[group.done[0].name]
    measured = {name: _measured(name, report, group) for name, report in reports.items()}
    seeds = sorted({part.seed for part in group.parts})
    folds = settings.folds if not settings.fold else 0
    trainer, dataset = mapping(first.get("trainer")), mapping(first.get("dataset"))
    # Parts without a mean have looked at the test images themselves, which is one look of the group.
    looks = max([group.looks, *(_looks(report) for report in reports.values())])
    return {
        "format": 1,
        "kind": "group",
        "title": f"{text(trainer.get('name'))} on {text(dataset.get('name'))}: {_how_many(folds, seeds)}",
        "pneumo": version("pneumo-cli"),
        "run": {
            "name": group.folder.path.name,
            "folder": str(group.folder.path),
            "started": min(text(mapping(report.get("run")).get("started")) for report in reports.values()),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(sum(_seconds(report) for report in reports.values()), 1),
        },
        "folds": folds,
        "seeds": seeds,
        "trainer": dict(trainer),
        "model": first.get("model"),
        "dataset": {**dataset, "split": _split(mapping(dataset.get("split")), group, reports)},
        "preset": first.get("preset"),
        "settings": _settings(group, sequence(first.get("settings"))),
        "monitor": first.get("monitor"),
        "curves": first.get("curves"),
        "parts": [
            _part(part, reports.get(part.name), measured.get(part.name), group) for part in group.parts
        ],
        "spread": spread(measured),
        "beside": _beside(reports),
        "evaluations": {},
        "intervals": {},
        "tables": {},
        "details": {},
        **({"seal": {"looks": looks}} if looks else {}),
        "environment": first.get("environment"),
        "reproduce": [f"pneumo run {group.resolved.entry.spec.name} --config {group.folder.settings}"],
        "next": [f"pneumo evaluate {group.folder.path}"] if group.averages else [],
    }


def _how_many(folds: int, seeds: Sequence[int]) -> str:
    words = [f"{folds} folds"] if folds else []
    words += [f"{len(seeds)} seeds"] if len(seeds) > 1 else []
    return " × ".join(words)


def _seconds(report: Mapping[str, Any]) -> float:
    return number(mapping(report.get("run")).get("seconds")) or 0.0


def _looks(report: Mapping[str, Any]) -> int:
    return int(number(mapping(report.get("seal")).get("looks")) or 0)


def _measured(name: str, report: Mapping[str, Any], group: GroupResult) -> dict[str, dict[str, float]]:
    """One part's metrics: of the whole, then by split; the test images' may have been opened by the group."""
    whole = mapping(mapping(report.get("judgement")).get("metrics"))
    found = {WHOLE: {str(k): v for k, v in whole.items() if number(v) is not None and is_known(str(k))}}
    found |= {
        str(split): {str(k): v for k, v in mapping(values).items() if number(v) is not None}
        for split, values in mapping(report.get("evaluations")).items()
    }
    if name in group.members.get("test", {}):
        found["test"] = group.members["test"][name].metrics()
    return {split: values for split, values in found.items() if values}


def _beside(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and spread of what stands beside the result as a whole: the same distances of simpler images."""
    found = {}
    for name, report in reports.items():
        metrics = mapping(mapping(report.get("judgement")).get("metrics"))
        found[name] = {
            WHOLE: {str(k): v for k, v in metrics.items() if number(v) is not None and stands_beside(str(k))}
        }
    return spread(found).get(WHOLE, {})


def spread(measured: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation and range of every metric over the parts that have it.

    Args:
        measured: by part, then split, then metric.

    Returns:
        by split, then metric: ``parts`` (how many), ``mean``, ``sd`` (of a sample: n - 1; None for one part),
        ``min``, ``max`` and ``values`` by part.
    """
    values: dict[str, dict[str, dict[str, float]]] = {}
    for part, splits in measured.items():
        for split, metrics in splits.items():
            for metric, value in metrics.items():
                values.setdefault(split, {}).setdefault(metric, {})[part] = float(value)
    return {
        split: {
            metric: {
                "parts": len(by_part),
                "mean": float(np.mean(list(by_part.values()))),
                "sd": float(np.std(list(by_part.values()), ddof=1)) if len(by_part) > 1 else None,
                "min": min(by_part.values()),
                "max": max(by_part.values()),
                "values": by_part,
            }
            for metric, by_part in metrics.items()
        }
        for split, metrics in values.items()
    }


def _part(
    part: Part,
    report: Mapping[str, Any] | None,
    measured: Mapping[str, Mapping[str, float]] | None,
    group: GroupResult,
) -> dict[str, Any]:
    known: dict[str, Any] = {
        "name": part.name,
        "folder": f"parts/{part.name}",
        "fold": part.fold,
        "seed": part.seed,
        "state": "failed" if report is None else "finished",
    }
    if report is None:
        known["error"] = group.failures.get(part.name, "")
        return known
    return {
        **known,
        "epochs": len(sequence(report.get("history"))) - 1,
        "epoch": mapping(report.get("monitor")).get("epoch"),
        "seconds": _seconds(report),
        "evaluations": {split: dict(values) for split, values in (measured or {}).items()},
    }


def _split(
    split: Mapping[str, Any], group: GroupResult, reports: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The first part's split; with folds, all that validated is its validation row, and no row trains."""
    if not group.resolved.trainer.folds or group.resolved.trainer.fold:
        return dict(split)
    seed = group.parts[0].seed
    rows = [
        mapping(row)
        for part in group.parts
        if part.seed == seed and part.name in reports
        for row in sequence(mapping(mapping(reports[part.name].get("dataset")).get("split")).get("rows"))
        if mapping(row).get("split") == "validation"
    ]
    counts: dict[str, int] = {}
    for row in rows:
        for name, images in mapping(row.get("counts")).items():
            counts[str(name)] = counts.get(str(name), 0) + int(images)
    pooled = {
        "split": "validation",
        "counts": counts,
        "images": sum(counts.values()),
        "patients": sum(int(row.get("patients") or 0) for row in rows),
        "ratio": None,
    }
    tested = [dict(row) for row in map(mapping, sequence(split.get("rows"))) if row.get("split") == "test"]
    return {**split, "rows": [pooled, *tested]}


def _settings(group: GroupResult, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """The first part's settings, those that differ among the parts as the group has them."""
    own = {name: getattr(group.resolved.trainer, name) for name in ("fold", "seed", "seeds", "judge_test")}
    made = []
    for row in map(mapping, rows):
        name = text(row.get("name"))
        if name in own:
            row = {**row, "value": own[name], "origin": group.resolved.origins[name]}
        made.append(dict(row))
    return made


def _figures(
    group: GroupResult, reports: Mapping[str, Mapping[str, Any]], report: Mapping[str, Any]
) -> list[dict[str, str]]:
    drawn = []
    histories = [list(sequence(one.get("history"))) for one in reports.values()]
    names = [str(name) for name in sequence(report.get("curves"))]
    there = {name for history in histories for row in history for side in ("train", "validation")
             for name in mapping(mapping(row).get(side))}  # fmt: skip
    names = [name for name in names if name in there] or sorted(there)
    if names:
        file = "figures/curves.png"
        style.save(overlaid_curves(histories, names), group.folder.path / file)
        caption = f"All {len(histories)} parts over the epochs (thin), and their mean (thick)."
        drawn.append({"file": file, "caption": caption, "group": "training"})
    drawn += _samples(group, reports)
    values = {
        split: {metric: list(of["values"].values()) for metric, of in metrics.items()}
        for split, metrics in report["spread"].items()
        if split != WHOLE
    }
    shares = {name for metrics in values.values() for name in metrics if metric_label(name).share}
    if len(shares) >= _SHARES:
        file = "figures/spread.png"
        style.save(spread_of(values), group.folder.path / file)
        caption = "Each part's metrics, with their mean and standard deviation."
        drawn.append({"file": file, "caption": caption, "group": "spread"})
    return drawn


def _samples(group: GroupResult, reports: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """What the parts have made, side by side: the pictures that each one kept of its chosen epoch."""
    found = {}
    for name, report in reports.items():
        epoch = number(mapping(report.get("monitor")).get("epoch"))
        if epoch is not None and (picture := group.folder.part(name).epoch_images(int(epoch))).is_file():
            found[f"{name}, epoch {epoch:.0f}"] = picture
    if not found:
        return []
    shown = dict(list(found.items())[:_PICTURES])
    file = "figures/samples.png"
    style.save(side_by_side(shown), group.folder.path / file)
    caption = "What each part makes with the weights that it kept; larger in its own report."
    if len(shown) < len(found):
        caption += f" The first {len(shown)} of {len(found)} parts."
    return [{"file": file, "caption": caption, "group": "samples"}]


def kept_in_mind(report: Mapping[str, Any], first: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rules, looking at what one part chooses by, and at what all say together."""
    rules = caveats.fired({**report, "dataset": first.get("dataset")})
    if len(sequence(report.get("seeds"))) > 1:
        return [rule for rule in rules if rule["rule"] != "one-seed"]
    said = (
        "Every fold was trained with one seed: what lies between the folds holds other training images and other "
        "patients to judge, but not the luck of a seed on its own. --seeds 3 adds it."
    )
    rules = [rule for rule in rules if rule["rule"] != "one-seed"]
    return [*rules, {"rule": "one-seed-per-fold", "text": said}]
