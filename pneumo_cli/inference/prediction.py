"""What is predicted for an image, and for a batch of them."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.compat import FormerNames
from pneumo_cli.data.records import Task
from pneumo_cli.evaluation.orientation import Presentation
from pneumo_cli.reports.formatting import DISCLAIMER, percent
from pneumo_cli.runtime.streams import encodable

_LARGE = 384  # pixels, of an image that is shown alone


@dataclass(frozen=True)
class Prediction(FormerNames, former={"unlike": "out_of_distribution", "novelty": "ood_score"}):
    """The prediction for one image. A notebook shows it.

    Attributes:
        file: its path, as it was given or found; of an image in memory ``image N``, the first is image 1.
        error: why the file cannot be predicted, or empty. With an error, the other attributes are meaningless.
        logit: of class 1, if there are two classes.
        probability: of class 1, calibrated, 0 to 1, if there are two classes.
        positive: whether class 1 is predicted at the operating point, if there are two classes.
        out_of_distribution: whether the image is unlike the model's training images.
        ood_score: scores above the predictor's threshold are flagged; 0 without an OOD detector.
        members: the calibrated probabilities of class 1 of an ensemble's members; empty for a single model.
        presentation: upright, upside down …; None if unknown, as of a photograph.
        other_part: the body part, other than the chest, that a DICOM file names; else empty.
        overlay: the image with its saliency map, uint8 [H, W, 3]; None if not requested.
        task: what is decided.
        probabilities: of each class, calibrated.
        predicted: names of what is predicted at the operating point: one class, or any number of labels.
        logits: of each of K classes or labels, uncalibrated; empty if there are two classes.
        member_probabilities: as ``probabilities``, of each member of an ensemble of K classes or labels.
        numbers: of a model that predicts numbers, by name.
        masks: of one that predicts masks, by name: the probability of each pixel, float32 [S, S].
        member_numbers: as ``numbers``, of each member of an ensemble.
        shape: height and width of the file's image in pixels, if overlays are requested; else empty.
        classes: their names, in the order of ``probabilities``.
        units: of a model of numbers and masks, the unit of each; of a mask empty.
        saliency: the map (Grad-CAM) of ``overlay``, float32 [S, S], 0 to 1; None if not requested.
        thumbnail: the image as the model gets it, smaller: uint8 [T, T]; None unless it is requested.
    """

    file: Path
    error: str = ""
    logit: float = 0.0
    probability: float = 0.0
    positive: bool = False
    out_of_distribution: bool = False
    ood_score: float = 0.0
    members: tuple[float, ...] = ()
    presentation: Presentation | None = None
    other_part: str = ""
    overlay: NDArray[np.uint8] | None = field(default=None, repr=False)
    task: Task = "binary"
    probabilities: tuple[float, ...] = ()
    predicted: tuple[str, ...] = ()
    logits: tuple[float, ...] = ()
    member_probabilities: tuple[tuple[float, ...], ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    masks: Mapping[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)
    member_numbers: tuple[Mapping[str, float], ...] = ()
    shape: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    saliency: NDArray[np.float32] | None = field(default=None, repr=False)
    thumbnail: NDArray[np.uint8] | None = field(default=None, repr=False)

    @property
    def areas(self) -> dict[str, float]:
        """The area of each mask, as a share of the image: the pixels with a probability of at least one half."""
        return {name: float((mask >= 0.5).mean()) for name, mask in self.masks.items()}

    @property
    def doubts(self) -> tuple[str, ...]:
        """Reasons not to trust it, each a short text; empty without one."""
        found = []
        if self.out_of_distribution:
            found.append("unlike the training images (out of distribution)")
        if self.presentation:
            found.append(f"{self.presentation.name}: {self.presentation.remedy} first")
        if self.other_part:
            found.append(f"shows {self.other_part}, no chest, as the file says")
        return tuple(found)

    def __str__(self) -> str:
        return encodable(repr(self))

    def _repr_html_(self) -> str:
        cells = "".join(f"<td>{cell}</td>" for cell in self.html_cells(_LARGE))
        return f"<table><tbody><tr>{cells}</tr></tbody></table><p>{html.escape(DISCLAIMER)}</p>"

    def html_cells(self, pixels: int = 96) -> list[str]:
        """What a notebook shows, in HTML: the image, its name, what is predicted, and the numbers or doubts.

        Args:
            pixels: the longer side of the image, at most.
        """
        shown = self.thumbnail if self.overlay is None else self.overlay
        name = html.escape(str(self.file)).replace("/", "/<wbr>")  # so that the numbers stay in sight
        if self.error:
            return ["", name, "–", html.escape(self.error)]
        values = [
            f"{one} {percent(share)}" for one, share in zip(self.classes, self.probabilities, strict=False)
        ]
        values += [
            f"{one} {value:.4g} {self.units.get(one, '')}".strip() for one, value in self.numbers.items()
        ]
        values += [f"{one} {100 * area:.1f} % of the image" for one, area in self.areas.items()]
        lines = [*values, *(f"do not trust it: {doubt}" for doubt in self.doubts)]
        return [
            "" if shown is None else picture(shown, pixels),
            name,
            html.escape(", ".join(self.predicted) or ("none" if self.classes else "")),
            "<br>".join(map(html.escape, lines)),
        ]


@dataclass(frozen=True)
class BatchPrediction:
    """The predictions for a batch.

    Attributes:
        logits: of class 1, [B], or of K classes or labels, [B, K]; finite.
        ood_scores: [B]; higher is less like the training images.
        member_probabilities: calibrated, of the logits' shape for each member of an ensemble; empty for a single
            model.
    """

    logits: NDArray[np.float64]
    ood_scores: NDArray[np.float64]
    member_probabilities: tuple[NDArray[np.float64], ...] = field(default=())


def picture(image: NDArray[np.uint8], pixels: int) -> str:
    """An image, uint8 [H, W] or [H, W, 3], as an HTML element of at most so many pixels a side."""
    small = Image.fromarray(image)
    small.thumbnail((pixels, pixels))
    data = io.BytesIO()
    small.save(data, "PNG")
    return f'<img src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}" alt="">'
