"""Caveats: each rule has a report to which it applies; none but that of one seed applies to a sound report."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pneumo_cli.reports.caveats import RULES, fired


def sound_report() -> dict[str, Any]:
    """A report to which only the rule on one seed applies."""
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
        "settings": [
            {"name": "seed", "value": 42},
            {"name": "monitor", "value": "auc"},
            {"name": "operating_point", "value": "default"},
        ],
        "evaluations": {"test": {"accuracy": 0.96, "auc": 0.99}},
        "intervals": {"test": {"accuracy": [0.94, 0.975], "auc": [0.98, 0.996]}},
        "details": {
            "test": {
                "baseline": {
                    "name": "a logistic regression on 32-px images",
                    "differences": {"auc": {"value": 0.03, "low": 0.02, "high": 0.04}},
                }
            }
        },
        "test_access": {"count": 1},
    }


def names(report: dict[str, Any]) -> list[str]:
    return [rule["rule"] for rule in fired(report)]


def test_a_sound_report_has_only_the_caveat_of_one_seed() -> None:
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


def _near_duplicates(report: dict[str, Any]) -> None:
    report["dataset"]["split"]["shared"][1]["near"] = 5


def _image_level(report: dict[str, Any]) -> None:
    report["dataset"]["split"]["policy"] = "source"


def _guessing(report: dict[str, Any]) -> None:
    report["intervals"]["test"]["auc"] = [0.48, 0.61]


def _constant_prediction(report: dict[str, Any]) -> None:
    report["intervals"]["test"]["accuracy"] = [0.62, 0.70]


def _as_the_baseline(report: dict[str, Any]) -> None:
    report["details"]["test"]["baseline"]["differences"]["auc"] = {"value": 0.01, "low": -0.01, "high": 0.03}


def _opened_again(report: dict[str, Any]) -> None:
    report["test_access"]["count"] = 3


def test_earlier_evaluations_on_synthetic_images_are_no_caveat() -> None:
    report = sound_report()
    _synthetic(report)
    _opened_again(report)
    assert "test-opened-again" not in names(report)


def _few(report: dict[str, Any]) -> None:
    report["dataset"]["split"]["rows"][1] = {
        "split": "validation",
        "images": 99,
        "counts": {"a": 50, "b": 49},
    }


def _by_accuracy(report: dict[str, Any]) -> None:
    report["monitor"]["metric"] = "accuracy"


def _few_patients(report: dict[str, Any]) -> None:
    report["dataset"]["split"]["test_patients"] = {"normal": 90, "hernia": 3, "edema": 12, "never": 0}


def _unknown_patients(report: dict[str, Any]) -> None:
    report["dataset"] |= {
        "patients": 5216,
        "notes": ["The patients are not known: each image counts as a patient."],
    }


def _from_a_file(report: dict[str, Any]) -> None:
    report["plugin_files"] = [{"path": "probe.py", "sha256": "ab12"}]


def _unused(report: dict[str, Any]) -> None:
    report["dataset"]["unused"] = [
        {
            "kind": "in the folder train/COVID19",
            "count": 6,
            "examples": ["train/COVID19/1.png"],
            "images": True,
        },
        {"kind": "that are archives", "count": 1200, "examples": ["more.zip"], "images": True},
        {"kind": "of the type .txt", "count": 2, "examples": ["README.txt"], "images": False},
    ]


def _stored_apart(report: dict[str, Any]) -> None:
    report["dataset"]["storage"] = ["images of PNEUMONIA can be told from the others by how they are stored"]


def _guessed_label(report: dict[str, Any]) -> None:
    report["dataset"]["task"] = "multilabel"
    report["details"]["test"]["classes"] = [
        {"name": "edema", "intervals": {"auc": [0.7, 0.8]}},
        {"name": "hernia", "intervals": {"auc": [0.41, 0.9]}},
    ]


def _rare_labels_by_accuracy(report: dict[str, Any]) -> None:
    report["dataset"]["task"] = "multilabel"
    report["monitor"]["metric"] = "accuracy"


@pytest.mark.parametrize(
    ("spoil", "rule", "words"),
    [
        (_synthetic, "synthetic-data", "do not apply to images of patients"),
        (
            _leaking,
            "leaking-split",
            "210 patients are in both splits, with 443 of the validation images (39 %); 3 validation images are "
            "identical to train images. The validation results are too optimistic.",
        ),
        (
            _near_duplicates,
            "leaking-split",
            "Data leakage from train to test: 5 test images are near-duplicates of train images.",
        ),
        (_image_level, "image-level-split", "5,216 images are from 3,654 patients"),
        (_guessing, "no-better-than-guessing", "not significantly better than chance (0.500)"),
        (
            _constant_prediction,
            "no-better-than-guessing",
            "not significantly better than always predicting PNEUMONIA (0.625): its 95 % interval starts at 0.620",
        ),
        (
            _as_the_baseline,
            "no-better-than-baseline",
            "a logistic regression on 32-px images on the test images: ROC AUC not significantly better (95 %",
        ),
        (_opened_again, "test-opened-again", "2 earlier evaluations of the same task on these test images"),
        (_few, "few-validation-images", "Only 99 validation images"),
        (_by_accuracy, "chosen-by-accuracy", "76 % of the validation images are of one class"),
        (_few_patients, "few-test-patients", "Few test patients of hernia (3) and edema (12): "),
        (
            _from_a_file,
            "plugin-files",
            "from probe.py (SHA-256 ab12): whoever repeats the run needs that file",
        ),
        (_stored_apart, "stored-apart", "The results may measure that and not the disease."),
        (_unknown_patients, "unknown-patients", "the same patient may be in training and test"),
        (
            _unused,
            "unused-images",
            "Not used: 1,206 image files, 1,200 that are archives and 6 in the folder train/COVID19.",
        ),
        (
            _guessed_label,
            "no-better-than-guessing",
            "For hernia, the ROC AUC on the test images is not significantly better than chance (0.500).",
        ),
    ],
)
def test_each_rule_applies_to_its_report(spoil, rule: str, words: str) -> None:
    report = copy.deepcopy(sound_report())
    spoil(report)
    assert names(report) == [name for name in RULES if name in (rule, "one-seed")]
    (sentences,) = (one["text"] for one in fired(report) if one["rule"] == rule)
    assert words in sentences


def test_labels_are_compared_neither_with_their_most_frequent_one_nor_with_its_share() -> None:
    report = sound_report()
    _rare_labels_by_accuracy(report)
    report["intervals"]["test"] = {"accuracy": [0.3, 0.5], "auc": [0.8, 0.9]}
    assert names(report) == ["one-seed"]  # their counts are no shares of the images
    report["dataset"]["split"]["rows"][1] = {
        "split": "validation",
        "images": 1148,
        "counts": {"a": 90, "b": 9},
    }
    (text,) = (one["text"] for one in fired(report) if one["rule"] == "chosen-by-accuracy")
    assert "most labels are absent" in text


def test_few_patients_of_a_class_do_not_matter_to_generated_images() -> None:
    report = copy.deepcopy(sound_report())
    _few_patients(report)
    report["evaluations"]["test"] = {"generator_loss": 0.7}
    assert "few-test-patients" not in names(report)


def test_patients_that_are_known_need_no_caveat() -> None:
    report = sound_report()
    _unknown_patients(report)
    report["dataset"]["patients"] = 3654  # of some images only
    assert names(report) == ["one-seed"]


def test_every_rule_is_tested() -> None:
    seen = set(names(sound_report()))
    for spoil in (
        *(_synthetic, _leaking, _image_level, _guessing, _as_the_baseline),
        *(_opened_again, _few, _by_accuracy, _few_patients, _unknown_patients, _unused, _stored_apart),
        _from_a_file,
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
def test_no_rule_fails_on_missing_or_invalid_parts(report: dict[str, Any]) -> None:
    assert fired(report) == []


def test_few_validation_images_are_no_caveat_where_all_images_are_for_training() -> None:
    report = sound_report()
    report["dataset"]["split"]["policy"] = "all"
    report["dataset"]["split"]["rows"][1]["images"] = 0
    assert "few-validation-images" not in names(report)


def test_advice_names_no_setting_that_the_trainer_lacks() -> None:
    report = sound_report()
    _by_accuracy(report)
    report["dataset"]["split"]["rows"][1]["images"] = 99
    assert "--monitor auc" in str(fired(report))
    assert "the thresholds" in str(fired(report))
    report["settings"] = [{"name": "seed", "value": 42}]
    assert "--monitor" not in str(fired(report))
    assert "thresholds" not in str(fired(report))
    assert {"chosen-by-accuracy", "few-validation-images"} <= set(names(report))
