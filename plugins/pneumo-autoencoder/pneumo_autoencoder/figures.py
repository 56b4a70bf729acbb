"""Figures of an evaluated autoencoder: reconstructions, interpolations, samples.

The images are computed here, while the model is loaded; a figure is drawn only where a report needs it.
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
_PAIRS = 3  # of images to interpolate between
_SAMPLES = 16
_MIN_SCALE = 0.02  # of an error map, in gray levels from 0 to 1: below it the map would show rounding


def summary_figures(
    trainer: GenerativeTrainer, run: Run, images: Tensor, split: str, verdict: str = ""
) -> tuple[NamedFigure, ...]:
    """Reconstructions with their errors, interpolations, and 16 samples if the model can generate any.

    Args:
        images: gray levels, uint8 [n, S, S], n at least 1; nine of them, evenly spaced, are shown.
        split: which the images are from.
        verdict: on the reconstructions, for those who do not see them.
    """
    shown = images[np.linspace(0, len(images) - 1, _COLUMNS).astype(np.int64)]
    figures = [
        _reconstructions(trainer, run, shown, split, verdict),
        _interpolations(trainer, run, shown, split),
    ]
    if trainer.can_sample(run.model):
        figures.append(_samples(trainer, run))
    return tuple(figures)


def _reconstructions(
    trainer: GenerativeTrainer, run: Run, originals: Tensor, split: str, verdict: str
) -> NamedFigure:
    from pneumo_cli.reports import Row, labelled_rows

    inputs = trainer.from_gray_levels(originals.to(run.device.torch))
    outputs = trainer.to_gray_levels(trainer.reconstruct(run.model, inputs))
    errors = (outputs.float() - originals.float()).abs().numpy() / 255
    # A quantile and not the maximum: one large error in a corner would turn all maps black.
    highest = max(float(np.quantile(errors, 0.999)), _MIN_SCALE)
    rows = (
        Row("Original", originals.numpy()),
        Row("Reconstruction", outputs.numpy()),
        Row("Absolute difference", errors, "magma", highest),
    )
    return NamedFigure(
        "reconstructions",
        f"Nine {split} images above their reconstructions. Last row: the absolute difference of gray levels (0 "
        "black, 1 white), in the colors of the bar.",
        lambda: labelled_rows(rows),
        "opening",
        f"Nine {split} images above their reconstructions and the absolute difference. {verdict}".strip(),
    )


def _interpolations(trainer: GenerativeTrainer, run: Run, originals: Tensor, split: str) -> NamedFigure:
    from pneumo_cli.reports import labelled_rows

    inputs = trainer.from_gray_levels(originals.to(run.device.torch))
    rows = []
    for pair in range(_PAIRS):
        first, last = inputs[[pair]], inputs[[len(inputs) - _PAIRS + pair]]
        images = trainer.to_gray_levels(trainer.interpolate(run.model, first, last, _COLUMNS))
        rows.append((f"Pair {pair + 1}", images.numpy()))
    return NamedFigure(
        "interpolations",
        f"From the reconstruction of one {split} image to that of another, in equal steps of the latent.",
        lambda: labelled_rows(rows),
        "summary",
    )


def _samples(trainer: GenerativeTrainer, run: Run) -> NamedFigure:
    from pneumo_cli.reports import image_grid

    images = trainer.sample(run.model, derive(run.settings.seed, "shown"), np.arange(_SAMPLES))
    return NamedFigure(
        "drawn",
        "Sixteen generated images, decoded from random latents.",
        lambda: image_grid(images.numpy()),
        "summary",
    )
