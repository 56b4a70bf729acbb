"""Honesty rules: each has a report that fires it, and one, as good as can be, that fires none."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pneumo_cli.reports.caveats import RULES, fired


def sound_report() -> dict[str, Any]:
    """A report of which no rule has anything to say but that it is of one seed."""
    return {
        "dataset": {
            "name": "chest-xray",
            "synthetic": False,
            "images": 5216,
            "patients": 3654,
            "split": {
                "policy": "patient",
                "rows": [
                    {"split": "train", "images": 3444, "counts": {"NORMAL": 831, "PNEUMONIA": 2613}},
                    {"split": "validation", "images": 1148, "counts": {"NORMAL": 277, "PNEUMONIA": 871}},
                    {"split": "test", "images": 624, "counts": {"NORMAL": 234, "PNEUMONIA": 390}},
                ],
                "shared": [
                    {"between": "train/validation", "patients": 0, "images": 0, "identical": 0},
                    {"between": "train/test", "patients": 0, "images": 0, "identical": 0},
                ],
            },
        },
        "monitor": {"metric": "auc"},
        "settings": [{"name": "seed", "value": 42}],
        "evaluations": {"test": {"accuracy": 0.96, "auc": 0.99}},
        "intervals": {"test": {"accuracy": [0.94, 0.975], "auc": [0.98, 0.996]}},
        "details": {
            "test": {
                "baseline": {
                    "name": "a logistic regression on thumbnails",
                    "differences": {"auc": {"value": 0.03, "low": 0.02, "high": 0.04}},
                }
            }
        },
        "test_access": {"count": 1},
    }


def names(report: dict[str, Any]) -> list[str]:
    return [rule["rule"] for rule in fired(report)]


def test_a_sound_report_is_told_only_that_one_seed_is_one_seed() -> None:
    assert names(sound_report()) == ["one-seed"]


def _synthetic(report: dict[str, Any]) -> None:
    report["dataset"]["synthetic"] = True


def _leaking(report: dict[str, Any]) -> None:
    report["dataset"]["split"]["shared"][0] = {
        "between": "train/validation",
        "patients": 210,
        "images": 443,
        "identical": 3,
    }


def _near_copies(report: dict[str, Any]) -> None:
    report["dataset"]["split"]["shared"][1]["near"] = 5


def _image_level(report: dict[str, Any]) -> None:
    report["dataset"]["split"]["policy"] = "source"


def _guessing(report: dict[str, Any]) -> None:
    report["intervals"]["test"]["auc"] = [0.48, 0.61]


def _saying_one_word(report: dict[str, Any]) -> None:
    report["intervals"]["test"]["accuracy"] = [0.62, 0.70]


def _as_the_baseline(report: dict[str, Any]) -> None:
    report["details"]["test"]["baseline"]["differences"]["auc"] = {"value": 0.01, "low": -0.01, "high": 0.03}


def _opened_again(report: dict[str, Any]) -> None:
    report["test_access"]["count"] = 3


def _few(report: dict[str, Any]) -> None:
    report["dataset"]["split"]["rows"][1] = {
        "split": "validation",
        "images": 99,
        "counts": {"a": 50, "b": 49},
    }


def _by_accuracy(report: dict[str, Any]) -> None:
    report["monitor"]["metric"] = "accuracy"


@pytest.mark.parametrize(
    ("spoil", "rule", "words"),
    [
        (_synthetic, "synthetic-data", "no patient is behind them"),
        (_leaking, "leaking-split", "443 of the validation images (39%) show one of them"),
        (_near_copies, "leaking-split", "Leak: 5 test images look like altered copies of images in train."),
        (_image_level, "image-level-split", "5,216 images are of 3,654 patients"),
        (_guessing, "no-better-than-guessing", "chance gets 0.5"),
        (_saying_one_word, "no-better-than-guessing", "always saying PNEUMONIA gets 0.625"),
        (
            _as_the_baseline,
            "no-better-than-baseline",
            "Beside a logistic regression on thumbnails, on the test images: ROC AUC not shown to be better",
        ),
        (_opened_again, "test-opened-again", "Test set opened 3 times with this data"),
        (_few, "few-validation-images", "Only 99 images validate"),
        (_by_accuracy, "chosen-by-accuracy", "76% of the validation images are of one class"),
    ],
)
def test_each_rule_fires_on_what_it_is_for_and_says_so(spoil, rule: str, words: str) -> None:
    report = copy.deepcopy(sound_report())
    spoil(report)
    assert names(report) == [name for name in RULES if name in (rule, "one-seed")]
    (said,) = (one["text"] for one in fired(report) if one["rule"] == rule)
    assert words in said


def test_every_rule_is_fired_by_some_fixture_here() -> None:
    seen = set(names(sound_report()))
    for spoil in (
        *(_synthetic, _leaking, _image_level, _guessing, _as_the_baseline),
        *(_opened_again, _few, _by_accuracy),
    ):
        report = copy.deepcopy(sound_report())
        spoil(report)
        seen |= set(names(report))
    assert seen == set(RULES)


@pytest.mark.parametrize(
    "report",
    [
        {},
        {
            "dataset": None,
            "intervals": [],
            "details": "?",
            "test_access": {"count": None},
            "monitor": {"metric": "accuracy"},
        },
        {
            "dataset": {"split": {"policy": "source", "rows": [None, {}], "shared": [{}]}},
            "intervals": {"test": None},
        },
        {"intervals": {"test": {"auc": ["?", None], "accuracy": []}}, "details": {"test": {"baseline": {}}}},
    ],
)
def test_a_report_with_parts_missing_or_strange_breaks_no_rule(report: dict[str, Any]) -> None:
    assert fired(report) == []


def test_where_all_images_train_few_validation_images_are_no_fault() -> None:
    report = sound_report()
    report["dataset"]["split"]["policy"] = "all"
    report["dataset"]["split"]["rows"][1]["images"] = 0
    assert "few-validation-images" not in names(report)
