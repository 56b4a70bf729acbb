"""The tables of a comparison, which page and terminal share, and its numbers as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pneumo_cli.evaluation.confidence.paired import PRIMARY, difference_text, p_text
from pneumo_cli.evaluation.metric_names import in_order, interval_text, is_known, metric_label, metric_text
from pneumo_cli.runtime.json_values import mapping, number, sequence, text, value_text
from pneumo_compare.comparison import ComparedRun, Comparison, Places
from pneumo_compare.settings import ABSENT, settings_that_differ
from pneumo_compare.wording import cautions, class_verdict, metric_verdict, pair_sentence, verdict

_LISTED = ("trainer", "model", "dataset", "epochs", "started")


def plain(comparison: Comparison) -> dict[str, Any]:
    """The comparison for JSON."""
    runs = comparison.runs
    return {
        "split": comparison.split,
        "images": len(comparison.first.images.names) if comparison.first.images else None,
        "patients": len(set(comparison.first.images.patients)) if comparison.first.images else None,
        "baseline": comparison.first.letter,
        "all_pairs": comparison.all_pairs,
        "verdict": verdict(comparison),
        "cautions": list(cautions(comparison)),
        "runs": [
            {
                "letter": run.letter,
                "name": run.label,
                "run": str(run.listed.path),
                **{name: getattr(run.listed, name) for name in _LISTED},
                "metrics": dict(run.metrics),
                "intervals": {name: list(ends) for name, ends in run.intervals.items()},
            }
            for run in runs
        ],
        "tests": dict(comparison.tests),
        "differences": [_plain_pair(comparison, places) for places in comparison.pairs],
        "settings": {
            name: {
                letter: value
                for letter, value in zip(letters(runs), values, strict=True)
                if value is not ABSENT
            }
            for name, values, _ in settings_that_differ([run.report for run in runs])
        },
    }


def metric_rows(comparison: Comparison, *, intervals: bool = True) -> list[tuple[str, ...]]:
    """A row for each metric that two runs have: its label, and each run's value, perhaps with its interval."""
    runs = comparison.runs
    names = dict.fromkeys(name for run in runs for name in run.metrics)
    shared = [name for name in names if sum(name in run.metrics for run in runs) > 1]
    return [
        (
            metric_title(comparison, name),
            *(_valued(name, run.metrics.get(name), intervals and run.intervals.get(name)) for run in runs),
        )
        for name in in_order(shared)
    ]


def whole_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """A row for each metric of a whole set of images, such as the distance of generated ones, that a run has."""
    summaries = [mapping(mapping(run.report.get("summary")).get("metrics")) for run in comparison.runs]
    names = [name for name in in_order(dict.fromkeys(n for one in summaries for n in one)) if is_known(name)]
    return [(metric_label(n).label, *(metric_text(n, one.get(n)) for one in summaries)) for n in names]


def pair_rows(comparison: Comparison) -> dict[Places, tuple[str, ...]]:
    """A row for each pair: its letters, and the primary metric's difference, p, adjusted p, and result in words.

    Empty if no pair has the primary metric.
    """
    return {
        places: (
            f"{second.letter} − {first.letter}",
            difference_text(PRIMARY, found.metrics[PRIMARY].difference),
            p_text(found.metrics[PRIMARY].difference.p),
            p_text(found.metrics[PRIMARY].p),
            metric_verdict(comparison, places, PRIMARY),
        )
        for places, found in comparison.pairs.items()
        if PRIMARY in found.metrics
        for first, second in [comparison.of(places)]
    }


def better_rows(comparison: Comparison, places: Places) -> list[tuple[str, ...]]:
    """:func:`difference_table` for a terminal: short labels, and for the result the name of the better run."""
    metrics, (first, second) = comparison.pairs[places].metrics, comparison.of(places)
    who = {1: second.label, -1: first.label, 0: ABSENT}
    return [
        (label.replace("Calibration error (ECE)", "ECE"), *numbers, who[metrics[name].better])
        for name, (label, *numbers, _) in zip(
            in_order(metrics), difference_table(comparison, places), strict=True
        )
    ]


