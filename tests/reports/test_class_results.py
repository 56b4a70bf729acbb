"""The report of K classes or labels: its main result, headline metrics, remarks, errors and data."""

from __future__ import annotations

from typing import Any

import pytest

from pneumo_cli.reports.content import document
from pneumo_cli.reports.document import Block, Document, Folded, Paragraph, Table


def classified(task: str, **recalls: float) -> dict[str, Any]:
    """The report of a classifier of some classes, as far as it is read here."""
    classes = [
        {
            "name": name,
            "images": 200,
            "positives": 40,
            "metrics": {"recall": recall, "auc": recall - 0.1},
            "intervals": {},
            "validation_prevalence": 0.2,
        }
        for name, recall in recalls.items()
    ]
    return {
        "dataset": {"name": "films", "task": task, "classes": list(recalls), "split": {"rows": []}},
        "evaluations": {
            "test": {"accuracy": 0.93, "exact_match": 0.5, "auc": 0.812, "recall": 0.9, "specificity": 0.8}
            | {"precision": 0.7, "mcc": 0.6, "ece": 0.1, "loss": 0.3}
        },
        "intervals": {"test": {"accuracy": [0.91, 0.95], "auc": [0.79, 0.834]}},
        "details": {
            "test": {
                "task": task,
                "classes": classes,
                "calibration": {"temperature": [1.5, 1.5, 1.5], "bias": [0.1, 0.0, -0.1], "fitted": True},
            }
        },
    }


def three() -> dict[str, Any]:
    return classified("multiclass", normal=0.96, bacteria=0.9, virus=0.85)


def blocks(page: Document, anchor: str) -> tuple[Block, ...]:
    return next((part.blocks for part in page.sections if part.anchor == anchor), ())


def paragraphs(found: tuple[Block, ...]) -> str:
    return " ".join(block.text for block in found if isinstance(block, Paragraph))


def test_the_main_result_of_classes_is_the_share_of_right_ones_and_each_sensitivity() -> None:
    assert document(three()).verdict == (
        "On the test set, the model assigns the right class to about 93 of 100 images (91 to 95); it detects about "
        "96 of 100 normal, about 90 of 100 bacteria and about 85 of 100 virus images."
    )


def test_of_many_classes_the_main_result_names_the_best_and_the_worst() -> None:
    report = classified("multiclass", **{f"c{place}": 0.9 - place / 10 for place in range(8)})
    assert document(report).verdict.endswith(
        "it detects c0 (about 90 of 100) best and c7 (about 20 of 100) worst."
    )


def test_the_main_result_of_labels_is_the_mean_auc_with_its_extremes() -> None:
    report = classified("multilabel", edema=0.8, hernia=0.7, mass=0.95)
    assert document(report).verdict == (
        "On the test set, the model has a mean ROC AUC over 3 labels of 0.812 (0.790 to 0.834): highest for mass "
        "(0.850), lowest for hernia (0.600)."
    )
    assert document({**report, "kind": "group"}).verdict.startswith("On the test set, the ensemble has")


def test_averages_over_classes_say_so() -> None:
    page = document(three())
    assert [headline.label for headline in page.headlines] == [
        "Accuracy",
        "Exact match",
        "ROC AUC (macro)",
        "Sensitivity (macro)",
    ]
    table = next(block for block in blocks(page, "details") if isinstance(block, Table))
    rows = {row[0]: row for row in table.rows}
    assert {"MCC", "Calibration error (ECE, macro)", "Specificity (macro)"} <= rows.keys()
    assert "mean over the classes" in rows["ROC AUC (macro)"][-1]
    assert "whose class is right" in rows["Accuracy"][-1]


def test_labels_do_not_lead_with_an_accuracy_that_is_easy() -> None:
    labels = [headline.label for headline in document(classified("multilabel", a=0.9)).headlines]
    assert labels[0] == "ROC AUC (macro)"
    assert not any("ccuracy" in label or "match" in label for label in labels)


def test_calibration_is_explained_with_the_classes_whose_frequency_differs() -> None:
    report = three()
    text = paragraphs(blocks(document(report), "details"))
    assert "(temperature 1.50, and a bias for each class): they are less extreme" in text
    assert "nearly the same frequencies were found in the test images" in text
    report["details"]["test"]["classes"][2]["validation_prevalence"] = 0.4
    text = paragraphs(blocks(document(report), "details"))
    assert "that of the test images differs: virus 40 % there, 20 % here." in text
    report["details"]["test"]["calibration"]["fitted"] = False
    assert "calibrated" not in paragraphs(blocks(document(report), "details"))


def errors(count: int, *classes: str) -> dict[str, Any]:
    rows = [
        {
            "class": name,
            "name": f"{name}{number}.png",
            "patient": f"p{number}",
            "subtype": name,  # as where the subtypes are the classes
            "truth": name,
            "predicted": "normal",
            "probability": 0.9 - number / 100,
            "true_probability": 0.05,
        }
        for number in range(count)
        for name in classes
    ]
    return {
        "count": len(rows) + 5,
        "of": 624,
        "classes": dict.fromkeys(classes, count) | {"z": 5},
        "rows": rows,
    }


