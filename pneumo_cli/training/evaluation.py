"""Evaluation of a run's model, and what trainer and plugins add to the report of it.

When each of these happens: :mod:`pneumo_cli.training.runner`, :mod:`pneumo_cli.training.reevaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from pneumo_cli.errors import EXITS, Interrupted, PneumoError
from pneumo_cli.evaluation.result import Evaluation, ReportSection, RunSummary
from pneumo_cli.runtime.seeding import seed_all
from pneumo_cli.trainers.model_summary import recorded_layers
from pneumo_cli.training.breaches import Breach, method, trainer_of
from pneumo_cli.training.contract import (
    checked_calibration,
    checked_epoch_images,
    checked_evaluation,
    checked_section,
    checked_summary,
)

if TYPE_CHECKING:
    from pneumo_cli.data.loader import Loader
    from pneumo_cli.plugins.run_hooks import RunHooks
    from pneumo_cli.runs.run import Run
    from pneumo_cli.trainers.base import Trainer

T = TypeVar("T")


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
        PneumoError: the result is not as :class:`Evaluation` documents it.
    """
    seed_all(run.settings.seed, "evaluation", split, len(run.history))
    with evaluating(run), method(run, "evaluate"):
        evaluation = hooks.tasks.evaluate(run=run, loader=loader)
        return checked_evaluation(evaluation, run.data.split.parts()[split])


def calibrate(run: Run, trainer: Trainer, validation: Evaluation) -> dict[str, Any]:
    """What the trainer fits on the validation images, for the checkpoint and ``run.calibration``."""
    seed_all(run.settings.seed, "calibration")
    with method(run, "calibrate", trainer):
        return checked_calibration(trainer.calibrate(run, validation))


def describe_evaluation(run: Run, trainer: Trainer, split: str, evaluation: Evaluation) -> Evaluation:
    """Let the trainer add what only the report of an evaluation shows."""
    seed_all(run.settings.seed, "assessment", split)
    with evaluating(run), method(run, "describe_evaluation", trainer):
        return checked_evaluation(trainer.describe_evaluation(run, split, evaluation))


def save_epoch_images(run: Run, trainer: Trainer) -> None:
    """Save the images that the trainer shows of the last epoch of the history, if any."""
    with evaluating(run), method(run, "epoch_images", trainer):
        images = checked_epoch_images(trainer.epoch_images(run))
    if images is not None and run.ranks.first:
        from pneumo_cli.reports.figures.animation import write_grid

        write_grid(images.cpu(), run.folder.epoch_images(len(run.history) - 1))


def summarize(run: Run, trainer: Trainer, evaluations: Mapping[str, Evaluation]) -> RunSummary | None:
    """Return the trainer's summary of the whole run, if it has one."""
    seed_all(run.settings.seed, "judgement")  # the seed of earlier versions, so that numbers stay the same
    with evaluating(run), method(run, "summarize", trainer):
        return checked_summary(trainer.summarize(run, evaluations))


def report_run(
    run: Run,
    trainer: Trainer,
    hooks: RunHooks,
    evaluations: Mapping[str, Evaluation],
    sample_loaders: Mapping[str, Loader],
    command: Sequence[str],
) -> dict[str, Any]:
    """Write the report of a run, with what its trainer and the plugins add, and return its content.

    What fails on the way is noted in the report, which holds the metrics whatever happens.
    """
    from pneumo_cli.reports.run_report import write_report

    described = {}
    for split, evaluation in evaluations.items():
        described[split] = or_noted(
            run,
            partial(describe_evaluation, run, trainer, split, evaluation),
            evaluation,
            f"what the report adds to the {split} results",
        )
    summary: RunSummary | None = None
    sections: list[tuple[str, ReportSection]] = []
    if run.machine.report:
        summary = or_noted(run, partial(summarize, run, trainer, described), None, "the summary of the run")
        sections = _sections(run, hooks, described)
    return write_report(
        run,
        described,
        command=command,
        sample_loaders=sample_loaders,
        layers=recorded_layers(run),
        summary=summary,
        sections=sections,
        next_steps=or_noted(run, partial(_next_steps, run, trainer, summary), [], "the next steps"),
    )


def _next_steps(run: Run, trainer: Trainer, summary: RunSummary | None) -> list[str]:
    """The commands that help next, as far as the trainer's models can be used."""
    from pneumo_cli.reports.next_steps import next_steps

    return next_steps(
        run,
        predicts=trainer.as_classifier() is not None or trainer.as_predictor() is not None,
        generates=trainer.as_generator() is not None,
        epochs=summary.epochs if summary else 0,
        failed=bool(summary and summary.warnings),
    )


def _sections(
    run: Run, hooks: RunHooks, evaluations: Mapping[str, Evaluation]
) -> list[tuple[str, ReportSection]]:
    """The sections that plugins add; one that is not as it has to be is left out."""
    seed_all(run.settings.seed, "report")
    with evaluating(run):
        added: list[tuple[str, ReportSection]] = or_noted(
            run, partial(hooks.report_sections, run, evaluations), [], f"a section of {trainer_of(run)}"
        )
    sections = []
    for plugin, section in added:
        what = f"a section of the plugin {plugin} (add_to_report)"
        checked = or_noted(run, partial(checked_section, section), None, what)
        if checked is not None:
            sections.append((plugin, checked))
    return sections


def or_noted(run: Run, make: Callable[[], T], otherwise: T, what: str) -> T:
    """What a function makes; if it fails, a note that the report lacks it, and something in its place."""
    try:
        return make()
    except Interrupted:
        raise
    except (Exception, *EXITS) as error:
        text = " ".join(str(error).split())
        kind = "" if isinstance(error, PneumoError | Breach) else f"{type(error).__name__}: "
        run.note(f"{what} is missing: {kind}{text}")
        return otherwise
