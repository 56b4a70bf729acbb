"""What a trained classifier says of image files: in batches, in the order of the files, one bad file at a time.

Files are read and decoded ahead in threads while the network works; only a few are held at once, so memory does
not grow with their number. What files are read is :mod:`pneumo_cli.data.input_paths`, how results are shown the
command's, and what can answer for an image - a run, an exported model, several of them -
:mod:`pneumo_cli.inference.predictors`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.data.decoding import Grey, decode_image, resize
from pneumo_cli.data.dicom import other_part
from pneumo_cli.data.input_paths import read_file
from pneumo_cli.errors import UnreadableImage
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.operating_points import OperatingPoint
from pneumo_cli.evaluation.orientation import Presentation, agreed
from pneumo_cli.runtime.threads import ordered_map

_BATCH = 32
_PICTURE = 1024  # longer side, in pixels, of what an overlay is drawn on

Sized: TypeAlias = Mapping[int, NDArray[np.uint8]]
"""The same images at each size that is wanted: S to uint8 [B, S, S]."""


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
        novelty: how unlike: the score, of which the predictor's threshold is the largest that is not flagged; 0
            where nothing can tell.
        members: the calibrated probabilities of the models that were averaged; empty where there is only one.
        presentation: how it lies: upright, upside down …; None where nothing can tell, as of a photograph.
        other_part: the part of the body, none of the chest, that a DICOM file says it shows; empty where it says
            nothing of the kind.
        overlay: the picture with what the decision rests on, uint8 [H, W, 3]; None where it was not asked for.
    """

    file: Path
    error: str = ""
    logit: float = 0.0
    probability: float = 0.0
    positive: bool = False
    unlike: bool = False
    novelty: float = 0.0
    members: tuple[float, ...] = ()
    presentation: Presentation | None = None
    other_part: str = ""
    overlay: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Judged:
    """What a predictor says of a batch.

    Attributes:
        logits: of class 1, [B], finite.
        novelty: how unlike the training images each image is, [B].
        members: calibrated probabilities of each averaged model, [B] each; empty where there is only one.
    """

    logits: NDArray[np.float64]
    novelty: NDArray[np.float64]
    members: tuple[NDArray[np.float64], ...] = field(default=())


