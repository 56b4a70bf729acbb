"""The tables of a comparison, which page and terminal share, and its numbers as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pneumo_cli.evaluation.metric_names import in_order, interval_text, metric_label, metric_text
from pneumo_cli.runtime.json_values import mapping, number, sequence, text, value_text
from pneumo_compare.comparison import ComparedRun, Comparison
from pneumo_compare.wording import (
    cautions,
    class_verdict,
    difference_text,
    metric_verdict,
    p_text,
    pair_sentence,
    verdict,
)

_LISTED = ("trainer", "model", "dataset", "epochs", "started")
ABSENT = "–"
"""For a setting that a run's trainer does not have."""


def plain(comparison: Comparison) -> dict[str, Any]:
    """The comparison for JSON."""
    runs = comparison.runs
    return {
        "split": comparison.split,
        "images": len(comparison.first.images.names) if comparison.first.images else None,
        "patients": len(set(comparison.first.images.patients)) if comparison.first.images else None,
        "baseline": comparison.first.letter,
        "verdict": verdict(comparison),
        "cautions": list(cautions(comparison)),
        "runs": [
            {
                "letter": run.letter,
                "run": str(run.listed.path),
                **{name: getattr(run.listed, name) for name in _LISTED},
                "metrics": dict(run.metrics),
                "intervals": {name: list(ends) for name, ends in run.intervals.items()},
            }
            for run in runs
        ],
        "tests": dict(comparison.tests),
        "differences": [_plain_pair(comparison, place) for place in comparison.pairs],
        "settings": {
            name: {
                letter: value
                for letter, value in zip(letters(runs), values, strict=True)
                if value is not ABSENT
            }
            for name, values, _ in settings_that_differ(runs)
        },
    }


def settings_that_differ(runs: Sequence[ComparedRun]) -> Iterator[tuple[str, tuple[Any, ...], bool]]:
    """The settings, and facts such as model, dataset and extensions, in which runs differ.

    Yields:
        name, the runs' values (:data:`ABSENT` if a trainer has no such setting), and whether it belongs to the
        machine and not to the recipe.
    """
    from pneumo_cli.settings.schema import MachineSettings

    facts: list[dict[str, Any]] = []
    observed: set[str] = set()  # settings of observers, which are no part of the recipe
    for run in runs:
        trainer, model, dataset = (mapping(run.report.get(part)) for part in ("trainer", "model", "dataset"))
        environment = mapping(run.report.get("environment"))
        values: dict[str, Any] = {
            "trainer": trainer.get("name"),
            "model": model.get("name"),
            "dataset": dataset.get("name"),
            "fingerprint of the dataset": text(dataset.get("fingerprint"))[:12],
            "preset": run.report.get("preset"),
        }
        for item in map(mapping, sequence(run.report.get("settings"))):
            values[text(item.get("name"))] = item.get("value")
        extensions = _extensions(run.report)
        listed = [f"{name} ({origin})" if origin else name for name, origin in extensions.items()]
        values["extensions"] = ", ".join(listed) or "none"
        observed |= {name for name in values if "." in name and name.partition(".")[0] not in extensions}
        values["model"] = model.get("name")  # the setting may be empty: the trainer's own
        values |= {
            "computed on": environment.get("device_name") or environment.get("device"),
            "computed in": environment.get("precision"),
            "torch": mapping(environment.get("packages")).get("torch"),
            "pneumo": run.report.get("pneumo"),
        }
        facts.append(values)
    machine = {*observed, *MachineSettings.model_fields, "computed on", "computed in", "torch", "pneumo"}
    for name in dict.fromkeys(name for values in facts for name in values):
        several = tuple(values.get(name, ABSENT) for values in facts)
        if any(value != several[0] for value in several[1:]):
            yield name, several, name in machine


def _extensions(report: Mapping[str, Any]) -> dict[str, str]:
    """The extensions of a run, with distribution and version; earlier versions recorded the names alone."""
    recorded = report.get("extensions")
    if isinstance(recorded, Mapping):
        return {text(name): text(version) for name, version in recorded.items()}
    return {text(name): "" for name in sequence(mapping(report.get("environment")).get("extensions"))}


