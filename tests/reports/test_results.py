"""The results of a classifier in its report: metrics with intervals, operating points, misclassified images."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.reports.content import document
from pneumo_cli.reports.document import Block, Folded, Paragraph, Pictures, Table
from pneumo_cli.reports.figures import classification
from pneumo_cli.reports.figures.style import save
from pneumo_cli.reports.html import render_html
from pneumo_cli.reports.markdown import render_markdown

TEST = {
    "loss": 0.111,
    "accuracy": 0.9599,
    "auc": 0.98795,
    "recall": 0.9744,
    "specificity": 0.8846,
    "precision": 0.9337,
    "mcc": 0.8714,
    "ece": 0.031,
    "ece_calibrated": 0.019,
}
VALIDATION = {**TEST, "accuracy": 0.9702, "recall": 0.9611}
INTERVALS = {
    "accuracy": [0.9442, 0.9731],
    "auc": [0.9791, 0.9934],
    "recall": [0.9433, 0.9886],
    "specificity": [0.8372, 0.9198],
    "mcc": [-0.0123, 0.9021],
}


def wrong(count: int) -> list[dict[str, Any]]:
    return [
        {
            "name": f"test/NORMAL/IM-{number:04}.jpeg",
            "patient": f"n{number:04}",
            "subtype": "" if number % 2 else "virus",
            "truth": "NORMAL",
            "predicted": "PNEUMONIA",
            "probability": 0.999 - number / 1000,
        }
        for number in range(count)
    ]


def table(title: str) -> dict[str, Any]:
    return {
        "title": title,
        "head": ["Point", "Sensitivity", "Specificity", "In words"],
        "rows": [
            ["default", "0.974 (0.943–0.989)", "0.885 (0.837–0.920)", "not chosen by data"],
            ["screening", "0.990 (0.971–0.997)", "0.816", "the highest threshold with a sensitivity of 95 %"],
        ],
        "note": "Chosen on validation.",
    }


def classified() -> dict[str, Any]:
    """The report of a classifier on radiographs, as a run writes it."""
    return {
        "title": "fine-tuning on chest-xray",
        "trainer": {"name": "fine-tuning"},
        "model": {"name": "efficientnet-lite0", "trainable": 3373409},
        "dataset": {
            "name": "chest-xray",
            "classes": ["NORMAL", "PNEUMONIA"],
            "split": {"policy": "patient", "rows": [{"split": "test", "images": 624}]},
        },
        "evaluations": {"validation": VALIDATION, "test": TEST},
        "intervals": {"validation": {}, "test": INTERVALS},
        "tables": {"validation": [table("Points on validation")], "test": [table("Points on test")]},
        "details": {
            "validation": {"errors": {"count": 0, "of": 1308, "rows": []}},
            "test": {
                "temperature": 1.37,
                "bias": 1.0986,
                "validation_prevalence": 0.76,
                "split_prevalence": 0.625,
                "delong": {"auc": 0.98795, "low": 0.9807, "high": 0.9925},
                "errors": {"count": 25, "of": 624, "rows": wrong(25)},
            },
        },
        "figures": [
            {"file": "roc-validation.png", "caption": "V", "group": "results", "split": "validation"},
            {"file": "roc-test.png", "caption": "T", "group": "results", "split": "test"},
            {"file": "points-test.png", "caption": "P", "group": "results", "split": "test"},
            {"file": "matrix-test.png", "caption": "M", "group": "results", "split": "test"},
            {"file": "cases.png", "caption": "The most confident cases", "group": "explanations"},
        ],
        "explanations": {
            "metrics": {"border": 0.2},
            "tables": [{"title": "Sanity checks", "head": ["Check", "Result"], "rows": [["a", "b"]]}],
            "notes": ["Read these maps with care."],
        },
        "notices": ["2 unreadable images were left out."],
        "caveats": [
            {"rule": "test-opened-again", "text": "3 test-set accesses with this data."},
            {"rule": "one-seed", "text": "One run with one seed (42)."},
        ],
    }


def section(report: dict[str, Any], anchor: str) -> tuple[Block, ...]:
    return next((part.blocks for part in document(report).sections if part.anchor == anchor), ())


def tables(blocks: tuple[Block, ...]) -> list[Table]:
    return [block for block in blocks if isinstance(block, Table)]


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    figure = classification.roc_curve([0.0, 1.0], [0, 1])
    for name in ("roc-validation", "roc-test", "points-test", "matrix-test", "cases", "errors"):
        save(figure, run / f"{name}.png")
    return run


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_the_report_is_in_order_main_result_errors_figures_curves_and_then_all_else(
    render, folder: Path
) -> None:
    report = classified()
    report["figures"].append({"file": "errors.png", "caption": "The errors as pictures", "group": "errors"})
    report["history"] = [{"epoch": 0, "learning_rate": 0.1}, {"epoch": 1, "learning_rate": 0.1}]
    text = words(render(report, folder))
    places = [
        text.index(part)
        for part in (
            "On the test set, the model detects about 97 of 100 PNEUMONIA images (94 to 99) and misclassifies "
            "about 12 of 100 NORMAL images as PNEUMONIA (8 to 16).",
            "Caveats",
            "2 unreadable images were left out.",
            "3 test-set accesses with this data.",
            "One run with one seed (42).",
            "Test set (624 images)",
            "25 of the 624 test images",
            "The errors as pictures",
            "Read these maps with care.",
            "The learning rate was 0.1 in all epochs.",
            "0.988 (0.979–0.993)",
            "Points on test",
            "Points on validation",
            "Sanity checks",
        )
    ]
    assert places == sorted(places)
    assert "no medical device" in text


def test_what_is_not_at_first_sight_is_folded() -> None:
    report = classified()
    report["figures"].append({"file": "errors.png", "caption": "E", "group": "errors"})
    report["settings"] = [{"name": "lr", "value": 1.0, "preset": 1.0, "origin": "preset"}]
    folded = {part.anchor: part.folded for part in document(report).sections}
    assert folded == {
        "errors": False,
        "results": False,
        "details": True,
        "explanations": True,
        "data": True,
        "settings": True,
    }


def test_the_headlines_are_metrics_of_the_test_set_with_their_intervals() -> None:
    page = document(classified())
    assert [(item.label, item.value, item.interval) for item in page.headlines] == [
        ("Accuracy", "0.960", "0.944 to 0.973"),
        ("ROC AUC", "0.988", "0.979 to 0.993"),
        ("Sensitivity (recall)", "0.974", "0.943 to 0.989"),
        ("Specificity", "0.885", "0.837 to 0.920"),
    ]


@pytest.mark.parametrize(
    ("recall", "specificity", "detected", "misclassified"),
    [
        (0.9744, 0.8846, "about 97", "about 12"),
        (0.9974, 0.9991, "more than 99", "fewer than 1"),
        (1.0, 1.0, "all", "none"),
        (0.0, 0.0, "none", "all"),
    ],
)
def test_the_main_result_never_rounds_to_all_or_none(
    recall: float, specificity: float, detected: str, misclassified: str
) -> None:
    report = classified()
    del report["intervals"]
    report["evaluations"]["test"] = {"recall": recall, "specificity": specificity}
    assert document(report).verdict == (
        f"On the test set, the model detects {detected} of 100 PNEUMONIA images and misclassifies {misclassified} "
        "of 100 NORMAL images as PNEUMONIA."
    )


def test_the_main_result_names_its_split_and_is_absent_without_its_metrics() -> None:
    report = classified()
    report["evaluations"] = {"validation": VALIDATION}
    assert document(report).verdict.startswith(
        "On the validation set, the model detects about 96 of 100 PNEUMONIA"
    )
    report["evaluations"] = {"test": {"recall": 0.9}}
    assert document(report).verdict == ""
    report = classified()
    report["dataset"]["classes"] = ["a", "b", "c"]
    assert document(report).verdict == ""


def test_the_table_of_metrics_has_all_known_intervals_and_explains_them() -> None:
    metrics = tables(section(classified(), "details"))[0]
    assert metrics.head == ("Metric", "Test", "Validation", "Meaning")
    rows = {row[0]: row[1:3] for row in metrics.rows}
    assert rows["Accuracy"] == ("0.960 (0.944–0.973)", "0.970")
    assert rows["MCC"] == ("0.871 (-0.012 to 0.902)", "0.871")
    assert rows["Calibration error (ECE)"] == ("0.031", "0.031")
    # A confidence interval is about the value for the population, not about the result of another sample.
    assert "95 % confidence intervals: such an interval covers the true value" in metrics.note
    assert "in about 95 of 100 samples of patients" in metrics.note
    assert tables(section({**classified(), "interval_note": "By DeLong."}, "details"))[0].note == "By DeLong."
    assert tables(section({**classified(), "intervals": {}}, "details"))[0].note == ""


def test_the_first_two_figures_are_shown_and_the_others_and_the_other_split_are_folded() -> None:
    (shown,) = section(classified(), "results")
    assert isinstance(shown, Pictures)
    assert shown.items == (("roc-test.png", "T"), ("points-test.png", "P"))
    assert shown.compact
    blocks = section(classified(), "details")
    assert [block.items for block in blocks if isinstance(block, Pictures)] == [(("matrix-test.png", "M"),)]
    assert [table.title for table in tables(blocks)[1:]] == ["Points on test"]
    *_, last = blocks
    assert isinstance(last, Folded)
    assert last.title == "Results on the validation set"
    found, picture, errors = last.blocks
    assert isinstance(found, Table)
    assert found.title == "Points on validation"
    assert isinstance(picture, Pictures)
    assert picture.items == (("roc-validation.png", "V"),)
    assert isinstance(errors, Paragraph)
    assert errors.text == "None of the 1,308 validation images is misclassified."


def test_figures_without_a_split_are_shown_once() -> None:
    report = classified()
    report["evaluations"] = {"validation": {"dice": 0.9}, "test": {"dice": 0.8}}
    report["figures"] = [{"file": "masks.png", "caption": "Masks", "group": "results"}]
    shown, metrics = section(report, "results")
    assert isinstance(shown, Pictures)
    assert [file for file, _ in shown.items] == ["masks.png"]
    assert isinstance(metrics, Table), "few metrics are not folded"
    assert not [block for block in section(report, "details") if isinstance(block, Pictures)]


def test_a_figure_says_its_result_to_those_who_do_not_see_it_else_its_caption() -> None:
    report = classified()
    report["figures"][1]["alternative"] = "ROC curve on the test set: AUC 0.988"
    (shown,) = section(report, "results")
    assert isinstance(shown, Pictures)
    assert shown.alternatives == ("ROC curve on the test set: AUC 0.988", "P")


def test_the_errors_are_counted_by_kind_and_listed_in_few_columns_up_to_a_limit() -> None:
    report = classified()
    sentence, listed = section(report, "errors")
    assert isinstance(sentence, Paragraph)
    assert sentence.text == ("25 of the 624 test images (4.0 %) are misclassified: 25 NORMAL as PNEUMONIA.")
    report["details"]["test"]["errors"] = {"count": 999, "of": 1000, "rows": wrong(300)}
    sentence, listed = section(report, "errors")
    assert isinstance(sentence, Paragraph)
    assert sentence.text == "999 of the 1,000 test images (99.9 %) are misclassified."
    assert isinstance(listed, Folded)
    (shown,) = tables(listed.blocks)
    assert shown.head == ("Image", "Truth", "Predicted", "P(PNEUMONIA)")
    assert shown.rows[0] == ("IM-0000.jpeg", "NORMAL (virus)", "PNEUMONIA", "0.999")
    assert len(shown.rows) == 200
    assert "200 are listed" in shown.note


def test_empty_columns_of_errors_are_left_out() -> None:
    report = classified()
    report["details"]["test"]["errors"] = {"rows": [{"name": "a.png", "probability": None}]}
    sentence, listed = section(report, "errors")
    assert isinstance(sentence, Paragraph)
    assert sentence.text == "1 of the test images is misclassified."
    assert isinstance(listed, Folded)
    (shown,) = tables(listed.blocks)
    assert (shown.head, shown.rows) == (("Image", "P(PNEUMONIA)"), (("a.png", "–"),))


def test_calibration_and_delongs_interval_are_reported() -> None:
    (text,) = (block.text for block in section(classified(), "details") if isinstance(block, Paragraph))
    assert "temperature 1.37" in text
    assert "bias +1.10" in text
    assert "less extreme" in text
    assert "odds of PNEUMONIA are multiplied by 3" in text
    assert "valid at the PNEUMONIA prevalence of the validation images, 76 %" in text
    assert "at that of the test images, 62 %, they are too high" in text
    assert "0.981 to 0.993" in text


def test_a_report_of_an_early_version_has_no_bias() -> None:
    report = classified()
    for name in ("bias", "validation_prevalence", "split_prevalence"):
        del report["details"]["test"][name]
    (text,) = (block.text for block in section(report, "details") if isinstance(block, Paragraph))
    assert "calibrated on the validation images (temperature 1.37): they are less extreme" in text
    assert "bias" not in text
    assert "valid at" not in text


def test_a_column_with_sentences_is_set_as_text_and_short_ones_as_numbers() -> None:
    assert tables(section(classified(), "details"))[1].numeric == {1, 2}


def test_ranges_are_gray_in_the_page_and_not_wrapped(folder: Path) -> None:
    report = classified()
    report["tables"]["test"][0]["rows"][0][1] = "<b> (<i>)"
    page = render_html(report, folder)
    assert '<span>&lt;b&gt;</span> <span class="range">(&lt;i&gt;)</span>' in page
    assert '<span>0.960</span> <span class="range">(0.944–0.973)</span>' in page
    assert '<td class="number">0.031</td>' in page


def test_explanations_have_a_section_of_their_own() -> None:
    blocks = section(classified(), "explanations")
    assert [type(block) for block in blocks] == [Paragraph, Pictures, Table]
    assert all(
        ("cases.png", "The most confident cases") not in block.items
        for block in section(classified(), "results")
        if isinstance(block, Pictures)
    )


def test_accuracy_as_keras_computes_it_is_no_headline() -> None:
    report = classified()
    report["evaluations"] = {"test": {"psnr": 25.9, "keras_accuracy": 0.41, "loss": 0.1}}
    assert [item.label for item in document(report).headlines] == ["PSNR (dB)"]
    assert [row[0] for row in tables(section(report, "results"))[0].rows] == [
        "PSNR (dB)",
        "Loss",
        "Keras accuracy",
    ]


def test_a_sentence_of_both_a_notice_and_a_caveat_is_shown_once() -> None:
    report = classified()
    report["caveats"].append({"rule": "x", "text": report["notices"][0]})
    assert len(document(report).cautions) == 3


BROKEN: tuple[Any, ...] = (None, [], {}, "text", 3, [1], {"test": 3}, {"test": [3]}, {"test": {"errors": 3}})


@pytest.mark.parametrize(
    "key", ["intervals", "tables", "details", "explanations", "caveats", "test_access", "summary"]
)
def test_any_part_may_be_absent_or_invalid(key: str, folder: Path) -> None:
    for broken in (*BROKEN, {"test": {"accuracy": [0.1], "auc": ["a", None], "recall": [0, float("nan")]}}):
        report = {**classified(), key: broken}
        assert "Accuracy" in render_html(report, folder)
        assert "Accuracy" in render_markdown(report, folder)
    report = classified()
    report.pop(key, None)
    assert "Accuracy" in render_html(json.loads(json.dumps(report)), folder)
