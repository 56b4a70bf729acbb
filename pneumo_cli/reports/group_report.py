"""The report of a group: what several runs of one recipe show together, as JSON, HTML and Markdown.

It holds the mean and spread of each metric over the members, the ensemble of classifiers with intervals over
patients, the generated images of each member, all training curves in one figure, and links to the members' reports.
Groups are run by :mod:`pneumo_cli.training.groups`; :mod:`pneumo_cli.reports.run_report` reports a single run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.metric_names import in_order, is_known, metric_label, metric_text, sd_text
from pneumo_cli.reports import caveats, html, markdown
from pneumo_cli.reports.figure_files import FigureFiles, drawing_processes
from pneumo_cli.reports.figures.spread import overlaid_curves, side_by_side, spread_of
from pneumo_cli.reports.group_page import WHOLE, document, is_of_baseline
from pneumo_cli.reports.predictions import predictions_csv
from pneumo_cli.reports.run_figures import add_evaluation_figures
from pneumo_cli.reports.run_report import evaluation_content
from pneumo_cli.runs.report_format import FORMAT, covered_epochs, read_report
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.json_values import finite, mapping, number, sequence, text

if TYPE_CHECKING:
    from pneumo_cli.runs.groups import GroupMember, GroupResult

_MOST_SHOWN = 12  # members whose images are shown; those of the others are in their own reports
FEW_MEMBERS = "few-members"
"""The rule of the caveat that a spread over two or three runs says little."""
_SHARES = 3  # metrics between 0 and 1 from which on a figure of their spread is worthwhile


def write_group_report(group: GroupResult, next_steps: Sequence[str] = ()) -> dict[str, Any]:
    """Write the report of a group.

    Args:
        next_steps: command lines that it suggests.

    Returns:
        the content of ``report.json``.

    Raises:
        PneumoError: the folder cannot be written, or a member's report is damaged.
    """
    folder = group.folder
    reports = {member.name: _read(group, member) for member in group.done}
    try:
        report = {**_content(group, reports), "next": list(next_steps)}
        machine = group.resolved.machine
        files = FigureFiles(folder, report["notes"].append, for_print=machine.print_figures)
        for split, evaluation in group.evaluations.items():
            atomic.write_text(folder.predictions / f"{split}.csv", predictions_csv(evaluation, group.records))
        pages = machine.report
        if pages:
            _figures(group, reports, report, files)
            for split, evaluation in group.evaluations.items():
                add_evaluation_figures(files, split, evaluation)
            files.draw(drawing_processes())
        report["figures"] = files.listed
        report["caveats"] = caveats_of(report, reports[group.done[0].name])
        written: dict[str, Any] = finite(report)
        if pages:
            page = document(written)
            atomic.write_text(
                folder.report_html, html.render_document(page, folder.path, pictures=files.pictures)
            )
            atomic.write_text(folder.report_markdown, markdown.render_document(page, folder.path))
        atomic.write_json(folder.report_json, written)
    except OSError as error:
        raise PneumoError(
            f"the report in {folder.path} cannot be written ({error.strerror}); the members are intact: "
            f"pneumo resume {folder.path} writes it again"
        ) from error
    return written


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
    # Members that form no ensemble were evaluated on the test set one by one, which counts as one access.
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
        # The table of layers is in the members' reports.
        "model": {name: value for name, value in mapping(first.get("model")).items() if name != "layers"},
        "dataset": {**dataset, "split": _split(mapping(dataset.get("split")), group, reports)},
        "preset": first.get("preset"),
        "settings": _settings(group, sequence(first.get("settings"))),
        "monitor": first.get("monitor"),
        "curves": first.get("curves"),
        "members": [
            _member(member, reports.get(member.name), measured.get(member.name), group)
            for member in group.members
        ],
        **({"predicts": list(group.predicts)} if group.predicts else {}),
        "spread": spread(measured),
        "baselines": _baselines(reports),
        **evaluation_content(group.evaluations),
        **({"test_access": {"count": accesses}} if accesses else {}),
        "notes": [],
        "environment": first.get("environment"),
        "reproduce": [
            f"pneumo run {group.resolved.entry.spec.name} --config {group.folder.settings}",
            *sequence(first.get("reproduce"))[1:],
        ],
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
    """One member's metrics: of the whole run, then by split; on the test set, perhaps evaluated by the group."""
    whole = _numbers(mapping(report.get("summary")).get("metrics"))
    measured = {WHOLE: {metric: value for metric, value in whole.items() if is_known(metric)}}
    splits = mapping(report.get("evaluations")).items()
    measured |= {str(split): _numbers(metrics) for split, metrics in splits}
    if name in group.predictions.get("test", {}):
        measured["test"] = group.predictions["test"][name].metrics()
    return {split: metrics for split, metrics in measured.items() if metrics}


