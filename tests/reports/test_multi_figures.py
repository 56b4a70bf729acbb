"""Figures of K classes and labels are readable for three and for many, and say what they measure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from pneumo_cli.evaluation.classification_report import Predictions
from pneumo_cli.evaluation.multi.calibration import fit_class_calibration
from pneumo_cli.evaluation.multi.points import choose_points
from pneumo_cli.evaluation.multi.report import multi_report
from pneumo_cli.evaluation.multi.rule import MultiRule
from pneumo_cli.evaluation.multi.scores import as_one_vs_rest
from pneumo_cli.evaluation.result import Evaluation, NamedFigure
from pneumo_cli.reports.figures import multi, training
from pneumo_cli.reports.figures.multi_report import class_results, with_multi_figures
from pneumo_cli.reports.figures.style import COLUMN, PAGE, save

NAMES = ("a very long finding of the left lower lobe", "$\\frac{", *(f"finding {k}" for k in range(2, 30)))


def texts(figure: Figure) -> str:
    """All texts of a figure."""
    found = [text.get_text() for axes in figure.axes for text in axes.findobj(mpl.text.Text)]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return "\n".join([*found, *(text.get_text() for text in figure.texts)])


def simulated(task: str, classes: int, images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels; of labels a tenth is unknown, and the last one is always absent."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, classes))
    if task == "multiclass":
        labels = rng.permutation(np.arange(images) % classes)
        logits[np.arange(images), labels] += 2
        return logits, labels
    labels = (rng.random((images, classes)) < 0.4).astype(np.int64)
    logits += 2 * labels - 1
    labels[rng.random(labels.shape) < 0.1] = -1
    labels[:, -1] = np.minimum(labels[:, -1], 0)
    return logits, labels


def reported(task: str, classes: int, images: int = 120, patients: int = 60) -> tuple[Evaluation, ...]:
    """A report with its figures, and what :func:`class_results` takes."""
    names = NAMES[:classes]
    fitted = simulated(task, classes, images, 1)
    points = choose_points(as_one_vs_rest(*fitted, task), task)
    calibration = fit_class_calibration(*fitted, task)
    rule = MultiRule(task, names, calibration, points, images=images, prevalence=(0.3,) * classes)
    logits, labels = simulated(task, classes, images, 2)
    found = Predictions(
        logits,
        labels,
        [f"image{place}" for place in range(images)],
        [f"p{place % patients}" for place in range(images)],
        [""] * images,
    )
    evaluation = with_multi_figures(multi_report(Evaluation({}), found, rule, None, 0), found, rule, 0)
    return evaluation, found, rule


def figures_of(evaluation: Evaluation) -> Mapping[str, NamedFigure]:
    return {figure.name: figure for figure in evaluation.figures}


@pytest.fixture(scope="module")
def three() -> Evaluation:
    return reported("multiclass", 3)[0]


@pytest.fixture(scope="module")
def labels() -> Evaluation:
    return reported("multilabel", 7)[0]


@pytest.mark.parametrize(("task", "first"), [("multiclass", "confusion-matrix"), ("multilabel", "decisions")])
def test_the_figures_show_decisions_results_curves_and_calibration(task: str, first: str) -> None:
    evaluation, _, _ = reported(task, 4)
    assert list(figures_of(evaluation)) == [first, "classes", "roc", "precision-recall", "calibration"]
    assert all("operating point default" in figure.caption for figure in evaluation.figures[:4])


def test_a_few_classes_share_one_axes_with_their_areas_and_intervals(three: Evaluation) -> None:
    for name, metric, sign in (("roc", "auc", "AUC"), ("precision-recall", "average_precision", "AP")):
        figure = figures_of(three)[name].draw()
        assert (figure.get_figwidth(), len(figure.axes)) == (COLUMN, 1)
        words = texts(figure)
        for of in three.details["classes"]:
            low, high = of["intervals"][metric]
            assert f"{sign} {of['metrics'][metric]:.3f} ({low:.3f}–{high:.3f})" in words
        looks = {
            (line.get_color(), line.get_linestyle())
            for line in figure.axes[0].lines
            if line.get_label()[0] != "_"
        }
        assert len(looks) == 3


def test_the_diamonds_are_the_decisions_at_the_operating_point(three: Evaluation) -> None:
    (axes,) = figures_of(three)["roc"].draw().axes
    marked = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "D"]
    expected = [
        (1 - of["metrics"]["specificity"], of["metrics"]["recall"]) for of in three.details["classes"]
    ]
    np.testing.assert_allclose(marked, expected)


def test_many_classes_have_a_panel_each_and_one_without_positive_images_has_none(labels: Evaluation) -> None:
    for name in ("roc", "precision-recall", "calibration"):
        figure = figures_of(labels)[name].draw()
        assert figure.get_figwidth() == PAGE
        titles = [axes.get_title() for axes in figure.axes if axes.axison]
        assert len(titles) == 6
        assert titles[0].startswith("a very long finding of …\n")
        assert titles[1].startswith("$\\frac{\n")
    assert len(figures_of(labels)["roc"].draw().axes[0].collections) == 1  # its band


def test_the_overview_shows_every_class_with_its_images_and_the_macro_average(labels: Evaluation) -> None:
    figure = figures_of(labels)["classes"].draw()
    assert [axes.get_xlabel() for axes in figure.axes] == ["ROC AUC", "Sensitivity", "Specificity"]
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names[-1] == "Macro average"
    assert names[0] == f"a very long finding of th… ({labels.details['classes'][0]['positives']})"
    assert names[-2] == "finding 6 (0)"
    assert "–" in texts(figure)  # the AUC and sensitivity of that label
    for axes, metric in zip(figure.axes, ("auc", "recall", "specificity"), strict=True):
        dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
        values = [of["metrics"].get(metric) for of in labels.details["classes"]]
        assert dots == pytest.approx([value for value in values if value is not None])
        low, high = axes.get_xlim()
        assert all(low <= dot <= high for dot in dots)


def test_decisions_on_labels_show_hits_among_the_images_with_and_without_each(labels: Evaluation) -> None:
    words = texts(figures_of(labels)["decisions"].draw())
    for (tn, fp), (fn, tp) in labels.details["confusion"]:
        assert f"{tn} of {tn + fp}" in words
        assert f"{tp} of {tp + fn}" in words if tp + fn else "no image" in words


def test_of_very_many_classes_those_with_the_most_images_have_curves() -> None:
    evaluation, _, _ = reported("multilabel", 30)
    roc = figures_of(evaluation)["roc"]
    assert "Of 29, the 24 with the most images are shown." in roc.caption
    results = class_results(*reported("multilabel", 30))
    assert len(results) == 30


def test_a_single_patient_has_no_band_and_unknown_images_are_left_out() -> None:
    evaluation, found, rule = reported("multilabel", 3, images=40, patients=1)
    axes, *_ = figures_of(evaluation)["roc"].draw().axes
    assert not axes.collections
    first, *_ = class_results(evaluation, found, rule)
    assert set(first.truth.tolist()) == {0, 1}
    assert len(first.scores) == len(first.calibrated) == (found.labels[:, 0] >= 0).sum()


def test_calibration_is_drawn_before_and_after_where_there_is_one() -> None:
    truth = np.array([0, 0, 1, 1])
    result = multi.ClassResult("a", np.array([-2.0, 1.0, -1.0, 2.0]), truth, np.array(["p", "q", "r", "s"]))
    assert "After calibration" not in texts(multi.reliability_diagrams([result]))
    after = multi.ClassResult("a", result.scores, truth, result.patients, np.array([0.1, 0.4, 0.5, 0.9]))
    words = texts(multi.reliability_diagrams([result, after]))
    assert "2 of 4 images" in words


@pytest.mark.parametrize("size", [5, 14, 40])
def test_a_large_confusion_matrix_names_every_class_and_counts_where_they_are_readable(
    size: int, tmp_path: Path
) -> None:
    matrix = np.diag(np.arange(1000, 1000 + size))
    matrix[0, 1] = 1000
    figure = training.confusion_matrix(matrix, [f"class number {place}" for place in range(size)])
    words = texts(figure)
    assert "class number 4 (1,004)" in words
    assert ("1,000\n50 %" in words) == (size < 30)
    assert "\n0\n" not in words  # cells without images are empty
    save(figure, tmp_path / "matrix.png")


def test_the_class_balance_of_many_classes_has_a_panel_for_each_split() -> None:
    rows = [
        {
            "split": split,
            "counts": {f"finding {k}": 7 * k for k in range(14)},
            "images": images,
            "ratio": None,
        }
        for split, images in (("train", 2000), ("validation", 500), ("test", 700))
    ]
    figure = training.class_balance(rows)
    assert [axes.get_title() for axes in figure.axes] == [
        "train\nn = 2,000",
        "validation\nn = 500",
        "test\nn = 700",
    ]
    assert [bar.get_width() for bar in figure.axes[1].patches] == [7 * k for k in range(1, 14)]