def test_errors_are_listed_class_by_class_with_both_probabilities() -> None:
    report = three()
    report["details"]["test"]["errors"] = errors(12, "bacteria", "virus")
    sentence, folded = blocks(document(report), "errors")
    assert isinstance(sentence, Paragraph)
    assert sentence.text == (
        "29 of the 624 test images (4.6 %) are misclassified: 12 bacteria, 12 virus and 5 z."
    )
    assert isinstance(folded, Folded)
    shown, rest = folded.blocks
    assert isinstance(shown, Table)
    assert shown.head == ("Image", "Truth", "Predicted", "P(predicted)", "P(truth)")
    assert [row[1] for row in shown.rows] == ["bacteria"] * 6 + ["virus"] * 6
    assert shown.rows[0][-2:] == ("0.900", "0.050")
    assert "predictions/test.csv holds all predictions" in shown.note
    assert isinstance(rest, Folded)
    assert rest.title == "12 more errors"
    assert "before calibration" not in shown.note
    report["details"]["test"]["errors"]["rows"][0]["true_probability"] = 0.95
    _, folded = blocks(document(report), "errors")
    assert isinstance(folded, Folded)
    shown = folded.blocks[0]
    assert isinstance(shown, Table)
    assert (
        "The class is predicted before calibration, so it need not have the highest probability" in shown.note
    )


def test_of_many_classes_the_first_table_is_open_and_the_other_long_ones_are_folded() -> None:
    report = classified("multilabel", **{f"c{place}": 0.9 for place in range(14)})
    rows = [[f"c{place}", "0.9"] for place in range(14)]
    tables = [
        {"title": title, "head": ["Label", "AUC"], "rows": rows} for title in ("Each label", "At a point")
    ]
    report["tables"] = {
        "test": [*tables, {"title": "Averages", "head": ["Metric", "Macro"], "rows": rows[:2]}]
    }
    _, _, first, point, averages = blocks(document(report), "details")
    assert isinstance(first, Table)
    assert isinstance(averages, Table)
    assert isinstance(point, Folded)
    assert point.title == "At a point"
    assert [block.title for block in point.blocks if isinstance(block, Table)] == [""]


def test_a_calibration_error_outside_its_interval_is_explained() -> None:
    report = three()
    assert "overestimates" not in blocks(document(report), "details")[0].note
    report["intervals"]["test"]["ece"] = [0.0, 0.08]
    assert "overestimates the true one" in blocks(document(report), "details")[0].note


def test_a_report_without_errors_or_with_labels_reads_right() -> None:
    report = classified("multilabel", edema=0.9)
    report["details"]["test"]["errors"] = {"count": 0, "of": 20, "rows": []}
    assert "None of the 20 test images is misclassified." in paragraphs(blocks(document(report), "errors"))
    wrong = errors(2, "edema")
    for row in wrong["rows"]:
        del row["true_probability"]
    report["details"]["test"]["errors"] = wrong
    sentence, folded = blocks(document(report), "errors")
    assert isinstance(sentence, Paragraph)
    assert sentence.text == (
        "At least one label is wrong for 7 of the 624 test images (1.1 %). Wrong decisions by label: 2 edema and "
        "5 z."
    )
    assert isinstance(folded, Folded)
    (shown,) = folded.blocks
    assert isinstance(shown, Table)
    assert shown.head[-1] == "P(label)"


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize(
    "details",
    [
        None,
        {"classes": "?", "calibration": [], "errors": {"count": "x"}},
        {"classes": [None, {"name": 3, "metrics": {"auc": "?"}}], "errors": {"count": 3, "rows": [None]}},
        {
            "calibration": {"fitted": True, "temperature": ["?", 2.0]},
            "errors": {"count": 3, "classes": {"a": None}},
        },
    ],
)
def test_a_damaged_report_is_still_shown(task: str, details: Any) -> None:
    report = three()
    report["dataset"]["task"] = task
    report["details"] = {"test": details}
    assert document(report).title


def test_the_setup_tells_how_records_were_made_and_what_was_left_out() -> None:
    report = classified("multilabel", **{f"finding {place}": 0.9 for place in range(6)})
    counts = dict.fromkeys(report["dataset"]["classes"], 10)
    report["dataset"] |= {
        "notes": ["Patients are from the table ids.csv: 40."],
        "gray_scaling": "12 bits, by the largest value",
        "labels": [{"name": "finding 0", "present": 10, "absent": 60, "unknown": 30}],
        "unused": [{"kind": "in the folder train/<b>", "count": 1206, "examples": ["a.png", "b.png"]}],
        "split": {
            "policy": "given",
            "fraction": 0.25,
            "rows": [
                {"split": split, "counts": counts, "images": 100, "patients": 50}
                for split in ("train", "test")
            ],
        },
    }
    found = blocks(document(report), "data")
    text = paragraphs(found)
    assert "The validation set is the dataset's own." in text
    assert "25 %" not in text
    assert "Patients are from the table ids.csv: 40. Gray levels: 12 bits, by the largest value." in text
    tables = {block.title or block.head[0]: block for block in found if isinstance(block, Table)}
    assert tables["Split"].head == ("Split", "Train", "Test")
    assert ("finding 5", "10", "10") in tables["Split"].rows
    assert ("Patients", "50", "50") in tables["Split"].rows
    assert tables["Labels of all images"].rows == (("finding 0", "10", "60", "30"),)
    assert tables["Files that are not used"].rows == (("1,206", "in the folder train/<b>", "a.png, b.png"),)