def _baselines(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and spread of the baselines of the whole run: the same measures of simpler images."""
    measured = {}
    for name, report in reports.items():
        metrics = _numbers(mapping(report.get("summary")).get("metrics"))
        measured[name] = {WHOLE: {metric: v for metric, v in metrics.items() if is_of_baseline(metric)}}
    return spread(measured).get(WHOLE, {})


def _numbers(metrics: Any) -> dict[str, float]:
    return {str(name): value for name, value in mapping(metrics).items() if number(value) is not None}


def spread(measured: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation and range of every metric over the members that have it.

    Args:
        measured: by member, then split, then metric.

    Returns:
        by split, then metric: ``members`` (their number), ``mean``, ``sd`` (of a sample: n - 1; None for one
        member), ``min``, ``max`` and ``values`` by member.
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
    content: dict[str, Any] = {
        "name": member.name,
        "folder": str(group.folder.member(member.name).path.relative_to(group.folder.path)),
        "fold": member.fold,
        "seed": member.seed,
        "state": "failed" if report is None else "finished",
    }
    if report is None:
        return {**content, "error": group.failures.get(member.name, "")}
    return {
        **content,
        "epochs": covered_epochs(report),
        **({"stopped": stopped} if (stopped := mapping(mapping(report.get("run")).get("stopped"))) else {}),
        "epoch": mapping(report.get("monitor")).get("epoch"),
        "seconds": _seconds(report),
        "evaluations": {split: dict(values) for split, values in (measured or {}).items()},
    }


def _split(
    split: Mapping[str, Any], group: GroupResult, reports: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The first member's split; with folds, one validation row for all folds and no training row."""
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
        "images": sum(int(row.get("images") or 0) for row in rows),
        "patients": sum(int(row.get("patients") or 0) for row in rows),
        "ratio": None,
    }
    tested = [dict(row) for row in map(mapping, sequence(split.get("rows"))) if row.get("split") == "test"]
    return {**split, "rows": [pooled, *tested]}


def _settings(group: GroupResult, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """The first member's settings; those in which members differ have the group's values."""
    own = {name: getattr(group.resolved.trainer, name) for name in ("fold", "seed", "seeds", "evaluate_test")}
    settings = []
    for row in map(mapping, rows):
        name = text(row.get("name"))
        if name in own:
            row = {**row, "value": own[name], "origin": group.resolved.origins[name]}
        settings.append(dict(row))
    return settings


def _figures(
    group: GroupResult,
    reports: Mapping[str, Mapping[str, Any]],
    report: Mapping[str, Any],
    files: FigureFiles,
) -> None:
    histories = [list(sequence(one.get("history"))) for one in reports.values()]
    entries = [mapping(row) for history in histories for row in history]
    recorded = {
        name for row in entries for side in ("train", "validation") for name in mapping(row.get(side))
    }
    names = [str(name) for name in sequence(report.get("curves"))]
    names = [name for name in names if name in recorded] or sorted(recorded)
    if names:
        caption = (
            f"Metrics of all {len(histories)} members by epoch (thin lines), and their mean (thick lines)."
        )
        files.add(partial(overlaid_curves, histories, names), "figures/curves", caption, "training")
    _samples(group, reports, files)
    values = {
        split: {metric: list(of["values"].values()) for metric, of in metrics.items()}
        for split, metrics in report["spread"].items()
        if split != WHOLE
    }
    shares = {name for metrics in values.values() for name in metrics if metric_label(name).share}
    if len(shares) >= _SHARES:
        caption = "Metrics of each member, with their mean and standard deviation."
        said = _said(report["spread"], next(iter(values)))
        files.add(partial(spread_of, values), "figures/spread", caption, "spread", alternative=said)


def _said(measured: Mapping[str, Any], split: str) -> str:
    """What the figure of the spread shows, of the first metrics of a split."""
    shown = in_order([name for name in measured[split] if metric_label(name).share])[:_SHARES]
    parts = (
        f"{metric_label(name).label} {metric_text(name, of['mean'])} ± {sd_text(name, of['sd'])}"
        for name in shown
        for of in [measured[split][name]]
    )
    return f"Mean and standard deviation over the members, {split} set: {', '.join(parts)}."


def _samples(group: GroupResult, reports: Mapping[str, Mapping[str, Any]], files: FigureFiles) -> None:
    """The images that each member generated in its selected epoch, side by side."""
    images = {}
    for name, report in reports.items():
        epoch = number(mapping(report.get("monitor")).get("epoch"))
        if epoch is not None and (file := group.folder.member(name).epoch_images(int(epoch))).is_file():
            images[f"{name}, epoch {epoch:.0f}"] = file
    if not images:
        return
    shown = dict(list(images.items())[:_MOST_SHOWN])
    caption = "Images generated by the selected checkpoint of each member; larger in the member's own report."
    if len(shown) < len(images):
        caption += f" The first {len(shown)} of {len(images)} members are shown."
    files.add(partial(side_by_side, shown), "figures/samples", caption, "samples")


def few_members(report: Mapping[str, Any]) -> str:
    """That a standard deviation of two or three values is hardly known; empty for other numbers of members.

    The factors are those of the 95 % interval of a normal distribution's standard deviation, from chi-squared.
    """
    finished = sum(mapping(one).get("state") == "finished" for one in sequence(report.get("members")))
    more = "--seeds 5" if len(sequence(report.get("seeds"))) > 1 else "More folds or seeds"
    if finished == 2:
        return (
            "The spread is over two runs, and says little: the true standard deviation may be half of that of two "
            f"values, or thirty times as large (95 % interval 0.45 to 32 times). {more} would say more."
        )
    if finished == 3:
        return (
            "The spread is over three runs, a rough estimate: the true standard deviation may be half of that of "
            "three values, or six times as large (95 % interval 0.52 to 6.3 times)."
        )
    return ""


def caveats_of(report: Mapping[str, Any], first: Mapping[str, Any]) -> list[dict[str, str]]:
    """The caveats of a group, with the dataset of its first member; one on the seed only where there is one."""
    rules = caveats.fired({**report, "dataset": first.get("dataset")})
    rules = [rule for rule in rules if rule["rule"] != "one-seed"]
    if few := few_members(report):
        rules.insert(0, {"rule": FEW_MEMBERS, "text": few})
    if len(sequence(report.get("seeds"))) > 1:
        return rules
    sentences = (
        "Each fold was trained with one seed: the spread over folds includes the variation between patients, but "
        "not that between seeds by itself. --seeds 3 adds it."
    )
    return [*rules, {"rule": "one-seed-per-fold", "text": sentences}]
