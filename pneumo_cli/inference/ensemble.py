"""Ensembles of trained classifiers: their evaluation, and the digests of their members' weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.evaluation.ensemble import MemberPredictions, average, ensemble_rule
from pneumo_cli.evaluation.result import Evaluation
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.weights import evaluation_weights
from pneumo_cli.trainers.classifier_results import report_of

if TYPE_CHECKING:
    from pneumo_cli.data.records import Record
    from pneumo_cli.runs.folder import RunFolder


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """The SHA-256, in hexadecimal, of the names, types, shapes and bytes of a network's weights."""
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


def evaluate_ensemble(
    members: Sequence[MemberPredictions], records: Sequence[Record], *, seed: int, point: str = ""
) -> Evaluation:
    """Evaluate the ensemble: metrics with intervals over patients, operating points, subtypes, errors, figures.

    Args:
        members: at least one.
        records: of the dataset that they were evaluated on.
        seed: of the bootstrap.
        point: the operating point in use; empty: that of :func:`ensemble_rule`.

    Raises:
        UsageError: as :func:`ensemble_rule` and :func:`average`, or there is no such point.
    """
    rule = ensemble_rule([one.rule for one in members])
    rule = rule.at(point) if point else rule
    index, logits, labels = average(members)
    outputs: dict[str, NDArray[Any]] = {"index": index, "logits": logits, "labels": labels}
    evaluation = report_of(Evaluation({}, outputs=outputs), records, rule, None, seed)
    # The mean logits are calibrated already, so metrics of uncalibrated probabilities would be duplicates.
    duplicates = {name for name in evaluation.metrics if f"{name}_calibrated" in evaluation.metrics}
    metrics = {name: value for name, value in evaluation.metrics.items() if name not in duplicates}
    intervals = {name: ends for name, ends in evaluation.intervals.items() if name in metrics}
    return replace(evaluation, metrics=metrics, intervals=intervals)
