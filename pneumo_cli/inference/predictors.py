"""What can answer for an image: a run's network, a model that was exported, or several of these as one.

:func:`open_predictor` takes whatever lies at a path. The command that asks is ``pneumo predict``, the loop over
files :mod:`pneumo_cli.inference.predictor`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.ensemble import ensemble_rule
from pneumo_cli.evaluation.grad_cam import GradCam
from pneumo_cli.inference.ensemble import check_distinct, weights_digest
from pneumo_cli.inference.predictor import BatchPrediction, Predictor, Sized
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.plugins.requests import PredictorRequest
from pneumo_cli.registry import Registries
from pneumo_cli.runs.folder import GroupFolder, RunFolder, is_group, read_json
from pneumo_cli.runs.groups import finished_members
from pneumo_cli.runs.index import bare
from pneumo_cli.trainers.loading import Trained, load_trained
from pneumo_cli.trainers.targets import positive_logits

_log = logging.getLogger("pneumo")
_READERS = {".onnx": "pneumo-export", ".pt2": "pneumo-export"}  # of formats that people have


class RunPredictor(Predictor):
    """A run's classifier.

    Args:
        trained: the run's model.
        point: the name of an operating point; empty: the run's own.

    Raises:
        UsageError: the run trained no classifier, or its checkpoint has no such operating point.
        PneumoError: the checkpoint is damaged.
    """

    def __init__(self, trained: Trained, point: str = "") -> None:
        classifier = trained.trainer.as_classifier()
        if classifier is None:
            raise UsageError(
                f"{trained.folder.path} is a run of {trained.resolved.entry.spec.name}, which classifies no images"
            )
        self.trained = trained
        self.transform = classifier.evaluation_transform(trained.entry.spec)
        self.mirrored = classifier.mirrored
        if point and not trained.calibration:
            raise UsageError(
                f"the checkpoint {trained.checkpoint} of {trained.folder.path} has no fitted operating points, "
                "which best gets when a run ends, from validation images: leave out --operating-point"
            )
        self.rule = DecisionRule.from_state(trained.calibration)
        self.point = self.rule.named(point) if point else self.rule.point
        self.size = trained.resolved.trainer.image_size
        self.sizes = (self.size,)
        self.facts = {
            "run": str(trained.folder.path),
            "model": trained.entry.spec.name,
            "checkpoint": trained.checkpoint,
            "epoch": trained.epoch,
            "dataset": trained.dataset,
            "synthetic": _synthetic(trained.folder),
            "data_fingerprint": trained.fingerprint,
        }
        self._cam: GradCam | None = None

    @cached_property
    def weights(self) -> str:
        """As :func:`~pneumo_cli.inference.ensemble.weights_digest` has it."""
        return weights_digest(self.trained.model.state_dict())

    def inputs(self, images: Sized) -> Tensor:
        """The network's input, on its device."""
        device = self.trained.device
        levels = torch.from_numpy(images[self.size]).to(device.torch)
        return self.transform(levels, torch.arange(len(levels)), 0).contiguous(
            memory_format=device.memory_format
        )

    def logits(self, images: Sized) -> NDArray[np.float64]:
        """Logits of class 1, [B], as a run judges its own images."""
        inputs = self.inputs(images)
        with torch.no_grad(), self.trained.device.autocast():
            views = [positive_logits(self.trained.model(inputs))]
            if self.mirrored:
                views.append(positive_logits(self.trained.model(inputs.flip(-1))))
        found: NDArray[np.float64] = torch.stack(views).mean(0).cpu().double().numpy()
        if not np.isfinite(found).all():
            raise PneumoError(f"the model of {self.trained.folder.path} gives no finite logits")
        return found

    def maps(self, images: Sized, positive: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Grad-CAM. Raises UsageError where the model is not convolutional."""
        inputs = self.inputs(images)
        if self._cam is None:
            self._cam = GradCam(self.trained.model, positive_logits, inputs[:1])
        with self.trained.device.autocast():
            found = self._cam.maps(inputs, torch.from_numpy(positive.astype(np.int64)).to(inputs.device))
        return found.cpu().numpy()


class EnsemblePredictor(Predictor):
    """Several classifiers as one: the runs of a cross-validation, of several seeds, or of different networks.

    The logit is the mean of the members' calibrated logits (by each one's own temperature and bias): the
    geometric mean of their odds, also called logarithmic pooling (Genest & Zidek 1986). Unlike a mean of
    probabilities it does not draw members that agree towards one half. Cuts are averaged likewise
    (:func:`pneumo_cli.evaluation.ensemble.ensemble_rule`), so that an image is called positive where the
    members lie above their own cuts on average. It is flagged as foreign where its scores, each in multiples of
    the member's own threshold, are above 1 on average.

    Args:
        members: two or more.

    Raises:
        UsageError: their classes differ.
    """

    def __init__(self, members: Sequence[Predictor]) -> None:
        self.members = tuple(members)
        self.sizes = tuple(sorted({size for member in members for size in member.sizes}))
        self.facts = {"runs": [dict(member.facts) for member in members]}
        self.rule = ensemble_rule([member.rule.at(member.point.name) for member in members])
        self.point = self.rule.point

    @property
    def ood_threshold(self) -> float | None:
        """1, in multiples of the members' own thresholds; None where none of them can tell."""
        return 1.0 if any(member.ood_threshold for member in self.members) else None

    @property
    def count(self) -> int:
        """How many models answer."""
        return sum(member.count for member in self.members)

    def logits(self, images: Sized) -> NDArray[np.float64]:
        """The mean of the members' calibrated logits, [B]."""
        return self.predict_batch(images).logits

    def predict_batch(self, images: Sized) -> BatchPrediction:
        """Each member on the images of its own size, averaged."""
        logits, ood_score = [], []
        for member in self.members:
            batch = member.predict_batch(images)
            logits.append(member.rule.calibrated(batch.logits))
            if member.ood_threshold:
                ood_score.append(batch.ood_scores / member.ood_threshold)
        return BatchPrediction(
            np.mean(logits, axis=0),
            np.mean(ood_score, axis=0) if ood_score else np.zeros(len(logits[0])),
            tuple(self.rule.probabilities(one) for one in logits),
        )

    def maps(self, images: Sized, positive: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The mean of the members' maps, at the largest of their sizes."""
        size = self.sizes[-1]
        scaled = [
            F.interpolate(
                torch.from_numpy(member.maps(images, positive))[:, None],
                (size, size),
                mode="bilinear",
                align_corners=False,
            )[:, 0]
            for member in self.members
        ]
        return torch.stack(scaled).mean(0).numpy()


def open_predictor(
    plugins: Plugins,
    paths: Sequence[Path],
    *,
    point: str = "",
    checkpoint: str = "best",
    flags: Mapping[str, Any] | None = None,
    overlays: bool = False,
    prevalence: float | None = None,
) -> Predictor:
    """Take the models at some paths: run folders, groups of runs, what plugins open. Of several, the mean.

    Args:
        paths: one or more.
        point: the name of an operating point; empty: each model's own.
        checkpoint: of the run folders among them, ``best`` or ``last``.
        flags: settings that replace the runs' own, such as ``device``; None stands for not given.
        overlays: whether maps will be asked for.
        prevalence: share of class 1 that probabilities are to hold for, 0 < prevalence < 1; None: that of each
            model's own validation images.

    Raises:
        UsageError: a path leads to nothing of the kind; a plugin or package is missing; the models do not go
            together, or are one; one that is not calibrated cannot be carried over to a prevalence.
        PneumoError: a file is damaged.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    places = model_places(plugins, paths)
    request = PredictorRequest(plugins, point, checkpoint, given, overlays)
    members = [_open(plugins, path, request) for path in places]
    if len(members) > 1:
        check_distinct(zip(places, (member.weights for member in members), strict=True))
        _tell_apart(members, places)
    if prevalence is not None:
        for member, path in zip(members, places, strict=True):
            try:
                member.rule = member.rule.for_prevalence(prevalence)
            except UsageError as error:
                raise UsageError(f"{path}: {error}") from error
    return members[0] if len(members) == 1 else EnsemblePredictor(members)


def model_places(registries: Registries, paths: Sequence[Path]) -> list[Path]:
    """The single models at some paths: a group of runs is those of its parts that are finished.

    What a group lacks is a warning.

    Raises:
        UsageError: a group has no finished part or is damaged, or a model is named twice.
    """
    places: list[Path] = []
    for path in paths:
        if is_group(path):
            places += [part.path for part in finished_members(registries, GroupFolder(path))]
        else:
            places.append(path)
    seen = set()
    for place in places:
        if place.resolve() in seen:
            raise UsageError(f"{place} is named twice: a model counts once")
        seen.add(place.resolve())
    return places


def _tell_apart(members: Sequence[Predictor], places: Sequence[Path]) -> None:
    """Warn where the models did not learn on the same data."""
    known = {
        str(data): f"{place} on {bare(member.facts.get('dataset'))}"
        for member, place in zip(members, places, strict=True)
        if (data := member.facts.get("data_fingerprint"))
    }
    if len(known) > 1:
        _log.warning(
            "these models were trained on different data (%s): their mean is of unlike judges, and no validation "
            "images say how good it is",
            "; ".join(known.values()),
        )


def _synthetic(folder: RunFolder) -> bool | None:
    """Whether a run's training images were synthetic; None where its report does not say."""
    dataset = read_json(folder.report_json).get("dataset")
    found = dataset.get("synthetic") if isinstance(dataset, dict) else None
    return found if isinstance(found, bool) else None


def _open(plugins: Plugins, path: Path, request: PredictorRequest) -> Predictor:
    predictor = plugins.first("open_predictor", path=path, request=request)
    if predictor is None:
        folder = _run_folder(path)
        trained = load_trained(plugins, folder, request.checkpoint, request.flags)
        predictor = RunPredictor(trained, request.operating_point)
    if not isinstance(predictor, Predictor):
        raise PneumoError(f"{path}: a plugin returned {type(predictor).__name__}, which is no Predictor")
    if predictor.facts.get("synthetic") is None:  # not finished, so there is no report
        name = predictor.facts.get("dataset")
        known = [one for one in plugins.datasets.entries() if name in (one.spec.name, one.qualified_name)]
        if known:
            predictor.facts = {**predictor.facts, "synthetic": known[0].spec.synthetic}
    return predictor


def _run_folder(path: Path) -> RunFolder:
    """A run's folder.

    Raises:
        UsageError: it is none; where a plugin that is not here would read it, it is named.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader and path.is_file():
        raise UsageError(f"{path}: no plugin here reads it: pip install {reader}")
    return RunFolder.open(path)