def primary_title(comparison: Comparison) -> str:
    """The label of the metric that pairs are compared by."""
    return metric_title(comparison, PRIMARY)


def difference_table(comparison: Comparison, places: Places) -> list[tuple[str, ...]]:
    """A row for each metric: label, difference with interval, p, adjusted p, and the result in words."""
    metrics = comparison.pairs[places].metrics
    return [
        (
            metric_title(comparison, name),
            difference_text(name, metrics[name].difference),
            p_text(metrics[name].difference.p),
            p_text(metrics[name].p),
            metric_verdict(comparison, places, name),
        )
        for name in in_order(metrics)
    ]


def class_table(comparison: Comparison, places: Places) -> list[tuple[str, ...]]:
    """A row for the ROC AUC of each class: name, both values, difference with interval, p, adjusted p, result."""
    values = [_class_areas(run, comparison.split) for run in comparison.of(places)]
    return [
        (
            text(name),
            *(metric_text("auc", one.get(name)) for one in values),
            difference_text("auc", tested.difference),
            p_text(tested.difference.p),
            p_text(tested.p),
            class_verdict(comparison, places, name),
        )
        for name, tested in comparison.pairs[places].classes.items()
    ]


def class_head(comparison: Comparison, places: Places) -> tuple[str, ...]:
    """The head of :func:`class_table`."""
    first, second = comparison.of(places)
    return ("Class", f"AUC {first.letter}", f"AUC {second.letter}", "Difference", "p", "Adjusted", "Result")


def metric_title(comparison: Comparison, name: str) -> str:
    """The label of a metric, with the average over K classes that it is."""
    details = mapping(mapping(comparison.first.report.get("details")).get(comparison.split))
    task = text(details.get("task")) or "binary"
    return metric_label(name, task).label


def _class_areas(run: ComparedRun, split: str) -> dict[str, Any]:
    details = mapping(mapping(run.report.get("details")).get(split))
    classes = map(mapping, sequence(details.get("classes")))
    return {str(one.get("name")): mapping(one.get("metrics")).get("auc") for one in classes}


def run_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """A row for each run: letter, short name, folder, model, seed, epochs."""
    return [
        (
            run.letter,
            run.label,
            text(run.name),
            text(mapping(run.report.get("model")).get("name")) or run.listed.model,
            value_text(run.listed.settings.get("seed", "")),
            f"{run.listed.epochs}",
        )
        for run in comparison.runs
    ]


def _valued(name: str, value: Any, ends: Any) -> str:
    between = interval_text(name, ends)
    return metric_text(name, value) + (f" ({between})" if between else "")


def letters(runs: Sequence[ComparedRun]) -> list[str]:
    return [run.letter for run in runs]


def _plain_pair(comparison: Comparison, places: Places) -> dict[str, Any]:
    pair, (first, second) = comparison.pairs[places], comparison.of(places)
    return {
        "run": second.letter,
        "baseline": first.letter,
        "same_run": comparison.same_run(places),
        "equal": pair.equal,
        "verdict": pair_sentence(comparison, places),
        "metrics": {
            name: {
                **tested.difference._asdict(),
                "p_adjusted": tested.p,
                "significant": bool(tested.better),
                "verdict": metric_verdict(comparison, places, name),
            }
            for name, tested in pair.metrics.items()
        },
        "delong": None
        if pair.delong is None
        # JSON has no infinity: an AUC without an error has no z.
        else {"difference": pair.delong.difference, "z": number(pair.delong.z), "p": pair.delong.p},
        "mcnemar": {name: dict(calls._asdict()) for name, calls in pair.calls.items()},
        **({"classes": _plain_classes(comparison, places)} if pair.classes else {}),
    }


def _plain_classes(comparison: Comparison, places: Places) -> dict[str, Any]:
    """The differences of the ROC AUC of each class."""
    return {
        name: {
            **tested.difference._asdict(),
            "p_adjusted": tested.p,
            "significant": bool(tested.better),
            "verdict": class_verdict(comparison, places, name),
        }
        for name, tested in comparison.pairs[places].classes.items()
    }
