"""The model as it is judged, and what its trainer says of a result. When that happens:
:mod:`pneumo_cli.training.runner`, :mod:`pneumo_cli.training.reevaluation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from pneumo_cli.runtime.seeding import seed_all

if TYPE_CHECKING:
    from pneumo_cli.evaluation.result import Evaluation, RunSummary
    from pneumo_cli.runs.run import Run
    from pneumo_cli.trainers.base import Trainer


@contextmanager
def evaluation_model(run: Run) -> Iterator[None]:
    """Let ``run.model`` be what is judged, in eval mode: the average of the weights where there is one."""
    trained = run.model
    if run.average is not None:
        run.model = run.average.module
    run.model.eval()
    try:
        yield
    finally:
        run.model = trained


def describe_evaluation(run: Run, trainer: Trainer, split: str, evaluation: Evaluation) -> Evaluation:
    """Let the trainer add what only a reader wants of an evaluation."""
    seed_all(run.settings.seed, "assessment", split)
    with evaluation_model(run), torch.no_grad(), run.device.autocast():
        return trainer.describe_evaluation(run, split, evaluation)


def summarize(run: Run, trainer: Trainer, evaluations: Mapping[str, Evaluation]) -> RunSummary | None:
    """What the trainer says of the result as a whole."""
    seed_all(run.settings.seed, "judgement")  # the seed of earlier versions, so that numbers stay
    with evaluation_model(run), torch.no_grad(), run.device.autocast():
        return trainer.summarize(run, evaluations)
