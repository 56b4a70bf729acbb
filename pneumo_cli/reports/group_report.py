"""The report of a group: what several runs of one recipe say together, as JSON, HTML and Markdown.

Each metric's mean and spread over the members, the mean of classifiers judged as one with intervals over
patients, what trainers of images make side by side, all curves in one figure, and where each member's own
report lies. How the members came to be is :mod:`pneumo_cli.training.groups`; a single run's report
:mod:`pneumo_cli.reports.run_report`.
"""

from __future__ import annotations

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
from pneumo_cli.reports.group_page import WHOLE, document, is_of_baseline
from pneumo_cli.reports.predictions import predictions_csv
from pneumo_cli.runs.report_format import FORMAT, read_report
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.json_values import mapping, number, sequence, text

if TYPE_CHECKING:
    from pneumo_cli.runs.groups import GroupMember, GroupResult

_PICTURES = 12  # members whose images are shown; the others' lie in their own reports
_SHARES = 3  # metrics that are shares, from which on their figure says more than the table


def write_group_report(group: GroupResult) -> dict[str, Any]:
    """Write everything that a person reads about a group.

    Returns:
        the content of ``report.json``.

    Raises:
        PneumoError: the folder cannot be written, or a member's report is damaged.
    """
    folder = group.folder
    reports = {member.name: _read(group, member) for member in group.done}
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
        report["caveats"] = caveats_of(report, reports[group.done[0].name])
        shown = document(report)
        atomic.write_text(folder.report_html, html.render_document(shown, folder.path))
        atomic.write_text(folder.report_markdown, markdown.render_document(shown, folder.path))
        atomic.write_json(folder.report_json, report)
    except OSError as error:
        raise PneumoError(
            f"the report in {folder.path} cannot be written ({error.strerror}); the members are intact: "
            f"pneumo resume {folder.path} writes it again"
        ) from error
    return report


def _read(group: GroupResult, member: GroupMember) -> dict[str, Any]:
    path = group.folder.member(member.name).report_json
    try:
        return read_report(path)
    except (OSError, ValueError, TypeError) as error:
        raise PneumoError(f"{path} cannot be read: {error}") from error


