"""Several trained classifiers as one: the same model twice is refused, and what a report says of their mean."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.classification_report import Predictions, classification_report
from pneumo_cli.evaluation.ensemble import MemberPredictions, average, ensemble_rule
from pneumo_cli.evaluation.result import Evaluation
from pneumo_cli.reports.figures.classification_report import with_figures
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.weights import evaluation_weights

if TYPE_CHECKING:
    from pneumo_cli.data.records import Record
    from pneumo_cli.runs.folder import RunFolder


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """The SHA-256 of the names, types, shapes and bytes of a network's weights, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def checkpoint_digest(folder: RunFolder, checkpoint: str) -> str:
    """The digest of the weights that a run is evaluated with.

    Raises:
        UsageError: the checkpoint is missing.
        PneumoError: it is damaged.
    """
    return weights_digest(evaluation_weights(Checkpoints(folder.checkpoints).load(checkpoint)))


def check_distinct(models: Iterable[tuple[Path, str]]) -> None:
    """Refuse one model under two names: a run and a copy of it, or what was exported from it.

    Args:
        models: where each lies, and the digest of its weights; empty where that is not known.

    Raises:
        UsageError: there is one.
    """
    seen: dict[str, Path] = {}
    for place, digest in models:
        if digest and digest in seen:
            raise UsageError(
                f"{seen[digest]} and {place} are the same model (equal weights): a model counts once"
            )
        seen[digest] = place


def evaluate_ensemble(
    members: Sequence[MemberPredictions], records: Sequence[Record], *, seed: int, point: str = ""
) -> Evaluation:
    """What a report says of the mean: metrics with intervals over patients, operating points, subtypes, errors.

    Args:
        members: at least one.
        records: of the dataset that they were evaluated on.
        seed: of the bootstrap.
        point: the operating point in use; empty: as :func:`ensemble_rule` has it.

    Raises:
        UsageError: as :func:`ensemble_rule` and :func:`average`, or there is no such point.
    """
    rule = ensemble_rule([one.rule for one in members])
    rule = rule.at(point) if point else rule
    index, logits, labels = average(members)
    shown = [records[position] for position in index.tolist()]
    found = Predictions(
        logits=logits,
        labels=labels,
        names=[record.name for record in shown],
        patients=[record.patient for record in shown],
        subtypes=[record.subtype for record in shown],
    )
    outputs: dict[str, NDArray[Any]] = {"index": index, "logits": logits, "labels": labels}
    evaluation = classification_report(Evaluation({}, outputs=outputs), found, rule, None, seed)
    evaluation = with_figures(evaluation, found, rule, seed)
    # The mean is on the calibrated scale already: there are no probabilities before calibration to be evaluated.
    again = {name for name in evaluation.metrics if f"{name}_calibrated" in evaluation.metrics}
    metrics = {name: value for name, value in evaluation.metrics.items() if name not in again}
    intervals = {name: ends for name, ends in evaluation.intervals.items() if name in metrics}
    return Evaluation(
        metrics, evaluation.figures, evaluation.outputs, intervals, evaluation.tables, evaluation.details
    )
