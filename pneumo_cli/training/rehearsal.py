"""The end of a run, tried before it trains: calibration, the report of a split, and its figures.

A trainer that fails there would otherwise cost the whole training, and an access to the test images. What is tried
has no effect: random generators, notes and calibration are as before. Methods that are pneumo's own are not tried,
as bootstrap and figures of a classifier take longer than some epochs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from pneumo_cli.evaluation.result import Evaluation
from pneumo_cli.runtime.accelerators import kept_generators
from pneumo_cli.training.breaches import method
from pneumo_cli.training.evaluation import calibrate, describe_evaluation

if TYPE_CHECKING:
    from pneumo_cli.evaluation.result import NamedFigure
    from pneumo_cli.runs.run import Run
    from pneumo_cli.trainers.base import Trainer

_METHODS = ("evaluate", "calibrate", "describe_evaluation", "decision_rule", "logits")
"""What the report of a split is made by; a plugin that overrides one may break the others."""


def rehearse(run: Run, trainer: Trainer, split: str, evaluation: Evaluation) -> None:
    """Calibrate, describe an evaluation and draw its figures, and keep nothing of it. Collective.

    Args:
        split: ``validation``; ``train`` of a run without validation images, which calibrates nothing.

    Raises:
        PneumoError: a method or a figure failed, or a result is not as it has to be; names trainer and method.
    """
    figures = evaluation.figures
    with _without_effect(run):
        if any(_is_plugins(trainer, name) for name in _METHODS):
            if split == "validation":
                run.calibration = calibrate(run, trainer, evaluation)
            if run.ranks.first:
                figures = describe_evaluation(run, trainer, split, evaluation).figures
        if run.ranks.first:
            for figure in figures:
                _draw(run, trainer, figure)


def _is_plugins(trainer: Trainer, name: str) -> bool:
    """Whether a method is a plugin's and not pneumo's."""
    owner = next((kind for kind in type(trainer).__mro__ if name in vars(kind)), type(trainer))
    return hasattr(trainer, name) and owner.__module__.partition(".")[0] != "pneumo_cli"


def _draw(run: Run, trainer: Trainer, figure: NamedFigure) -> None:
    from pneumo_cli.reports.figures.style import rendered

    with method(run, f"the figure {figure.name}", trainer):
        rendered(figure.draw())


@contextmanager
def _without_effect(run: Run) -> Iterator[None]:
    """Restore random generators, notes and calibration afterwards."""
    notes, calibration = list(run.notes), run.calibration
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with kept_generators(run.device.torch):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        run.notes[:], run.calibration = notes, calibration
