"""What a trained classifier says of image files: in batches, in the order of the files, one bad file at a time.

Files are read and decoded ahead in threads while the network works; only a few are held at once, so memory does not
grow with their number. What files are read is :mod:`pneumo_cli.data.paths`, how results are shown the command's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pneumo_cli.classification import ClassificationTrainer
from pneumo_cli.data.decoding import Grey, decode_image, resize
from pneumo_cli.data.paths import read_file
from pneumo_cli.data.workers import ordered_map
from pneumo_cli.decision import DecisionRule
from pneumo_cli.errors import UnreadableImage, UsageError
from pneumo_cli.evaluation.operating_points import OperatingPoint
from pneumo_cli.evaluation.saliency import GradCam
from pneumo_cli.targets import positive_logits
from pneumo_cli.trained import Trained

_BATCH = 32
_PICTURE = 1024  # longer side, in pixels, of what an overlay is drawn on


@dataclass(frozen=True)
class Prediction:
    """What is said of one file.

    Attributes:
        file: its path, as it was given or found.
        error: why nothing can be said; empty where something can. The other attributes mean nothing then.
        logit: of class 1.
        probability: of class 1, calibrated, 0 to 1.
        positive: whether it is called class 1 at the operating point.
        unlike: whether it is unlike the images that the model was trained on.
        novelty: how unlike: the score, of which the rule's threshold is the largest that is not flagged; 0 where
            the checkpoint cannot tell.
        overlay: the picture with what the decision rests on, uint8 [H, W, 3]; None where it was not asked for.
    """

    file: Path
    error: str = ""
    logit: float = 0.0
    probability: float = 0.0
    positive: bool = False
    unlike: bool = False
    novelty: float = 0.0
    overlay: NDArray[np.uint8] | None = None


class Predictor:
    """A run's classifier, ready for grey images.

    Args:
        trained: the run's model.
        point: the name of an operating point; empty: the run's own.

    Attributes:
        rule: how logits become probabilities and decisions.
        point: the operating point in use.
        size: height and width of the images that the model takes, in pixels.

    Raises:
        UsageError: the run trained no classifier, or its checkpoint has no such operating point.
        PneumoError: the checkpoint is damaged.
    """

    def __init__(self, trained: Trained, point: str = "") -> None:
        if not isinstance(trained.trainer, ClassificationTrainer):
            raise UsageError(
                f"{trained.folder.path} is a run of {trained.resolved.entry.spec.name}, which classifies no images"
            )
        self._trained = trained
        self._transform = trained.trainer.evaluation_transform(trained.entry.spec)
        self._mirrored = trained.trainer.settings.flip_test
        self.rule = DecisionRule.from_state(trained.calibration)
        self.point: OperatingPoint = self.rule.named(point) if point else self.rule.point
        self.size = trained.resolved.trainer.image_size
        self._cam: GradCam | None = None

    def inputs(self, levels: Grey) -> Tensor:
        """The network's input for uint8 [B, S, S], on its device."""
        device = self._trained.device
        images = torch.from_numpy(levels).to(device.torch)
        return self._transform(images, torch.arange(len(levels)), 0).contiguous(
            memory_format=device.memory_format
        )

    def logits(self, levels: Grey) -> NDArray[np.float64]:
        """Logits of class 1, [B], for uint8 [B, S, S]: as a run judges its own images."""
        images = self.inputs(levels)
        with torch.no_grad(), self._trained.device.autocast():
            views = [positive_logits(self._trained.model(images))]
            if self._mirrored:
                views.append(positive_logits(self._trained.model(images.flip(-1))))
        return torch.stack(views).mean(0).cpu().double().numpy()

    def maps(self, levels: Grey, positive: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Where the evidence lies for what each image was called: float32 [B, S, S], 0 to 1 (Grad-CAM).

        Args:
            positive: [B], whether it was called class 1.

        Raises:
            UsageError: the model is not convolutional.
        """
        images = self.inputs(levels)
        if self._cam is None:
            self._cam = GradCam(self._trained.model, positive_logits, images[:1])
        with self._trained.device.autocast():
            found = self._cam.maps(images, torch.from_numpy(positive.astype(np.int64)).to(images.device))
        return found.cpu().numpy()


def predict(predictor: Predictor, files: Iterable[Path], *, overlays: bool = False) -> Iterator[Prediction]:
    """Yield what is said of each file, in their order.

    Args:
        overlays: draw what each decision rests on over its picture.

    Raises:
        UsageError: overlays are wanted of a model that is not convolutional.
    """

    def load(file: Path) -> _Loaded:
        return _load(file, predictor.size, overlays)

    with closing(ordered_map(load, files)) as loaded:
        while batch := list(islice(loaded, _BATCH)):
            yield from _judged(predictor, batch, overlays)


@dataclass(frozen=True)
class _Loaded:
    """A file's image for the network [S, S], and for people; or why there is none."""

    file: Path
    error: str = ""
    levels: Grey | None = None
    picture: Grey | None = None


def _load(file: Path, size: int, pictured: bool) -> _Loaded:
    try:
        data = read_file(file)
        if not pictured:
            return _Loaded(file, levels=resize(decode_image(data, size), size))
        whole = decode_image(data, None)
        picture = Image.fromarray(whole)
        picture.thumbnail((_PICTURE, _PICTURE), Image.Resampling.BILINEAR)
        return _Loaded(file, levels=resize(whole, size), picture=np.asarray(picture))
    except UnreadableImage as error:
        return _Loaded(file, error=str(error))


def _judged(predictor: Predictor, batch: list[_Loaded], overlays: bool) -> Iterator[Prediction]:
    readable = [one.levels for one in batch if one.levels is not None]
    if not readable:
        yield from (Prediction(one.file, one.error) for one in batch)
        return
    levels = np.stack(readable)
    logits = predictor.logits(levels)
    rule = predictor.rule
    probabilities = rule.probabilities(logits)
    novelty = rule.novelty.scores(levels) if rule.novelty is not None else np.zeros(len(levels))
    threshold = rule.novelty.threshold if rule.novelty is not None else np.inf
    positive = logits >= predictor.point.cut
    maps = predictor.maps(levels, positive) if overlays else None
    place = 0
    for one in batch:
        if one.levels is None:
            yield Prediction(one.file, one.error)
            continue
        yield Prediction(
            one.file,
            logit=float(logits[place]),
            probability=float(probabilities[place]),
            positive=bool(positive[place]),
            unlike=bool(novelty[place] > threshold),
            novelty=float(novelty[place]),
            overlay=_overlay(one.picture, maps[place])
            if maps is not None and one.picture is not None
            else None,
        )
        place += 1


def _overlay(picture: Grey, saliency: NDArray[np.float32]) -> NDArray[np.uint8]:
    from pneumo_cli.reports.explanations import overlay

    return overlay(picture, saliency)
