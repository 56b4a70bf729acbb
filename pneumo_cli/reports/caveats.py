"""What a reader has to keep in mind: rules that look at a report and say where its numbers promise too much.

Each rule is a function of what ``report.json`` holds, and of nothing else: a report tells of itself what is wrong
with it. A rule that has nothing to say returns the empty string.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pneumo_cli.evaluation.metric_names import metric_label
from pneumo_cli.reports.formatting import count, lowered
from pneumo_cli.runtime.json_values import mapping, number, sequence, text

_FEW = 100  # validation images
_IMBALANCED = 0.6  # share of the larger class from which on accuracy is easily had
_IMAGE_LEVEL = ("source", "last")

Report = Mapping[str, Any]


def fired(report: Report) -> list[dict[str, str]]:
    """The rules that have something to say of a report, as ``{"rule": name, "text": a sentence or two}``."""
    found = ((name, rule(report)) for name, rule in RULES.items())
    return [{"rule": name, "text": said} for name, said in found if said]


def synthetic_data(report: Report) -> str:
    """The images are drawn."""
    if not mapping(report.get("dataset")).get("synthetic"):
        return ""
    return (
        "Synthetic data: these images are drawn, no patient is behind them, and the numbers say nothing about "
        "patients."
    )


def shared_patients(report: Report) -> str:
    """A patient, or an image, is on two sides of the split."""
    sentences = []
    images = {row.get("split"): number(row.get("images")) or 0 for row in _rows(report)}
    for pair in map(mapping, sequence(_split(report).get("shared"))):
        first, _, second = text(pair.get("between")).partition("/")
        patients, shown, copies = (number(pair.get(key)) or 0 for key in ("patients", "images", "identical"))
        pixels, near = (number(pair.get(key)) or 0 for key in ("pixels", "near"))
        if not (patients or copies or pixels or near):
            continue
        said = []
        if patients:
            share = shown / max(1, images.get(second, 0))
            said.append(
                f"{count(patients)} patients are in {first} and {second}, {count(shown)} of the {second} images "
                f"({share:.0%}) show one of them"
            )
        if copies:
            said.append(f"{count(copies)} {second} images are identical copies")
        if pixels:
            said.append(f"{count(pixels)} {second} images have the very pixels of another file in {first}")
        if near:
            said.append(f"{count(near)} {second} images look like altered copies of images in {first}")
        sentences.append(f"Leak: {'; '.join(said)}. The {second} numbers are flattered by it.")
    return " ".join(sentences)


def image_level_split(report: Report) -> str:
    """Images were divided by chance although patients have several."""
    dataset = mapping(report.get("dataset"))
    images, patients = number(dataset.get("images")), number(dataset.get("patients"))
    if _split(report).get("policy") not in _IMAGE_LEVEL or not images or not patients or patients >= images:
        return ""
    return (
        f"Training and validation were divided image by image, and the {count(images)} images are of "
        f"{count(patients)} patients: the model is validated on patients whom it has seen. --split patient keeps "
        "each patient on one side."
    )


def few_validation_images(report: Report) -> str:
    """What is chosen on few images is chosen by chance."""
    rows = {row.get("split"): row for row in _rows(report)}
    images = number(mapping(rows.get("validation")).get("images"))
    if images is None or images >= _FEW or _split(report).get("policy") == "all":
        return ""
    return (
        f"Only {count(images)} images validate: the checkpoint and the thresholds that were chosen by them were "
        "chosen largely by chance."
    )


def one_seed(report: Report) -> str:
    """One run says nothing of the spread over seeds."""
    seed = next(
        (s.get("value") for s in map(mapping, sequence(report.get("settings"))) if s.get("name") == "seed"),
        None,
    )
    if seed is None or not mapping(report.get("evaluations")):
        return ""
    return (
        f"One run with one seed ({text(seed)}): another seed would give other numbers, and the intervals do not "
        "hold that spread. Run it with other seeds before you believe a small difference."
    )


def chosen_by_accuracy(report: Report) -> str:
    """Accuracy on imbalanced data favours the larger class."""
    if mapping(report.get("monitor")).get("metric") != "accuracy":
        return ""
    rows = {row.get("split"): row for row in _rows(report)}
    counts = [number(value) or 0 for value in mapping(mapping(rows.get("validation")).get("counts")).values()]
    if not counts or max(counts) <= _IMBALANCED * sum(counts):
        return ""
    return (
        f"The checkpoint was chosen by its accuracy, and {max(counts) / sum(counts):.0%} of the validation images "
        "are of one class: a model that favours that class wins. --monitor auc does not depend on that."
    )


def test_opened_again(report: Report) -> str:
    """What is chosen by looking at the test images is not tested by them."""
    accesses = number(mapping(report.get("test_access")).get("count"))
    if accesses is None or accesses < 2:
        return ""
    return (
        f"Test set opened {count(accesses)} times with this data, this run's look included: where a recipe was "
        "chosen by an earlier look, these test numbers are too good."
    )


def no_better_than_guessing(report: Report) -> str:
    """An interval that reaches down to what a coin, or one word, gets."""
    sentences = []
    rows = {row.get("split"): row for row in _rows(report)}
    for split, intervals in mapping(report.get("intervals")).items():
        counts = {
            name: number(value) or 0
            for name, value in mapping(mapping(rows.get(split)).get("counts")).items()
        }
        larger = max(counts, key=lambda name: counts[name], default="")
        share = counts[larger] / max(1, sum(counts.values())) if larger else 0.0
        for metric, chance, said in (
            ("auc", 0.5, "chance gets 0.5"),
            ("accuracy", share, f"always saying {text(larger)} gets {share:.3f}"),
        ):
            low = number(next(iter(sequence(mapping(intervals).get(metric))), None))
            if low is not None and low <= chance:
                name = metric_label(metric).label
                sentences.append(f"{name} on the {split} images may be as low as {low:.3f}: {said}.")
    return " ".join(sentences)


def no_better_than_baseline(report: Report) -> str:
    """A network that does not beat a straight line through grey levels."""
    details = mapping(report.get("details"))
    split = "test" if "test" in details else next(iter(details), "")
    baseline = mapping(mapping(details.get(split)).get("baseline"))
    said = []
    for metric, found in mapping(baseline.get("differences")).items():
        low, high = number(mapping(found).get("low")), number(mapping(found).get("high"))
        if low is None or high is None or low > 0:
            continue
        relation = "worse" if high < 0 else "not shown to be better"
        said.append(
            f"{lowered(metric_label(text(metric)).label)} {relation} (difference {low:+.3f} to {high:+.3f})"
        )
    if not said:
        return ""
    return f"Beside {text(baseline.get('name'))}, on the {split} images: {', '.join(said)}."


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


def _rows(report: Report) -> list[Mapping[str, Any]]:
    return [mapping(row) for row in sequence(_split(report).get("rows"))]
