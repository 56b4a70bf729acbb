"""What a judged autoencoder looks like: its reconstructions, the way between two images, new ones.

The images are made here, while the model is at hand; the figures are drawn only where a report wants them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pneumo_cli.evaluation import NamedFigure
from pneumo_cli.runtime import derive

if TYPE_CHECKING:
    from pneumo_cli.runs import Run
    from pneumo_cli.trainers import GenerativeTrainer

_COLUMNS = 9  # as in the report's figure 44
_WAYS = 3  # pairs of images between which the way is shown
_DRAWN = 16
_LEAST_SCALE = 0.02  # grey levels of 0 to 1: below it an error map would show rounding


def summary_figures(trainer: GenerativeTrainer, run: Run, images: Tensor) -> tuple[NamedFigure, ...]:
    """Reconstructions with their errors, interpolations, and 16 new images where the model makes any.

    Args:
        images: grey levels to show, uint8 [n, S, S], n at least 1; nine of them are, evenly spread.
    """
    shown = images[np.linspace(0, len(images) - 1, _COLUMNS).astype(np.int64)]
    figures = [_reconstructions(trainer, run, shown), _interpolations(trainer, run, shown)]
    if trainer.can_sample(run.model):
        figures.append(_drawn(trainer, run))
    return tuple(figures)


def _reconstructions(trainer: GenerativeTrainer, run: Run, originals: Tensor) -> NamedFigure:
    from pneumo_cli.reports import Row, labelled_rows

    given = trainer.from_gray_levels(originals.to(run.device.torch))
    made = trainer.to_gray_levels(trainer.reconstruct(run.model, given))
    errors = (made.float() - originals.float()).abs().numpy() / 255
    # One image with a large error in a corner is not to make all others black.
    highest = max(float(np.quantile(errors, 0.999)), _LEAST_SCALE)
    rows = (
        Row("Original", originals.numpy()),
        Row("Reconstruction", made.numpy()),
        Row("Absolute difference", errors, "magma", highest),
    )
    return NamedFigure(
        "reconstructions",
        "Nine test images, what the model makes of them, and the difference of the two; black is 0 and white 1.",
        lambda: labelled_rows(rows),
        "summary",
    )


def _interpolations(trainer: GenerativeTrainer, run: Run, originals: Tensor) -> NamedFigure:
    from pneumo_cli.reports import labelled_rows

    given = trainer.from_gray_levels(originals.to(run.device.torch))
    rows = []
    for way in range(_WAYS):
        first, last = given[[way]], given[[len(given) - _WAYS + way]]
        images = trainer.to_gray_levels(trainer.interpolate(run.model, first, last, _COLUMNS))
        rows.append((f"Pair {way + 1}", images.numpy()))
    return NamedFigure(
        "interpolations",
        "From the reconstruction of one test image to that of another, in equal steps of the latent.",
        lambda: labelled_rows(rows),
        "summary",
    )


def _drawn(trainer: GenerativeTrainer, run: Run) -> NamedFigure:
    from pneumo_cli.reports import image_grid

    images = trainer.sample(run.model, derive(run.settings.seed, "shown"), np.arange(_DRAWN))
    return NamedFigure(
        "drawn",
        "Sixteen new images, decoded from random numbers.",
        lambda: image_grid(images.numpy()),
        "summary",
    )
