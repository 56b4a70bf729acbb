"""Caveats: rules that check a report for reasons to trust its results less.

Each rule is a function of the contents of ``report.json`` alone. A rule that finds nothing returns an empty string.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pneumo_cli.evaluation.metric_names import metric_label
from pneumo_cli.reports.formatting import count, listing, lowered
from pneumo_cli.reports.formatting import share as in_percent
from pneumo_cli.runtime.json_values import mapping, number, sequence, text

_FEW = 100  # validation images
_FEW_PATIENTS = 20  # of a class in the test set
_NAMED = 5  # classes, or kinds of files, in a sentence
_IMBALANCED = 0.6  # share of the larger class above which a high accuracy is easy
_IMAGE_LEVEL = ("source", "last")

Report = Mapping[str, Any]


def fired(report: Report) -> list[dict[str, str]]:
    """The rules that apply to a report, as ``{"rule": name, "text": one or two sentences}``."""
    texts = {name: rule(report) for name, rule in RULES.items()}
    return [{"rule": name, "text": sentences} for name, sentences in texts.items() if sentences]


def synthetic_data(report: Report) -> str:
    """The images are simulated."""
    if not mapping(report.get("dataset")).get("synthetic"):
        return ""
    return "Synthetic data: the images are simulated, and the results do not apply to images of patients."


def shared_patients(report: Report) -> str:
    """Patients or images occur in two splits."""
    sentences = []
    for pair in map(mapping, sequence(_split(report).get("shared"))):
        first, _, second = text(pair.get("between")).partition("/")
        patients, images, identical, pixels, near = (
            number(pair.get(key)) or 0 for key in ("patients", "images", "identical", "pixels", "near")
        )
        leaks = []
        if patients:
            share = images / max(1, number(_row(report, second).get("images")) or 0)
            leaks.append(
                f"{_several(patients, 'patient')} in both splits, with {count(images)} of the {second} images "
                f"({in_percent(share)})"
            )
        if identical:
            leaks.append(f"{_several(identical, f'{second} image')} identical to {first} images")
        if pixels:
            leaks.append(
                f"{_several(pixels, f'{second} image')} the same in pixels as another file in {first}"
            )
        if near:
            leaks.append(f"{_several(near, f'{second} image')} near-duplicates of {first} images")
        if leaks:
            sentences.append(f"Data leakage from {first} to {second}: {'; '.join(leaks)}.")
            sentences.append(f"The {second} results are too optimistic.")
    return " ".join(sentences)


def image_level_split(report: Report) -> str:
    """Images were split at random although patients have several."""
    dataset = mapping(report.get("dataset"))
    images, patients = number(dataset.get("images")), number(dataset.get("patients"))
    if _split(report).get("policy") not in _IMAGE_LEVEL or not images or not patients or patients >= images:
        return ""
    return (
        f"Split by image, and the {count(images)} images are from {count(patients)} patients: training patients "
        "are in validation. --split patient keeps them apart."
    )


def few_validation_images(report: Report) -> str:
    """Selection on few images depends on chance."""
    images = number(_row(report, "validation").get("images"))
    if images is None or images >= _FEW or _split(report).get("policy") == "all":
        return ""
    selected = "the checkpoint and the thresholds were selected on them, and depend"
    if "operating_point" not in _settings(report):
        selected = "the checkpoint was selected on them, and depends"
    return f"Only {count(images)} validation images: {selected} largely on chance."


def few_test_patients(report: Report) -> str:
    """Classes of few patients: what is measured on them is uncertain, and weighs as much in a macro average."""
    patients = {
        name: number(n) or 0 for name, n in mapping(_split(report).get("test_patients")).items() if number(n)
    }
    few = sorted((name for name, n in patients.items() if n < _FEW_PATIENTS), key=lambda name: patients[name])
    if not few or "accuracy" not in mapping(mapping(report.get("evaluations")).get("test")):
        return ""
    named = listing(f"{text(name)} ({count(patients[name])})" for name in few[:_NAMED])
    kind = "labels" if _task(report) == "multilabel" else "classes"
    which = f"{named}" if len(few) <= _NAMED else f"{len(few)} of {len(patients)} {kind}, such as {named}"
    return (
        f"Few test patients of {which}: the results for them are very uncertain, and weigh as much as any others "
        "in a macro average."
    )


def unknown_patients(report: Report) -> str:
    """Each image counts as a patient: images of one person may be in several splits."""
    dataset = mapping(report.get("dataset"))
    images = number(dataset.get("images"))
    # As Dataset.notes says it.
    known = not any(
        "each image counts as a patient" in text(note).lower() for note in sequence(dataset.get("notes"))
    )
    if known or not images or images != number(dataset.get("patients")):
        return ""
    return (
        "Patients are not known, each image counts as one: the same patient may be in training and test, the "
        "results too optimistic, and the intervals too narrow."
    )


def unused_images(report: Report) -> str:
    """Images below the data root that the dataset leaves out."""
    kinds = [mapping(kind) for kind in sequence(mapping(report.get("dataset")).get("unused"))]
    kinds = sorted(
        (kind for kind in kinds if kind.get("images")), key=lambda kind: -(number(kind.get("count")) or 0)
    )
    if not kinds:
        return ""
    if len(kinds) == 1:
        one = number(kinds[0].get("count")) == 1
        files = f"{count(kinds[0].get('count'))} image {'file' if one else 'files'}"
        return f"Not used: {files} {text(kinds[0].get('kind'))}."
    named = [f"{count(kind.get('count'))} {text(kind.get('kind'))}" for kind in kinds[:_NAMED]]
    if len(kinds) > _NAMED:
        named.append(f"{len(kinds) - _NAMED} more kinds of them")
    total = sum(number(kind.get("count")) or 0 for kind in kinds)
    return f"Not used: {count(total)} image files, {listing(named)}."


def one_seed(report: Report) -> str:
    """One run does not show the variation between seeds."""
    seed = _settings(report).get("seed")
    if seed is None or not mapping(report.get("evaluations")):
        return ""
    return (
        f"One seed ({text(seed)}): the intervals do not include the variation between seeds. Before interpreting "
        "small differences, run with --seeds 3."
    )


def chosen_by_accuracy(report: Report) -> str:
    """Accuracy on imbalanced data favors the larger class."""
    counts = _counts(report, "validation").values()
    if mapping(report.get("monitor")).get("metric") != "accuracy" or not counts:
        return ""

    instead = " --monitor auc does not." if "monitor" in _settings(report) else ""
    if _task(report) == "multilabel":
        images = number(_row(report, "validation").get("images")) or 0
        if sum(counts) > (1 - _IMBALANCED) * images * len(counts):
            return ""
        return (
            "Selected by accuracy, and most labels are absent from most validation images: that favors models that "
            f"detect few of them.{instead}"
        )
    if max(counts) <= _IMBALANCED * sum(counts):
        return ""
    larger = in_percent(max(counts) / sum(counts))
    return (
        f"Selected by accuracy, and {larger} of the validation images are of one class: that favors models that "
        f"prefer this class.{instead}"
    )


def test_opened_again(report: Report) -> str:
    """Test images that influenced a choice no longer test it."""
    earlier = (number(mapping(report.get("test_access")).get("count")) or 1) - 1
    if earlier < 1 or mapping(report.get("dataset")).get("synthetic"):
        return ""
    several = f"{count(earlier)} earlier evaluations" if earlier > 1 else "One earlier evaluation"
    return (
        f"{several} of the same task on these test images: if that influenced the recipe, the test results are "
        "too optimistic."
    )


def no_better_than_guessing(report: Report) -> str:
    """A confidence interval that includes chance, or the accuracy of a constant prediction."""
    sentences = []
    for split, intervals in mapping(report.get("intervals")).items():
        counts = _counts(report, split)
        larger = max(counts, key=lambda name: counts[name], default="")
        share = counts[larger] / max(1, sum(counts.values())) if larger else 0.0
        references = [("auc", 0.5, "chance"), ("accuracy", share, f"always predicting {text(larger)}")]
        if not larger or _task(report) == "multilabel":  # no constant prediction is the same for all labels
            references.pop()
        for metric, reference, source in references:
            low = number(next(iter(sequence(mapping(intervals).get(metric))), None))
            if low is not None and low <= reference:
                label = metric_label(metric, _task(report)).label
                sentences.append(
                    f"{label} on the {split} images is not significantly better than {source} ({reference:.3f}): "
                    f"its 95 % interval starts at {low:.3f}."
                )
    sentences += _guessed_classes(report)
    return " ".join(sentences)


def _guessed_classes(report: Report) -> list[str]:
    """The classes among several whose AUC may be that of chance, on the test set."""
    details = mapping(mapping(report.get("details")).get("test"))
    classes = [mapping(of) for of in sequence(details.get("classes"))]
    lows = {
        text(of.get("name")): number(next(iter(sequence(mapping(of.get("intervals")).get("auc"))), None))
        for of in classes
    }
    guessed = [name for name, low in lows.items() if low is not None and low <= 0.5]
    if not guessed:
        return []
    named = listing(guessed[:_NAMED] + ([f"{len(guessed) - _NAMED} more"] if len(guessed) > _NAMED else []))
    return [f"For {named}, the ROC AUC on the test images is not significantly better than chance (0.500)."]


def no_better_than_baseline(report: Report) -> str:
    """A network that is not better than a linear baseline."""
    details = mapping(report.get("details"))
    split = "test" if "test" in details else next(iter(details), "")
    baseline = mapping(mapping(details.get(split)).get("baseline"))
    comparisons = []
    for metric, difference in mapping(baseline.get("differences")).items():
        low, high = (number(mapping(difference).get(end)) for end in ("low", "high"))
        if low is None or high is None or low > 0:
            continue
        relation = "significantly worse" if high < 0 else "not significantly better"
        interval = f"95 % interval of the difference {low:+.3f} to {high:+.3f}"
        comparisons.append(
            f"{lowered(metric_label(text(metric), _task(report)).label)} {relation} ({interval})"
        )
    if not comparisons:
        return ""
    name = text(baseline.get("name"))
    name += "," if "," in name else ""
    return f"Compared with {name} on the {split} images: {', '.join(comparisons)}."


def stored_apart(report: Report) -> str:
    """Classes differ in how their files are stored."""
    sentences = [text(one) for one in sequence(mapping(report.get("dataset")).get("storage"))]
    if not sentences:
        return ""
    return f"A shortcut: {'; '.join(sentences)}. The results may measure that and not the disease."


def plugin_files(report: Report) -> str:
    """Code took part that is not installed, so no distribution and version say what it was."""
    files = [
        f"{text(file.get('path'))} (SHA-256 {text(file.get('sha256'))})"
        for file in map(mapping, sequence(report.get("plugin_files")))
    ]
    if not files:
        return ""
    return f"Code that is not installed took part, from {listing(files)}: whoever repeats the run needs that file."


RULES: Mapping[str, Callable[[Report], str]] = {
    "synthetic-data": synthetic_data,
    "leaking-split": shared_patients,
    "image-level-split": image_level_split,
    "no-better-than-guessing": no_better_than_guessing,
    "no-better-than-baseline": no_better_than_baseline,
    "test-opened-again": test_opened_again,
    "few-validation-images": few_validation_images,
    "few-test-patients": few_test_patients,
    "unknown-patients": unknown_patients,
    "stored-apart": stored_apart,
    "unused-images": unused_images,
    "chosen-by-accuracy": chosen_by_accuracy,
    "one-seed": one_seed,
    "plugin-files": plugin_files,
}
"""All rules by name, in the order in which a report shows them."""


def _several(n: float, noun: str) -> str:
    return f"1 {noun} is" if n == 1 else f"{count(n)} {noun}s are"


def _task(report: Report) -> str:
    return text(mapping(report.get("dataset")).get("task")) or "binary"


def _split(report: Report) -> Mapping[str, Any]:
    return mapping(mapping(report.get("dataset")).get("split"))


def _row(report: Report, split: str) -> Mapping[str, Any]:
    """A split's row: its images, patients and class counts."""
    rows = map(mapping, sequence(_split(report).get("rows")))
    return next((row for row in rows if row.get("split") == split), {})


def _counts(report: Report, split: str) -> dict[str, float]:
    return {name: number(n) or 0 for name, n in mapping(_row(report, split).get("counts")).items()}


def _settings(report: Report) -> dict[str, Any]:
    """The trainer's settings by name: advice names only those that it has."""
    rows = map(mapping, sequence(report.get("settings")))
    return {text(row.get("name")): row.get("value") for row in rows}