class Predictor(ABC):
    """Whatever answers for grey images.

    Attributes:
        rule: how logits become probabilities and decisions.
        point: the operating point in use.
        sizes: heights (and widths) of the images that it takes, in pixels; several where models of several sizes
            are averaged.
        facts: what it is, as JSON can hold it: ``run``, ``model``, ``checkpoint``, ``epoch``, ``dataset``,
            ``synthetic`` (whether its training images were drawn; None: not known) and ``data_fingerprint``.
        members: the predictors that are averaged; empty where it is one alone.
    """

    rule: DecisionRule
    point: OperatingPoint
    sizes: tuple[int, ...]
    facts: Mapping[str, Any]
    members: tuple[Predictor, ...] = ()

    @property
    def novelty_threshold(self) -> float | None:
        """The largest score that is not flagged; None where nothing can tell foreign images."""
        return self.rule.novelty.threshold if self.rule.novelty is not None else None

    @property
    def weights(self) -> str:
        """A digest of its weights, the same for a run and what was exported from it; empty: not known."""
        return ""

    @property
    def count(self) -> int:
        """How many models answer."""
        return 1

    @abstractmethod
    def logits(self, images: Sized) -> NDArray[np.float64]:
        """Logits of class 1, [B].

        Raises:
            PneumoError: the model gives no finite number.
        """

    @abstractmethod
    def maps(self, images: Sized, positive: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Where the evidence lies for what each image was called: float32 [B, S, S], 0 to 1.

        Args:
            positive: [B], whether it was called class 1.

        Raises:
            UsageError: the model cannot tell.
        """

    def judge(self, images: Sized) -> Judged:
        """Logits, and how unlike the training images each image is. Raises as :meth:`logits`."""
        (levels,) = (images[size] for size in self.sizes)
        novelty = self.rule.novelty
        return Judged(
            self.logits(images), novelty.scores(levels) if novelty is not None else np.zeros(len(levels))
        )

    def presentations(self, images: Sized) -> list[Presentation] | None:
        """How each image lies; None where nothing can tell. Of several models, what most of them say."""
        if self.members:
            return agreed([said for one in self.members if (said := one.presentations(images)) is not None])
        (levels,) = (images[size] for size in self.sizes)
        return self.rule.presentations(levels)


def predict(predictor: Predictor, files: Iterable[Path], *, overlays: bool = False) -> Iterator[Prediction]:
    """Yield what is said of each file, in their order.

    Args:
        overlays: draw what each decision rests on over its picture.

    Raises:
        UsageError: overlays are wanted of a model that cannot tell what its decisions rest on.
    """

    def load(file: Path) -> _Loaded:
        return _load(file, predictor.sizes, overlays)

    with closing(ordered_map(load, files)) as loaded:
        while batch := list(islice(loaded, _BATCH)):
            yield from _judged(predictor, batch, overlays)


@dataclass(frozen=True)
class _Loaded:
    """A file's image for the network, [S, S] by S, and for people; or why there is none."""

    file: Path
    error: str = ""
    levels: Mapping[int, Grey] = field(default_factory=dict)
    other_part: str = ""
    picture: Grey | None = None


def _load(file: Path, sizes: tuple[int, ...], pictured: bool) -> _Loaded:
    try:
        data = read_file(file)
        part = other_part(data)
        if not pictured:
            # Each size from the file itself, so that a model among several sees what it sees alone.
            return _Loaded(file, "", {s: resize(decode_image(data, s), s) for s in sizes}, part)
        whole = decode_image(data, None)
        picture = Image.fromarray(whole)
        picture.thumbnail((_PICTURE, _PICTURE), Image.Resampling.BILINEAR)
        return _Loaded(file, "", {s: resize(whole, s) for s in sizes}, part, np.asarray(picture))
    except UnreadableImage as error:
        return _Loaded(file, error=str(error))


def _judged(predictor: Predictor, batch: list[_Loaded], overlays: bool) -> Iterator[Prediction]:
    readable = [one.levels for one in batch if not one.error]
    if not readable:
        yield from (Prediction(one.file, one.error) for one in batch)
        return
    images = {size: np.stack([levels[size] for levels in readable]) for size in predictor.sizes}
    judged = predictor.judge(images)
    nothing = [None] * len(judged.logits)
    presentations: Sequence[Presentation | None] = predictor.presentations(images) or nothing
    probabilities = predictor.rule.probabilities(judged.logits)
    threshold = predictor.novelty_threshold
    unlike = judged.novelty > (math.inf if threshold is None else threshold)
    positive = judged.logits >= predictor.point.cut
    maps = predictor.maps(images, positive) if overlays else None
    place = 0
    for one in batch:
        if one.error:
            yield Prediction(one.file, one.error)
            continue
        yield Prediction(
            one.file,
            logit=float(judged.logits[place]),
            probability=float(probabilities[place]),
            positive=bool(positive[place]),
            unlike=bool(unlike[place]),
            novelty=float(judged.novelty[place]),
            members=tuple(float(member[place]) for member in judged.members),
            other_part=one.other_part,
            # Nobody knows which way a foreign image is up.
            presentation=said if (said := presentations[place]) or not unlike[place] else None,
            overlay=_overlay(one.picture, maps[place])
            if maps is not None and one.picture is not None
            else None,
        )
        place += 1


def _overlay(picture: Grey, saliency: NDArray[np.float32]) -> NDArray[np.uint8]:
    from pneumo_cli.reports.figures.saliency import overlay

    return overlay(picture, saliency)
