"""What a trained classifier says of image files: in batches, in the order of the files, one bad file at a time.

Files are read and decoded ahead in threads while the network works; only a few are held at once, so memory does
not grow with their number. What files are read is :mod:`pneumo_cli.data.input_paths`, how results are shown the
command's, and what can answer for an image - a run, an exported model, several of them -
:mod:`pneumo_cli.inference.predictors`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.compat import FormerNames
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.operating_points import OperatingPoint
from pneumo_cli.evaluation.orientation import Presentation, agreed

Sized: TypeAlias = Mapping[int, NDArray[np.uint8]]
"""The same images at each size that is wanted: S to uint8 [B, S, S]."""


@dataclass(frozen=True)
class Prediction(FormerNames, former={"unlike": "out_of_distribution", "novelty": "ood_score"}):
    """What is said of one file.

    Attributes:
        file: its path, as it was given or found.
        error: why nothing can be said; empty where something can. The other attributes mean nothing then.
        logit: of class 1.
        probability: of class 1, calibrated, 0 to 1.
        positive: whether it is called class 1 at the operating point.
        out_of_distribution: whether it is unlike the images that the model was trained on.
        ood_score: how unlike: the score, of which the predictor's threshold is the largest that is not flagged; 0
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
    out_of_distribution: bool = False
    ood_score: float = 0.0
    members: tuple[float, ...] = ()
    presentation: Presentation | None = None
    other_part: str = ""
    overlay: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class BatchPrediction:
    """What a predictor says of a batch.

    Attributes:
        logits: of class 1, [B], finite. ood_scores: how unlike the training images each image is, [B].
        member_probabilities: calibrated probabilities of each averaged model, [B] each; empty where there is
        only one.
    """

    logits: NDArray[np.float64]
    ood_scores: NDArray[np.float64]
    member_probabilities: tuple[NDArray[np.float64], ...] = field(default=())


class Predictor(FormerNames, ABC, former={"judge": "predict_batch", "novelty_threshold": "ood_threshold"}):
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
    def ood_threshold(self) -> float | None:
        """The largest score that is not flagged; None where nothing can tell foreign images."""
        return self.rule.ood_detector.threshold if self.rule.ood_detector is not None else None

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

    def predict_batch(self, images: Sized) -> BatchPrediction:
        """Logits, and how unlike the training images each image is. Raises as :meth:`logits`."""
        (levels,) = (images[size] for size in self.sizes)
        detector = self.rule.ood_detector
        return BatchPrediction(
            self.logits(images), detector.scores(levels) if detector is not None else np.zeros(len(levels))
        )

    def presentations(self, images: Sized) -> list[Presentation] | None:
        """How each image lies; None where nothing can tell. Of several models, what most of them say."""
        if self.members:
            return agreed([said for one in self.members if (said := one.presentations(images)) is not None])
        (levels,) = (images[size] for size in self.sizes)
        return self.rule.presentations(levels)
