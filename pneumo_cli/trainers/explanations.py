"""The errors of a classifier as pictures, and Grad-CAM of its most confident correct and incorrect predictions.

The maps are reported with sanity checks. A model that is not convolutional has none, and the report says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.grad_cam import GradCam
from pneumo_cli.evaluation.multi.rule import MultiRule, Rule
from pneumo_cli.evaluation.multi.scores import class_truth
from pneumo_cli.evaluation.result import Evaluation, NamedFigure, NamedTable, RunSummary
from pneumo_cli.evaluation.saliency_checks import saliency_checks
from pneumo_cli.reports.figures.style import shortened
from pneumo_cli.reports.formatting import listing
from pneumo_cli.trainers.targets import class_scores, positive_logits

if TYPE_CHECKING:
    from pneumo_cli.data.augmentation import Transform
    from pneumo_cli.data.batch_inputs import ImageInputs
    from pneumo_cli.reports.figures.saliency import CaseRow
    from pneumo_cli.runs.run import Run

_CHECKED = 16  # images in the sanity checks
_SHOWN = 6  # images per row of the figure
_CLASSES = 4  # of K classes, the most frequent ones are explained
_TITLE = 11  # letters of a class above an image


@dataclass(frozen=True)
class _Cases:
    """Images of a split in rows of a figure.

    Attributes:
        rows: a label and the positions in the split of each row.
        towards: of each image in the order of the rows, the class whose evidence is shown.
        titles: of each, a short text above it.
    """

    rows: tuple[CaseRow, ...]
    towards: tuple[int, ...]
    titles: tuple[str, ...]

    @property
    def positions(self) -> list[int]:
        """Of all images in the order of the rows."""
        return [case for row in self.rows for case in row.cases]


def explain(run: Run, split: str, evaluation: Evaluation, transform: Transform, rule: Rule) -> RunSummary:
    """Show the most confident errors on a split, and explain them and the most confident correct predictions.

    Args:
        evaluation: of the split; its outputs are ``index``, ``logits`` and ``labels``, finite.
        transform: how images become the model's input.
        rule: how logits become decisions.

    Returns:
        the figures ``errors`` and ``surest-cases``, each only if there are such images; the sanity checks of the
        maps. Of a model without maps, the errors alone, and why there are none.
    """
    inputs = run.image_inputs(transform)
    index = evaluation.outputs["index"].astype(np.int64)
    scores = positive_logits if isinstance(rule, DecisionRule) else partial(class_scores, task=rule.task)
    cam, notes = None, []
    try:
        cam = GradCam(run.model, scores, inputs(index[:1], 0))
    except UsageError as error:
        notes.append(f"There are no saliency maps: {error}.")
    if isinstance(rule, DecisionRule):
        wrong, correct, what = *_two_classes(evaluation, rule), f"probability of {rule.classes[1]}"
    else:
        wrong, correct, what = *_several_classes(evaluation, rule), "probability of the class that is mapped"
    figures = []
    if wrong.rows:
        below = f"; below each, the Grad-CAM map of {_mapped(rule)}" if cam else ""
        caption = (
            f"The most confident errors on the {split} images, up to {_SHOWN} of each kind{below}. The number is "
            f"the calibrated {what}."
        )
        shown = listing(
            f"{row.label}: {listing(_named(run, index[case]) for case in row.cases)}" for row in wrong.rows
        )
        alternative = f"Radiographs of the most confident errors. {shown}."
        figures.append(_figure(run, index, inputs, cam, wrong, "errors", "errors", caption, alternative))
    if correct.rows and cam:
        caption = (
            f"The {split} images with the most confident correct predictions, and below each the Grad-CAM map of "
            f"{_mapped(rule)}. The number is the calibrated {what}."
        )
        figures.append(_figure(run, index, inputs, cam, correct, "surest-cases", "explanations", caption, ""))
    found = RunSummary(figures=tuple(figures), notes=tuple(notes), group="explanations")
    return found if cam is None else found + _sanity(run, evaluation, inputs, cam, rule)


def _mapped(rule: Rule) -> str:
    labels = not isinstance(rule, DecisionRule) and rule.task == "multilabel"
    return "its label" if labels else "the predicted class"


def _named(run: Run, position: np.int64) -> str:
    return run.data.dataset.records[int(position)].name.rpartition("/")[2]


def _two_classes(evaluation: Evaluation, rule: DecisionRule) -> tuple[_Cases, _Cases]:
    """The most confident errors, and the most confident correct predictions."""
    from pneumo_cli.reports.figures.saliency import most_confident

    threshold = rule.point.logit_threshold
    _, logits, labels = _outputs(evaluation)
    probabilities = rule.probabilities(logits)

    def cases(correct: bool) -> _Cases:
        rows = most_confident(
            logits, labels, rule.classes, logit_threshold=threshold, most=_SHOWN, outcomes=(correct,)
        )
        positions = [case for row in rows for case in row.cases]
        towards = tuple(int(logits[case] >= threshold) for case in positions)
        return _Cases(rows, towards, tuple(f"{probabilities[case]:.3f}" for case in positions))

    return cases(False), cases(True)


def _several_classes(evaluation: Evaluation, rule: MultiRule) -> tuple[_Cases, _Cases]:
    """The same for the most frequent of K classes, each against the rest."""
    from pneumo_cli.reports.figures.saliency import CaseRow

    _, logits, labels = _outputs(evaluation)
    truth = class_truth(labels, rule.task, len(rule.classes))
    margins = rule.scores(logits) - np.asarray(rule.point.logit_thresholds)
    decided = class_truth(rule.decide(logits), rule.task, len(rule.classes))
    probabilities = rule.probabilities(logits)
    several = rule.task == "multilabel"
    found: dict[bool, list[tuple[CaseRow, int]]] = {False: [], True: []}
    for place in _frequent(truth):
        name = rule.classes[place]
        kinds = [
            (True, f"{name}, correct", 1, 1),
            (False, f"{name}, false positive" if several else f"predicted {name}", 1, 0),
        ]
        if several:  # of exclusive classes, the missed images of one are predicted as another
            kinds.append((False, f"{name}, missed", 0, 1))
        for correct, label, predicted, wanted in kinds:
            order = np.argsort(-margins[:, place] if predicted else margins[:, place], kind="stable")
            chosen = order[(decided[order, place] == predicted) & (truth[order, place] == wanted)][:_SHOWN]
            if len(chosen):
                found[correct].append((CaseRow(label, tuple(chosen.tolist())), place))

    def cases(correct: bool) -> _Cases:
        shown = [(case, place) for row, place in found[correct] for case in row.cases]
        titles = [
            f"{probabilities[case, place]:.3f}"
            + ("" if correct or several else f" {shortened(rule.classes[int(labels[case])], _TITLE)}")
            for case, place in shown
        ]
        rows = tuple(row for row, _ in found[correct])
        return _Cases(rows, tuple(place for _, place in shown), tuple(titles))

    return cases(False), cases(True)


def _frequent(truth: NDArray[np.int64]) -> list[int]:
    """The classes with the most images, in their own order."""
    places: list[int] = np.sort(np.argsort(-(truth == 1).sum(0), kind="stable")[:_CLASSES]).tolist()
    return places


def _sanity(run: Run, evaluation: Evaluation, inputs: ImageInputs, cam: GradCam, rule: Rule) -> RunSummary:
    """The sanity checks of the maps; of K classes those of the most frequent ones, each against the rest."""
    index, _, labels = _outputs(evaluation)
    if isinstance(rule, DecisionRule):
        checked = spread_over(labels, _CHECKED)
        if len(checked) < 2:
            return RunSummary(group="explanations")
        checks = saliency_checks(
            cam,
            inputs(index[checked], 0),
            seed=run.settings.seed,
            logit_threshold=rule.point.logit_threshold,
        )
        tables = (checks.table(rule.classes),)
        return RunSummary(checks.metrics(), tables, (), _warning(checks.passed), "explanations")
    truth = class_truth(labels, rule.task, len(rule.classes))
    found = [
        one
        for place in _frequent(truth)
        if (one := _checks(run, cam, inputs, index, truth[:, place], place, rule)) is not None
    ]
    passed = all(own for _, own in found)
    return RunSummary({}, tuple(table for table, _ in found), (), _warning(passed), "explanations")


def _checks(
    run: Run,
    cam: GradCam,
    inputs: ImageInputs,
    index: NDArray[np.int64],
    truth: NDArray[np.int64],
    place: int,
    rule: MultiRule,
) -> tuple[NamedTable, bool] | None:
    """The sanity checks of one class against the rest; None where there are too few images."""
    checked = spread_over(truth, _CHECKED)
    if len(checked) < 2:
        return None

    def score(outputs: Tensor) -> Tensor:
        return class_scores(outputs, rule.task)[:, place]

    images = inputs(index[checked], 0)
    of_class = GradCam(cam.model, score, images[:1])
    threshold = float(rule.point.logit_thresholds[place])
    checks = saliency_checks(of_class, images, seed=run.settings.seed, logit_threshold=threshold)
    name = rule.classes[place]
    table = checks.table((f"not {name}", name))
    return replace(table, title=f"{table.title}: {name}"), checks.passed


def _outputs(evaluation: Evaluation) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    outputs = evaluation.outputs
    return (
        outputs["index"].astype(np.int64),
        outputs["logits"].astype(np.float64),
        outputs["labels"].astype(np.int64),
    )


def _figure(
    run: Run,
    index: NDArray[np.int64],
    inputs: ImageInputs,
    cam: GradCam | None,
    cases: _Cases,
    name: str,
    group: str,
    caption: str,
    alternative: str,
) -> NamedFigure:
    """The figure of some images of a split, whose positions among all images are ``index``."""
    from pneumo_cli.reports.figures.saliency import CaseRow, explained_cases

    chosen = index[cases.positions]
    places = iter(range(len(chosen)))
    placed = [CaseRow(row.label, tuple(islice(places, len(row.cases)))) for row in cases.rows]
    images = run.data.gray[chosen] / np.float32(255)
    maps = None
    if cam is not None:
        maps = cam.maps(inputs(chosen, 0), torch.tensor(cases.towards, device=run.device.torch)).cpu().numpy()
    names = [_named(run, position) for position in chosen]
    draw = partial(explained_cases, images, maps, cases.titles, placed, names)
    return NamedFigure(name, caption, draw, group, alternative)


def _warning(passed: bool) -> tuple[str, ...]:
    if passed:
        return ()
    return ("The saliency maps fail at least one sanity check: do not rely on them.",)


def spread_over(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Positions of at most ``most // 2`` images of each of the labels 0 and 1, evenly spread."""
    chosen = []
    for label in (0, 1):
        places = np.flatnonzero(labels == label)
        if len(places):
            chosen.append(places[np.unique(np.linspace(0, len(places) - 1, most // 2).astype(np.int64))])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)