def _content(group: GroupResult, reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    settings = group.resolved.trainer
    first = reports[group.done[0].name]
    measured = {name: _measured(name, report, group) for name, report in reports.items()}
    seeds = sorted({member.seed for member in group.members})
    folds = settings.folds if not settings.fold else 0
    trainer, dataset = mapping(first.get("trainer")), mapping(first.get("dataset"))
    # Parts without a mean have looked at the test images themselves, which is one look of the group.
    accesses = max([group.test_accesses, *(_accesses(report) for report in reports.values())])
    return {
        "format": FORMAT,
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
        "members": [
            _member(member, reports.get(member.name), measured.get(member.name), group)
            for member in group.members
        ],
        "spread": spread(measured),
        "baselines": _baselines(reports),
        "evaluations": {},
        "intervals": {},
        "tables": {},
        "details": {},
        **({"test_access": {"count": accesses}} if accesses else {}),
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


def _accesses(report: Mapping[str, Any]) -> int:
    return int(number(mapping(report.get("test_access")).get("count")) or 0)


def _measured(name: str, report: Mapping[str, Any], group: GroupResult) -> dict[str, dict[str, float]]:
    """One member's metrics: of the whole, then by split; the test images' may have been opened by the group."""
    whole = mapping(mapping(report.get("summary")).get("metrics"))
    found = {WHOLE: {str(k): v for k, v in whole.items() if number(v) is not None and is_known(str(k))}}
    found |= {
        str(split): {str(k): v for k, v in mapping(values).items() if number(v) is not None}
        for split, values in mapping(report.get("evaluations")).items()
    }
    if name in group.predictions.get("test", {}):
        found["test"] = group.predictions["test"][name].metrics()
    return {split: values for split, values in found.items() if values}


def _baselines(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and spread of the baselines of the result as a whole: the same distances of simpler images."""
    found = {}
    for name, report in reports.items():
        metrics = mapping(mapping(report.get("summary")).get("metrics"))
        found[name] = {
            WHOLE: {str(k): v for k, v in metrics.items() if number(v) is not None and is_of_baseline(str(k))}
        }
    return spread(found).get(WHOLE, {})


def spread(measured: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation and range of every metric over the members that have it.

    Args:
        measured: by member, then split, then metric.

    Returns:
        by split, then metric: ``members`` (how many), ``mean``, ``sd`` (of a sample: n - 1; None for one member),
        ``min``, ``max`` and ``values`` by member.
    """
    values: dict[str, dict[str, dict[str, float]]] = {}
    for member, splits in measured.items():
        for split, metrics in splits.items():
            for metric, value in metrics.items():
                values.setdefault(split, {}).setdefault(metric, {})[member] = float(value)
    return {
        split: {
            metric: {
                "members": len(by_member),
                "mean": float(np.mean(list(by_member.values()))),
                "sd": float(np.std(list(by_member.values()), ddof=1)) if len(by_member) > 1 else None,
                "min": min(by_member.values()),
                "max": max(by_member.values()),
                "values": by_member,
            }
            for metric, by_member in metrics.items()
        }
        for split, metrics in values.items()
    }


def _member(
    member: GroupMember,
    report: Mapping[str, Any] | None,
    measured: Mapping[str, Mapping[str, float]] | None,
    group: GroupResult,
) -> dict[str, Any]:
    known: dict[str, Any] = {
        "name": member.name,
        "folder": str(group.folder.member(member.name).path.relative_to(group.folder.path)),
        "fold": member.fold,
        "seed": member.seed,
        "state": "failed" if report is None else "finished",
    }
    if report is None:
        known["error"] = group.failures.get(member.name, "")
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
    """The first member's split; with folds, all that validated is its validation row, and no row trains."""
    if not group.resolved.trainer.folds or group.resolved.trainer.fold:
        return dict(split)
    seed = group.members[0].seed
    rows = [
        mapping(row)
        for member in group.members
        if member.seed == seed and member.name in reports
        for row in sequence(mapping(mapping(reports[member.name].get("dataset")).get("split")).get("rows"))
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
    """The first member's settings, those that differ among the members as the group has them."""
    own = {name: getattr(group.resolved.trainer, name) for name in ("fold", "seed", "seeds", "evaluate_test")}
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
        caption = f"All {len(histories)} members over the epochs (thin), and their mean (thick)."
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
        caption = "Each member's metrics, with their mean and standard deviation."
        drawn.append({"file": file, "caption": caption, "group": "spread"})
    return drawn


def _samples(group: GroupResult, reports: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """What the members have generated, side by side: the pictures that each one kept of its chosen epoch."""
    found = {}
    for name, report in reports.items():
        epoch = number(mapping(report.get("monitor")).get("epoch"))
        if epoch is not None and (picture := group.folder.member(name).epoch_images(int(epoch))).is_file():
            found[f"{name}, epoch {epoch:.0f}"] = picture
    if not found:
        return []
    shown = dict(list(found.items())[:_PICTURES])
    file = "figures/samples.png"
    style.save(side_by_side(shown), group.folder.path / file)
    caption = "What each member makes with the weights that it kept; larger in its own report."
    if len(shown) < len(found):
        caption += f" The first {len(shown)} of {len(found)} members."
    return [{"file": file, "caption": caption, "group": "samples"}]


def caveats_of(report: Mapping[str, Any], first: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rules, looking at what one member chooses by, and at what all say together."""
    rules = caveats.fired({**report, "dataset": first.get("dataset")})
    if len(sequence(report.get("seeds"))) > 1:
        return [rule for rule in rules if rule["rule"] != "one-seed"]
    said = (
        "Every fold was trained with one seed: what lies between the folds holds other training images and other "
        "patients to judge, but not the luck of a seed on its own. --seeds 3 adds it."
    )
    rules = [rule for rule in rules if rule["rule"] != "one-seed"]
    return [*rules, {"rule": "one-seed-per-fold", "text": said}]
