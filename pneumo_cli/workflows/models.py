"""Trained models that stay loaded: ``pneumo.load(path).predict(images)``."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pneumo_cli.errors import Interrupted, UsageError
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.multi.points import MultiPoint
from pneumo_cli.evaluation.multi.rule import Rule
from pneumo_cli.evaluation.operating_points import OperatingPoint
from pneumo_cli.inference.given_images import Given, given_images
from pneumo_cli.inference.predict import BATCH, AnyPredictor
from pneumo_cli.inference.prediction import Prediction
from pneumo_cli.inference.predictor import Predictor
from pneumo_cli.inference.predictors import model_places, open_models
from pneumo_cli.inference.run_network import RunNetwork
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.runtime.home import expanded_path
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.runtime.streams import encodable, printable
from pneumo_cli.runtime.turns import kept_switches
from pneumo_cli.trainers.loading import check_checkpoint
from pneumo_cli.workflows.background import carried_out
from pneumo_cli.workflows.command_line import flag_value
from pneumo_cli.workflows.display import progress_for
from pneumo_cli.workflows.failures import one_line_errors
from pneumo_cli.workflows.installed import installed
from pneumo_cli.workflows.prediction_rows import predicted
from pneumo_cli.workflows.predictions import Outputs, Predictions

# Checked as a whole first. Others may be endless, or not fit in memory.
_LISTED = (str, list, tuple, os.PathLike, np.ndarray, torch.Tensor)


def load(
    path: str | os.PathLike[str],
    *further: str | os.PathLike[str],
    checkpoint: str = "best",
    operating_point: str | None = None,
    prevalence: float | None = None,
    device: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> Model:
    """Load a trained model, or an ensemble of several, to predict images: what ``pneumo predict`` does.

    Args:
        path: of a run, a group of runs (their ensemble), an exported bundle or an ``.onnx`` file; or the result of
            :func:`run`.
        further: models of an ensemble with it: the mean of calibrated logits, of numbers, or of masks.
        checkpoint: ``best`` or ``last``.
        operating_point: the name of the threshold to decide at; None: the model's own.
        prevalence: of class 1 of two, to adjust the probabilities to, above 0 and below 1; None: that of the
            validation images. Decisions stay.
        device, precision, threads: as the settings of these names; None: the run's own, and all cores.
        progress: False: messages, such as warnings, are not shown.

    Raises:
        UsageError: there is no model, a plugin is missing, or the models form no ensemble.
        PneumoError: a file is damaged.
    """
    with one_line_errors(), progress_for(progress):
        check_checkpoint(checkpoint)
        if prevalence is not None and not _is_share(prevalence):
            raise UsageError(
                f"prevalence is {prevalence!r}: it is a share above 0 and below 1, such as 0.05 for 5 %"
            )
        plugins, paths = installed(), [expanded_path(one) for one in (path, *further)]
        machine = {"device": device, "precision": precision, "threads": threads}
        opening = partial(
            open_models,
            plugins,
            model_places(plugins, paths),
            point=operating_point or "",
            checkpoint=checkpoint,
            flags={name: flag_value(value) for name, value in machine.items()},
            prevalence=None if prevalence is None else float(prevalence),
        )
        return carried_out(lambda: Model(plugins, paths, opening))


class Model:
    """A trained model, or an ensemble, as :func:`load` returns it. It stays loaded, for many small requests.

    May be used in several threads, which take turns. Deleting it frees the memory of its device.

    Attributes:
        task: ``binary``, ``multiclass``, ``multilabel``, or ``values``: numbers and masks.
        classes: names of the classes or labels; of numbers and masks none.
        units: the unit of each number; of a mask empty.
        numbers, masks: names of what is predicted, if it is not classes.
        size: height and width of its images, in pixels; of an ensemble of several sizes the largest.
        channels, bits: of its images: 1 and 8 (gray), 1 and 16, or 3 and 8 (red, green, blue).
        facts: what is known of it: ``run``, ``model``, ``checkpoint``, ``epoch``, ``dataset``, ``synthetic``
            (whether its training images were; None: unknown); of an ensemble ``runs``, a list of these.
        operating_point: what is decided by: its name, and its threshold on the logit; None for numbers and masks.
        operating_points: all that :meth:`decisions` knows; for numbers and masks none.
        calibration: how its probabilities were calibrated: ``temperature`` and ``bias`` of the logits (of several
            classes one each), ``images`` of validation, and the ``prevalence`` among these for which they hold.
            None: they were not.
    """

    def __init__(self, plugins: Plugins, paths: Sequence[Path], opening: Callable[..., AnyPredictor]) -> None:
        self._plugins, self._paths, self._opening = plugins, paths, opening
        predictor = opening()
        # Predictions are computed with the number of threads and the switches of precision that opening has set.
        self._prepare = kept_switches()
        self._predictor, self._explaining = predictor, predictor if _has_network(predictor) else None
        classifier = predictor if isinstance(predictor, Predictor) else None
        self.operating_point: OperatingPoint | MultiPoint | None = classifier.point if classifier else None
        self._rule: Rule | None = classifier.rule if classifier else None
        self.operating_points: Sequence[OperatingPoint | MultiPoint] = self._rule.points if self._rule else ()
        self.calibration = _calibration(self._rule) if self._rule else None
        self._outputs = Outputs(
            task=classifier.rule.task if classifier else "values",
            classes=tuple(classifier.rule.classes) if classifier else (),
            units={} if isinstance(predictor, Predictor) else dict(predictor.units),
            masks=() if isinstance(predictor, Predictor) else predictor.masks,
        )
        self.task, self.classes = self._outputs.task, self._outputs.classes
        self.units, self.numbers, self.masks = self._outputs.units, self._outputs.numbers, self._outputs.masks
        self.size, self.channels, self.bits = predictor.sizes[-1], predictor.channels, predictor.bits
        self.facts: Mapping[str, Any] = predictor.facts

    def predict(
        self, images: Any, *, maps: bool = False, bits: int | None = None, progress: bool | None = None
    ) -> Predictions:
        """Predict one image or several.

        Files are read as ``pneumo predict`` reads them: JPEG, PNG, TIFF, BMP, WebP, PGM, PPM, DICOM. What is in
        memory is taken as a file with the same content, and gets the same numbers. One exception: large JPEG files
        are decoded at reduced size, and their color as luminance, so that an array of their pixels may differ from
        the file by a gray level; give the path or the bytes for the numbers of the command.

        Args:
            images: one of these, or an iterable of them, which may be a generator:

                - a path: a file, a folder, or a glob (``scans/**/*.png``);
                - bytes: the content of a file;
                - a Pillow image of any mode but ``I``. Its orientation in EXIF is applied;
                - a NumPy array or a torch tensor on any device: [H, W] or [H, W, 1] gray, [H, W, 3] red, green and
                  blue; also [1, H, W], and of tensors [3, H, W]. Several images are [N, 1, H, W], [N, 3, H, W],
                  [N, H, W, 1] or [N, H, W, 3], or [N, H, W] if it is the only argument: three gray tensors
                  [3, H, W] are one image in color, so give [3, 1, H, W];
                - a pydicom dataset with its file meta information.

                Types of arrays: uint8, 0 black to 255 white; bool; floating point from 0 black to 1 white, before
                any normalization; uint16 in gray, see ``bits``.
            maps: add a saliency map (Grad-CAM) to each prediction: ``saliency``, float32 [S, S], and ``overlay``,
                uint8 [H, W, 3], at most 1024 pixels a side. Masks are predicted always.
            bits: the depth of values in uint16, also of Pillow's: with 12, 4095 is white. None: the smallest of 8,
                10, 12, 14 and 16 bits that holds the image's largest value, as in a file that does not state it.
                A model of 16-bit images takes the values as they are.
            progress: whether progress is shown; None: for more than 32 images, unless a generator gives them.

        Returns:
            a prediction per image. That of a file that cannot be read has ``error``; the others are predicted.
            An image's last digits may depend on how many are predicted with it.

        Raises:
            UsageError: there is no image, something is no image (with its position and type), values lie outside of
                their range, or the model has no saliency maps.
            PneumoError: the model fails.
            Interrupted: by Ctrl-C.
        """
        given: Iterable[Given] = given_images(images)
        total, found = 0, []
        try:
            with one_line_errors(), progress_for(progress) as shown:
                if isinstance(images, _LISTED):
                    given = list(given)
                    total = len(given)
                stages = shown.progress if total > BATCH or progress else Progress()
                predictions = self._predicted(given, maps, bits)
                with stages.stage("predicting", total) as advance, closing(predictions):
                    for prediction in predictions:
                        found.append(prediction)
                        advance(1)
        except (KeyboardInterrupt, Interrupted):
            raise Interrupted(f"interrupted after {len(found)} predictions", 128 + signal.SIGINT) from None
        return Predictions(found, self._outputs)

    def iterate(self, images: Any, *, maps: bool = False, bits: int | None = None) -> Iterator[Prediction]:
        """Yield the predictions one by one, for more images than fit in memory. Computed in batches of 32.

        Arguments and errors as for :meth:`predict`; errors are raised when their image comes.
        """
        with one_line_errors():
            predictions = self._predicted(given_images(images), maps, bits)
        with closing(predictions):
            while True:
                with one_line_errors():  # not around the yield, which raises what ends this generator
                    prediction = next(predictions, None)
                if prediction is None:
                    return
                yield prediction

    def decisions(self, prediction: Prediction) -> dict[str, tuple[str, ...]]:
        """What is predicted for an image at each operating point, by the point's name; of numbers and masks empty.

        Args:
            prediction: of this model, without ``error``.
        """
        if self._rule is None:
            return {}
        logits = np.array([prediction.logits or prediction.logit])
        found = {}
        for point in self._rule.points:
            decided = self._rule.at(point.name).decide(logits)[0]
            chosen = np.flatnonzero(decided) if self.task == "multilabel" else [decided]
            found[point.name] = tuple(self.classes[int(place)] for place in chosen)
        return found

    def threshold(self, point: OperatingPoint | MultiPoint) -> float | None:
        """The calibrated probability from which class 1 of two is predicted at a point; None for other tasks."""
        if isinstance(self._rule, DecisionRule) and isinstance(point, OperatingPoint):
            return self._rule.probability_at(point)
        return None

    def _predicted(
        self, given: Iterable[Given], maps: bool, bits: int | None
    ) -> Generator[Prediction, None, None]:
        if bits is not None and bits not in range(1, 17):
            raise UsageError(f"bits is {bits!r}: the depth of values in uint16, such as 12, is at most 16")
        predictor = carried_out(self._with_maps) if maps else self._predictor
        return predicted(
            self._plugins,
            self._paths,
            predictor,
            given,
            overlays=maps,
            thumbnails=True,
            depth=bits,
            carry_out=self._carry_out,
        )

    def _with_maps(self) -> AnyPredictor:
        """The predictor for saliency maps: that of an exported model is its network, not its graph."""
        if self._explaining is None:
            self._explaining = self._opening(overlays=True)
        return self._explaining

    def _carry_out(self, work: Callable[[], Any]) -> Any:
        def prepared() -> Any:
            self._prepare()
            return work()

        return carried_out(prepared)

    def __repr__(self) -> str:
        what = ", ".join(self.classes or self.units)
        paths = ", ".join(map(str, self._paths))
        return encodable(printable(f"Model({paths}: {what}; {self.size} x {self.size} pixels)"))


def _calibration(rule: Rule) -> Mapping[str, Any] | None:
    if not rule.is_calibrated:
        return None
    return {**rule.calibration.plain(), "images": rule.images, "prevalence": rule.assumed or rule.prevalence}


def _is_share(value: Any) -> bool:
    return isinstance(value, Real) and 0 < float(value) < 1


def _has_network(predictor: AnyPredictor) -> bool:
    return all(isinstance(one, RunNetwork) for one in predictor.members or (predictor,))
