"""Caveats: rules that check a report for reasons to trust its results less.

Each rule is a function of the contents of ``report.json`` alone. A rule that finds nothing returns an empty string.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pneumo_cli.evaluation.metric_names import metric_label
from pneumo_cli.reports.formatting import count, lowered
from pneumo_cli.runtime.json_values import mapping, number, sequence, text

_FEW = 100  # validation images
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
                f"{count(patients)} patients are in both splits, with {count(images)} of the {second} images "
                f"({share:.0%})"
            )
        if identical:
            leaks.append(f"{count(identical)} {second} images are identical to {first} images")
        if pixels:
            leaks.append(f"{count(pixels)} {second} images have the same pixels as another file in {first}")
        if near:
            leaks.append(f"{count(near)} {second} images are near-duplicates of {first} images")
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
        f"Training and validation were split by image, and the {count(images)} images are from {count(patients)} "
        "patients: the model is validated on patients that it was trained on. --split patient keeps all images of "
        "a patient in one split."
    )


def few_validation_images(report: Report) -> str:
    """Selection on few images depends on chance."""
    images = number(_row(report, "validation").get("images"))
    if images is None or images >= _FEW or _split(report).get("policy") == "all":
        return ""
    return (
        f"Only {count(images)} validation images: the checkpoint and the thresholds were selected on them, and "
        "depend largely on chance."
    )


def one_seed(report: Report) -> str:
    """One run does not show the variation between seeds."""
    settings = map(mapping, sequence(report.get("settings")))
    seed = next((row.get("value") for row in settings if row.get("name") == "seed"), None)
    if seed is None or not mapping(report.get("evaluations")):
        return ""
    return (
        f"One run with one seed ({text(seed)}): the confidence intervals do not include the variation between "
        "seeds. Repeat the run with several seeds (--seeds 3) before interpreting small differences."
    )


def chosen_by_accuracy(report: Report) -> str:
    """Accuracy on imbalanced data favours the larger class."""
    counts = _counts(report, "validation").values()
    if mapping(report.get("monitor")).get("metric") != "accuracy" or not counts:
        return ""
    if max(counts) <= _IMBALANCED * sum(counts):
        return ""
    return (
        f"The checkpoint was selected by accuracy, and {max(counts) / sum(counts):.0%} of the validation images "
        "are of one class: models that favour this class are preferred. --monitor auc does not depend on the class "
        "balance."
    )


def test_opened_again(report: Report) -> str:
    """Test images that influenced a choice no longer test it."""
    accesses = number(mapping(report.get("test_access")).get("count"))
    if accesses is None or accesses < 2:
        return ""
    return (
        f"{count(accesses)} test-set accesses with this data, this run included: if earlier test results "
        "influenced the recipe, the test results are too optimistic."
    )


def no_better_than_guessing(report: Report) -> str:
    """A confidence interval that includes chance, or the accuracy of a constant prediction."""
    sentences = []
    for split, intervals in mapping(report.get("intervals")).items():
        counts = _counts(report, split)
        larger = max(counts, key=lambda name: counts[name], default="")
        share = counts[larger] / max(1, sum(counts.values())) if larger else 0.0
        for metric, reference, source in (
            ("auc", 0.5, "chance"),
            ("accuracy", share, f"always predicting {text(larger)}"),
        ):
            low = number(next(iter(sequence(mapping(intervals).get(metric))), None))
            if low is not None and low <= reference:
                sentences.append(
                    f"{metric_label(metric).label} on the {split} images is not significantly better than {source} "
                    f"({reference:.3f}): its 95 % interval starts at {low:.3f}."
                )
    return " ".join(sentences)


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
        comparisons.append(f"{lowered(metric_label(text(metric)).label)} {relation} ({interval})")
    if not comparisons:
        return ""
    return f"Compared with {text(baseline.get('name'))} on the {split} images: {', '.join(comparisons)}."


RULES: Mapping[str, Callable[[Report], str]] = {
    "synthetic-data": synthetic_data,
    "leaking-split": shared_patients,
    "image-level-split": image_level_split,
    "no-better-than-guessing": no_better_than_guessing,
    "no-better-than-baseline": no_better_than_baseline,
    "test-opened-again": test_opened_again,
    "few-validation-images": few_validation_images,
    "chosen-by-accuracy": chosen_by_accuracy,
    "one-seed": one_seed,
}
"""All rules by name, in the order in which a report shows them."""


def _split(report: Report) -> Mapping[str, Any]:
    return mapping(mapping(report.get("dataset")).get("split"))


def _row(report: Report, split: str) -> Mapping[str, Any]:
    """A split's row: its images, patients and class counts."""
    rows = map(mapping, sequence(_split(report).get("rows")))
    return next((row for row in rows if row.get("split") == split), {})


def _counts(report: Report, split: str) -> dict[str, float]:
    return {name: number(n) or 0 for name, n in mapping(_row(report, split).get("counts")).items()}
