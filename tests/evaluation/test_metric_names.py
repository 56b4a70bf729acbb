"""Names, digits and meanings of metrics."""

from __future__ import annotations

from pneumo_cli.evaluation.metric_names import interval_text, metric_label


def test_intervals_have_the_digits_and_scale_of_their_metric() -> None:
    assert interval_text("kid_pixels", (0.0012, 0.0034)) == "1.2–3.4"
    assert interval_text("auc", (0.9, 0.95), " to ") == "0.900 to 0.950"
    assert interval_text("auc", (0.9, None)) == interval_text("auc", 3) == ""


def test_metrics_that_are_better_lower_are_no_shares_and_are_explained_so() -> None:
    for name in ("brier", "ece", "brier_calibrated", "ece_calibrated"):
        assert not metric_label(name).share
        assert "lower is better" in metric_label(name).meaning
    assert metric_label("specificity").share
    assert metric_label("balanced_accuracy").share
