"""Evaluation of a run's model, and what trainer and plugins add to the report of it.

When each of these happens: :mod:`pneumo_cli.training.runner`, :mod:`pneumo_cli.training.reevaluation`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.result import Evaluation, RunSummary
from pneumo_cli.runtime.seeding import seed_all

if TYPE_CHECKING:
    from pneumo_cli.data.loader import Loader
    from pneumo_cli.plugins.run_hooks import RunHooks
    from pneumo_cli.runs.run import Run
    from pneumo_cli.trainers.base import Trainer


@contextmanager
def evaluating(run: Run) -> Iterator[None]:
    """Make ``run.model`` the evaluation model (averaged, if the run averages), in eval mode, without gradients."""
    trained = run.model
    if run.average is not None:
        run.model = run.average.module
    run.model.eval()
    try:
        with torch.no_grad(), run.device.autocast():
            yield
    finally:
        run.model = trained


def evaluate_split(run: Run, hooks: RunHooks, split: str, loader: Loader) -> Evaluation:
    """Evaluate the batches of one split with the task hook.

    Raises:
        PneumoError: a metric is NaN or infinite, or the hook returned no Evaluation.
    """
    seed_all(run.settings.seed, "evaluation", split, len(run.history))
    with evaluating(run):
        evaluation = hooks.tasks.evaluate(run=run, loader=loader)
    if not isinstance(evaluation, Evaluation):
        raise PneumoError(f"evaluate returned {type(evaluation).__name__}, not an Evaluation")
    for metric, value in evaluation.metrics.items():
        if not math.isfinite(value):
            raise PneumoError(f"{split} {metric} is {value} after epoch {run.epoch}: the run has diverged")
    return evaluation


def describe_evaluation(run: Run, trainer: Trainer, split: str, evaluation: Evaluation) -> Evaluation:
    """Let the trainer add what only the report of an evaluation shows."""
    seed_all(run.settings.seed, "assessment", split)
    with evaluating(run):
        return trainer.describe_evaluation(run, split, evaluation)


def summarize(run: Run, trainer: Trainer, evaluations: Mapping[str, Evaluation]) -> RunSummary | None:
    """Return the trainer's summary of the whole run, if it has one."""
    seed_all(run.settings.seed, "judgement")  # the seed of earlier versions, so that numbers stay the same
    with evaluating(run):
        return trainer.summarize(run, evaluations)


def report_run(
    run: Run,
    trainer: Trainer,
    hooks: RunHooks,
    evaluations: Mapping[str, Evaluation],
    sample_loaders: Mapping[str, Loader],
    command: Sequence[str],
) -> dict[str, Any]:
    """Write the report of a run, with what its trainer and the plugins add, and return its content."""
    from pneumo_cli.reports.run_report import write_report

    described = {
        split: describe_evaluation(run, trainer, split, evaluation)
        for split, evaluation in evaluations.items()
    }
    summary = summarize(run, trainer, described)
    seed_all(run.settings.seed, "report")
    with evaluating(run):
        sections = hooks.report_sections(run, described)
    return write_report(
        run, described, command=command, sample_loaders=sample_loaders, summary=summary, sections=sections
    )
