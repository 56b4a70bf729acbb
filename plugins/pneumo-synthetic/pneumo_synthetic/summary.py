"""Computing the run summary of a checkpoint again, and keeping it with the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.result import RunSummary
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.run import Best
from pneumo_cli.runs.test_access import record_test_access
from pneumo_cli.training.evaluation import summarize
from pneumo_cli.training.reevaluation import load_checkpoint
from pneumo_cli.training.runner import Runner


def resummarize(runner: Runner, folder: RunFolder, checkpoint: str) -> RunSummary:
    """Summarize a checkpoint on the run's own data.

    Args:
        runner: of the run's settings, not started.
        checkpoint: ``best`` or ``last``.

    Raises:
        UsageError: there is nothing to summarize, or the data have changed.
    """
    run = runner.run
    trained_on = load_checkpoint(runner, folder, checkpoint)
    run.best = Best(run.epoch)
    if trained_on != run.data.fingerprint:
        raise UsageError(
            "these are not the data that the run was trained on: near-duplicates of training images cannot be found"
        )
    nothing = UsageError(f"there is nothing to evaluate of {folder.path}: its model generates no new images")
    if not runner.trainer.can_summarize(run):
        raise nothing
    if run.settings.evaluate_test and len(run.data.split.test):
        record_test_access(run, checkpoint, by="evaluate-images")
    summary = summarize(run, runner.trainer, {})
    if summary is None:
        raise nothing
    return summary


def keep_summary(
    folder: RunFolder, checkpoint: str, summary: RunSummary, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a summary into the folder ``evaluations`` of its run, and return the written content.

    Raises:
        UsageError: it has no metrics, for the reason in its first note. Nothing is written then.
        PneumoError: the folder cannot be written.
    """
    if not summary.metrics:
        raise UsageError(next(iter(summary.notes), f"there is nothing to evaluate of {folder.path}"))
    content = {"checkpoint": checkpoint, **facts, **summary.content()}
    return folder.add_evaluation(f"{checkpoint}-summary", content)