def metric_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """A row for each metric that two runs have: its label, and each run's value with its interval."""
    runs = comparison.runs
    names = dict.fromkeys(name for run in runs for name in run.metrics)
    shared = [name for name in names if sum(name in run.metrics for run in runs) > 1]
    return [
        (
            metric_title(comparison, name),
            *(_valued(name, run.metrics.get(name), run.intervals.get(name)) for run in runs),
        )
        for name in in_order(shared)
    ]


def difference_table(comparison: Comparison, place: int) -> list[tuple[str, ...]]:
    """A row for each metric: label, difference with interval, p, adjusted p, and the result in words."""
    metrics = comparison.pairs[place].metrics
    return [
        (
            metric_title(comparison, name),
            difference_text(name, metrics[name].difference),
            p_text(metrics[name].difference.p),
            p_text(metrics[name].p),
            metric_verdict(comparison, place, name),
        )
        for name in in_order(metrics)
    ]


def class_table(comparison: Comparison, place: int) -> list[tuple[str, ...]]:
    """A row for the ROC AUC of each class: name, both values, difference with interval, p, adjusted p, result."""
    values = [_class_areas(run, comparison.split) for run in (comparison.first, comparison.runs[place])]
    return [
        (
            text(name),
            *(metric_text("auc", one.get(name)) for one in values),
            difference_text("auc", tested.difference),
            p_text(tested.difference.p),
            p_text(tested.p),
            class_verdict(comparison, place, name),
        )
        for name, tested in comparison.pairs[place].classes.items()
    ]


def class_head(comparison: Comparison, place: int) -> tuple[str, ...]:
    """The head of :func:`class_table`."""
    first, letter = comparison.first.letter, comparison.runs[place].letter
    return ("Class", f"AUC {first}", f"AUC {letter}", "Difference", "p", "Adjusted", "Result")


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
    """A row for each run: letter, name, trainer, model, seed, epochs."""
    return [
        (
            run.letter + (" (baseline)" if place == comparison.baseline else ""),
            run.name,
            run.listed.trainer,
            text(mapping(run.report.get("model")).get("name")) or run.listed.model,
            value_text(run.listed.settings.get("seed", "")),
            f"{run.listed.epochs}",
        )
        for place, run in enumerate(comparison.runs)
    ]


def _valued(name: str, value: Any, ends: Any) -> str:
    between = interval_text(name, ends)
    return metric_text(name, value) + (f" ({between})" if between else "")


def letters(runs: Sequence[ComparedRun]) -> list[str]:
    return [run.letter for run in runs]


def _plain_pair(comparison: Comparison, place: int) -> dict[str, Any]:
    pair = comparison.pairs[place]
    return {
        "run": comparison.runs[place].letter,
        "baseline": comparison.first.letter,
        "same_run": comparison.same_run(place),
        "equal": pair.equal,
        "verdict": pair_sentence(comparison, place),
        "metrics": {
            name: {
                **tested.difference._asdict(),
                "p_adjusted": tested.p,
                "significant": bool(tested.better),
                "verdict": metric_verdict(comparison, place, name),
            }
            for name, tested in pair.metrics.items()
        },
        "delong": None
        if pair.delong is None
        # JSON has no infinity: an AUC without an error has no z.
        else {"difference": pair.delong.difference, "z": number(pair.delong.z), "p": pair.delong.p},
        "mcnemar": {name: dict(calls._asdict()) for name, calls in pair.calls.items()},
        **({"classes": _plain_classes(comparison, place)} if pair.classes else {}),
    }


def _plain_classes(comparison: Comparison, place: int) -> dict[str, Any]:
    """The differences of the ROC AUC of each class."""
    return {
        name: {
            **tested.difference._asdict(),
            "p_adjusted": tested.p,
            "significant": bool(tested.better),
            "verdict": class_verdict(comparison, place, name),
        }
        for name, tested in comparison.pairs[place].classes.items()
    }
