"""What a trainer found about the run as a whole, in its report: title, verdict, warnings, and opening pictures."""

from __future__ import annotations

from typing import Any

from pneumo_cli.reports import group_page
from pneumo_cli.reports.content import document
from pneumo_cli.reports.document import Pictures, Table


def test_a_summary_may_have_a_title_of_its_own(report: dict[str, Any]) -> None:
    report["summary"] = {"title": "Reconstruction quality", "metrics": {"diversity": 0.9}}
    assert document(report).headline_title == "Reconstruction quality"
    report["summary"]["notes"] = ["It is high."]
    assert "Reconstruction quality" in [part.title for part in document(report).sections]


def test_a_summary_states_its_verdict_and_what_went_wrong_first(report: dict[str, Any]) -> None:
    report["summary"] = {
        "verdict": "Worse than noise.",
        "warnings": ["Train longer."],
        "metrics": {"kid": 0.1},
    }
    page = document(report)
    assert page.verdict == "Worse than noise."
    assert page.cautions[0] == "Train longer."


def test_pictures_of_the_opening_come_before_all_sections(report: dict[str, Any]) -> None:
    report["figures"].append({"file": "real.png", "caption": "Real above generated", "group": "opening"})
    (shown,) = document(report).opening
    assert isinstance(shown, Pictures)
    assert shown.items == (("real.png", "Real above generated"),)


def test_the_loss_and_accuracy_as_keras_computes_it_are_not_among_the_first_numbers_of_a_group() -> None:
    values = {"mean": 0.5, "sd": 0.1, "min": 0.4, "max": 0.6}
    page = group_page.document(
        {"spread": {"test": dict.fromkeys(("psnr", "keras_accuracy", "loss"), values)}}
    )
    assert [item.label for item in page.headlines] == ["PSNR (dB)"]
    (spread,) = (block for block in page.opening if isinstance(block, Table))
    assert [row[0] for row in spread.rows] == ["PSNR (dB)"]
