"""Predictors of runs: classifiers, and models of numbers and masks. They need torch, others do not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.grad_cam import GradCam
from pneumo_cli.evaluation.multi.rule import rule_from_state
from pneumo_cli.inference.predictor import Predictor, Sized
from pneumo_cli.inference.run_network import RunNetwork, run_facts
from pneumo_cli.inference.values import ValuePredictor, Values
from pneumo_cli.runs.record import recorded_facts, recorded_images, recorded_task
from pneumo_cli.runtime.plugin_errors import plugin_errors
from pneumo_cli.trainers.loading import Trained
from pneumo_cli.trainers.targets import class_scores, positive_logits


class RunPredictor(RunNetwork, Predictor):
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
                f"{trained.folder.path} is a run of {trained.resolved.entry.spec.name}, which classifies no images "
                "and predicts no numbers or masks"
            )
        self.trained = trained
        facts = recorded_facts(trained.folder.settings)
        task, classes = recorded_task(facts)
        # A third party's classifier of version 0.2 has no such method: its outputs are those of two classes.
        self.to_logits: Callable[[Tensor], Tensor] = getattr(classifier, "logits", positive_logits)
        self.transform = classifier.evaluation_transform(trained.entry.spec)
        self.flip_tta = classifier.flip_tta
        if point and not trained.calibration:
            raise UsageError(
                f"the checkpoint {trained.checkpoint} of {trained.folder.path} has no fitted operating points: "
                "they are fitted for best at the end of a run, on validation images; leave out --operating-point"
            )
        self.rule = rule_from_state(trained.calibration, classes, task)
        self.point = self.rule.named(point) if point else self.rule.point
        self.size = trained.resolved.trainer.image_size
        self.sizes = (self.size,)
        self.channels, self.bits = recorded_images(facts)
        self.facts = run_facts(trained)
        self._cam: GradCam | None = None

    def logits(self, images: Sized) -> NDArray[np.float64]:
        """Logits, [B] or [B, K], as in the run's own evaluation."""
        inputs = self.inputs(images)
        with torch.no_grad(), self.trained.device.autocast():
            views = [self.to_logits(self.trained.model(inputs))]
            if self.flip_tta:
                views.append(self.to_logits(self.trained.model(inputs.flip(-1))))
        logits: NDArray[np.float64] = torch.stack(views).mean(0).cpu().double().numpy()
        if not np.isfinite(logits).all():
            raise PneumoError(f"the model of {self.trained.folder.path} gives no finite logits")
        return logits

    def maps(self, images: Sized, positive: NDArray[np.bool_ | np.int64]) -> NDArray[np.float32]:
        """Grad-CAM. Raises UsageError if the model is not convolutional."""
        inputs = self.inputs(images)
        if self._cam is None:
            task = self.rule.task
            scores = self.to_logits if task == "binary" else partial(class_scores, task=task)
            self._cam = GradCam(self.trained.model, scores, inputs[:1])
        with self.trained.device.autocast():
            maps = self._cam.maps(inputs, torch.from_numpy(positive.astype(np.int64)).to(inputs.device))
        return maps.cpu().numpy()


class RunValuePredictor(RunNetwork, ValuePredictor):
    """A run's model that predicts numbers or masks.

    Raises:
        UsageError: the run's model predicts none.
        PneumoError: its trainer's predictions are no numbers and masks.
    """

    def __init__(self, trained: Trained) -> None:
        predictor = trained.trainer.as_predictor()
        if predictor is None:
            raise UsageError(
                f"{trained.folder.path} is a run of {trained.resolved.entry.spec.name}, which predicts nothing of "
                "images"
            )
        self.trained = trained
        self.who = f"{trained.folder.path} ({trained.resolved.entry.provenance})"
        self.to_values: Callable[[Any], Mapping[str, Tensor]] = predictor.predictions
        self.units = dict(predictor.units)
        if not self.units or not all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in self.units):
            raise PneumoError(
                f"{self.who}: the names of predictions are lower-case identifiers, not {[*self.units]}"
            )
        with plugin_errors(f"{self.who}: its evaluation_transform", passing=(PneumoError,)):
            self.transform = predictor.evaluation_transform(trained.entry.spec)
        self.size = trained.resolved.trainer.image_size
        self.sizes = (self.size,)
        self.channels, self.bits = recorded_images(recorded_facts(trained.folder.settings))
        self.facts = run_facts(trained)
        blank = (1, self.size, self.size) if self.channels == 1 else (1, self.channels, self.size, self.size)
        probe = self.values({self.size: np.zeros(blank, np.uint8 if self.bits == 8 else np.uint16)})
        self.masks = tuple(name for name, values in probe.items() if values.ndim == 3)
        self._cam: GradCam | None = None

    def predictions(self, outputs: Any, images: int) -> Mapping[str, Tensor]:
        """The trainer's predictions of a batch, checked; raises PneumoError."""
        with plugin_errors(f"{self.who}: predictions of its outputs", passing=(PneumoError,)):
            found = self.to_values(outputs)
        shapes = ((images,), (images, self.size, self.size))
        if set(found) != set(self.units) or any(tuple(one.shape) not in shapes for one in found.values()):
            got = ", ".join(f"{name} {list(one.shape)}" for name, one in found.items())
            raise PneumoError(
                f"{self.who}: predictions are {got or 'nothing'} for {images} images, and not "
                f"{', '.join(self.units)}, each {list(shapes[0])} (a number) or {list(shapes[1])} (a mask)"
            )
        return {name: found[name] for name in self.units}

    def values(self, images: Sized) -> Values:
        """As in the run's own evaluation."""
        inputs = self.inputs(images)
        with torch.no_grad(), self.trained.device.autocast():
            found = self.predictions(self.trained.model(inputs), len(inputs))
        values = {name: one.detach().cpu().double().numpy() for name, one in found.items()}
        for name, one in values.items():
            if not np.isfinite(one).all():
                raise PneumoError(f"{self.who}: the predicted {name} is not finite")
        return values

    def maps(self, images: Sized) -> NDArray[np.float32]:
        """Grad-CAM of the number."""
        if len(self.units) != 1 or self.masks:
            raise UsageError(
                f"{self.trained.folder.path} predicts {', '.join(self.units)}: saliency maps are of one number"
            )
        inputs = self.inputs(images)
        if self._cam is None:
            self._cam = GradCam(self.trained.model, partial(_number, self.to_values), inputs[:1])
        with self.trained.device.autocast():
            upwards = torch.ones(len(inputs), dtype=torch.int64, device=inputs.device)
            return self._cam.maps(inputs, upwards).cpu().numpy()


def run_predictor(trained: Trained, point: str = "") -> RunPredictor | RunValuePredictor:
    """The predictor of a run's model: a classifier, or else one of numbers and masks.

    Args:
        point: the name of a classifier's operating point; empty: the run's own.

    Raises:
        UsageError, PneumoError: as :class:`RunPredictor` and :class:`RunValuePredictor`.
    """
    if trained.trainer.as_classifier() is None and trained.trainer.as_predictor() is not None:
        return RunValuePredictor(trained)
    return RunPredictor(trained, point)


def _number(to_values: Callable[[Any], Mapping[str, Tensor]], outputs: Any) -> Tensor:
    (number,) = to_values(outputs).values()
    return number
