"""The contents of a report: what was done on which data, how it was trained, and how good the result is."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.evaluation.metric_names import in_order, metric_label
from pneumo_cli.reports.content import document
from pneumo_cli.reports.html import render_html
from pneumo_cli.reports.markdown import render_markdown


def text_of(page: str) -> str:
    """The text of an HTML page; Markdown stays as it is."""
    return html.unescape(re.sub(r"<style.*?</style>|<[^>]+>", "", page, flags=re.S))


def settings_section(report: dict[str, Any]) -> tuple[Any, ...]:
    return next(part.blocks for part in document(report).sections if part.anchor == "settings")


def test_settings_are_shown_as_changed_as_in_the_preset_and_of_the_machine(
    report: dict[str, Any],
) -> None:
    report["settings"] += [
        {"name": "size", "value": 64, "preset": 224, "default": 224, "origin": "default", "help": ""},
        {"name": "output", "value": "/there", "preset": "runs", "default": "runs", "origin": "--output"},
        {"name": "threads", "value": 1, "preset": 0, "default": 0, "origin": "PNEUMO_THREADS", "help": ""},
    ]
    sentence, changed, unchanged, machine = settings_section(report)
    assert sentence.text == "1 setting differs from the preset quick."
    assert [row[0] for row in changed.rows] == ["lr"]
    assert [row[0] for row in unchanged.blocks[0].rows] == ["epochs", "size"]
    assert machine.title.startswith("2 machine settings")
    assert [row[0] for row in machine.blocks[0].rows] == ["output", "threads"]


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_a_report_states_what_was_done_on_which_data_and_the_results(
    render, folder: Path, report: dict[str, Any]
) -> None:
    source = render(report, folder)
    text = text_of(source)
    for expected in (
        "Synthetic data: no patient is behind these images.",
        "no medical device",
        "24 November 2026, 14:03 UTC",
        "1 min 33 s",
        "resumed 2 times",
        "4,689,729 trainable parameters",
        "on 3,924 images of the synthetic dataset phantom",
        "Test set (624 images)",
        "0.951",
        "1 : 2.86",
        "No patient and no identical image occurs in more than one split.",
        "1 setting differs from the preset quick",
        "pneumo-cnn 0.2.0",
        "pneumo run cnn --config runs/cnn/2026-11-24-a1b2/run.toml",
    ):
        assert expected in text, expected
    assert text.index("Synthetic data") < text.index("Test set (") < text.index("Setup")


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_leakage_and_unreadable_images_are_reported(render, folder: Path, report: dict[str, Any]) -> None:
    report["dataset"]["split"]["shared"][0].update(patients=12, images=40, near=3)
    report["dataset"]["unreadable"] = [{"name": "train/a|b.jpeg", "reason": "truncated"}]
    source = render(report, folder)
    assert "occur in more than one split" in source
    assert "Near-duplicates" in source
    assert "Identical pixels" not in source, "they were not searched"
    assert "1 image could not be read" in source
    assert "truncated" in source


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_metrics_of_another_task_have_readable_names(render, folder: Path, report: dict[str, Any]) -> None:
    report["evaluations"] = {"validation": {"frechet_distance": 41.23456}}
    report["history"] = [{"epoch": 1, "train": {"generator_loss": 0.7}}]
    report["curves"], report["monitor"] = ["generator_loss"], None
    source = render(report, folder)
    assert "Fréchet distance" in source
    assert "41.2346" in source
    assert "Generator loss" in source
    assert "Validation set (1,308 images)" in source


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_the_evaluation_of_the_whole_run_has_a_section_of_its_own(
    render, folder: Path, report: dict[str, Any]
) -> None:
    report["figures"].append({"file": "figures/loss.png", "caption": "Closest pairs", "group": "summary"})
    source = render(report, folder)
    text = text_of(source)
    places = [
        text.rindex(words)
        for words in (
            "Image quality",
            "No copies were found.",
            "Distance to real images",
            "12.3 ± 1.0",
            "In features of pixels.",
        )
    ]
    assert places == sorted(places)
    assert source.count("Closest pairs") == 2, (
        "as the alternative text and below the figure, in one section only"
    )
    assert places[-1] < text.index("Closest pairs") < text.rindex("Loss over epochs")


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_the_headlines_are_metrics_of_the_whole_run_if_there_are_any(
    render, folder: Path, report: dict[str, Any]
) -> None:
    report["summary"]["metrics"] = {
        "kid_spread_efficientnet-lite0": 0.0011,
        "kid_noise_efficientnet-lite0": 0.3101,
        "frechet_efficientnet-lite0": 848.0,
        "diversity": 0.91,
        "kid_real_efficientnet-lite0": 0.0007,
        "kid_efficientnet-lite0": 0.0123,
        "copies": 0.0,
        "coverage": None,
    }
    page = document(report)
    assert page.headline_title == "Image quality"
    assert [(item.label, item.value) for item in page.headlines] == [
        ("KID × 1000 (efficientnet-lite0)", "12.3"),
        ("KID × 1000 of real images (efficientnet-lite0)", "0.7"),
        ("Copies", "0.000"),
        ("Diversity", "0.91"),
    ]
    assert all(item.meaning for item in page.headlines)
    assert "KID × 1000 (efficientnet-lite0)" in render(report, folder)


def test_baselines_are_no_headlines(report: dict[str, Any]) -> None:
    for metrics in ({"kid_noise_pixels": 0.3, "separation": 1.0}, {"kid_pixels": None}, {}):
        report["summary"]["metrics"] = metrics
        page = document(report)
        assert page.headline_title == "Test set (624 images)"
        assert len(page.headlines) == 4


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_a_run_without_validation_is_reported_by_its_training_metrics(
    render, folder: Path, report: dict[str, Any]
) -> None:
    for entry in report["history"]:
        entry["train"], entry["validation"] = {"generator_loss": 0.7011}, {}
    report["monitor"] = {
        "metric": "generator_loss",
        "mode": "min",
        "side": "train",
        "epoch": 1,
        "value": 0.7011,
    }
    report["curves"] = ["generator_loss", "kid"]
    report["evaluations"] = {"test": {"generator_loss": 0.8}}
    split = report["dataset"]["split"]
    split["policy"] = "all"
    split["rows"][1].update(counts={}, images=0, patients=0, ratio=None)
    source = render(report, folder)
    text = text_of(source)
    assert "it has the lowest training generator loss (0.7011)" in text
    assert "All metrics are training metrics." in text
    assert "0.7011 / " not in text
    assert "none for validation." in text
    assert "held out for validation" not in text


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_without_a_metric_the_last_epoch_is_reported_as_used(
    render, folder: Path, report: dict[str, Any]
) -> None:
    report["monitor"] = {"metric": "", "mode": "min", "side": "train", "epoch": 1, "value": None}
    source = render(report, folder)
    assert "The checkpoint of the last epoch, 1, was used: no metric selects among the epochs." in source


def test_metrics_of_both_sides_are_pairs_and_those_of_one_are_labelled(
    folder: Path, report: dict[str, Any]
) -> None:
    for entry in report["history"]:
        entry["train"], entry["validation"] = {"loss": 0.5, "rate": 1.0}, {"loss": 0.6, "kid": 0.0123}
    report["curves"] = ["loss", "kid", "rate"]
    source = render_markdown(report, folder)
    assert "| Epoch | Loss | KID × 1000 (validation) | Rate (training) |" in source
    assert "| 0.5000 / 0.6000 | 12.3 | 1.0000 |" in source
    assert "Pairs of values are training / validation." in source


def test_the_label_of_a_distance_names_its_feature_extractor() -> None:
    for name, label in (
        ("kid_pixels", "KID × 1000 (pixels)"),
        ("kid_run-of_my_own", "KID × 1000 (run-of_my_own)"),
        ("kid_spread_pixels", "KID × 1000, spread (pixels)"),
        ("kid_real_efficientnet_b0", "KID × 1000 of real images (efficientnet_b0)"),
        ("frechet_spread_mean-image_pixels", "Fréchet distance of the mean image, spread (pixels)"),
        ("kid", "KID × 1000"),
        ("kidney_area", "Kidney area"),
    ):
        assert metric_label(name).label == label
        assert "FID" not in metric_label(name).label
    assert in_order(["x", "loss", "frechet_pixels", "kid_noise_pixels", "kid_pixels", "auc"]) == [
        "auc",
        "kid_pixels",
        "frechet_pixels",
        "loss",
        "x",
        "kid_noise_pixels",
    ]


def test_a_long_history_is_folded(folder: Path, report: dict[str, Any]) -> None:
    report["history"] = [{**report["history"][0], "epoch": epoch} for epoch in range(201)]
    assert "Metrics of all 201 epochs" in render_html(report, folder)
    assert render_markdown(report, folder).count("<details>") == render_markdown(report, folder).count(
        "</details>"
    )


def test_extensions_are_part_of_what_was_done(folder: Path, report: dict[str, Any]) -> None:
    report["extensions"] = {"mixup": "pneumo-extensions 0.2.0", "sam": "pneumo-sam 0.1.0"}
    report["settings"].append(
        {"name": "mixup.alpha", "value": 0.4, "default": 0.2, "origin": "--mixup-alpha"}
    )
    text = render_markdown(report, folder)
    assert "phantom, with the extensions mixup and sam." in text
    assert re.search(r"\| Extension +\| mixup +\| alpha = 0.4 +\| pneumo-extensions 0.2.0 +\|", text)
    assert re.search(r"\| Extension +\| sam +\| +\| pneumo-sam 0.1.0 +\|", text)
