"""The functions ``pneumo_cli.sweep`` and ``pneumo_cli.resume_sweep``: what the command does, in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pneumo_cli.runtime import terminal
from pneumo_cli.runtime.home import StrPath, expanded_path
from pneumo_cli.settings.field_types import to_text
from pneumo_cli.workflows.background import carried_out, stoppable
from pneumo_cli.workflows.caller import Caller
from pneumo_cli.workflows.command_line import command_line
from pneumo_cli.workflows.display import Shown, progress_for
from pneumo_cli.workflows.failures import one_line_errors
from pneumo_cli.workflows.installed import installed
from pneumo_sweep.reading import pairs
from pneumo_sweep.result import SweepResult
from pneumo_sweep.sweep import Hands, Request, start
from pneumo_sweep.sweep import resume as go_on


def sweep(
    trainer: str,
    *,
    set: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the flag
    search: Mapping[str, Any] | None = None,
    trials: int | None = None,
    sampler: str = "quasi-random",
    metric: str | None = None,
    prune: str | None = None,
    with_seeds: int = 0,
    workers: int = 1,
    storage: str | None = None,
    reports: bool = False,
    preset: str | None = None,
    config: StrPath | None = None,
    extensions: str | Sequence[str] = (),
    progress: bool | None = None,
    **settings: Any,
) -> SweepResult:
    """Train with many settings, and choose the best on the validation images: what ``pneumo sweep TRAINER`` does.

    Each trial is an ordinary run, with the numbers that :func:`pneumo_cli.run` gives with these settings. The test
    images are opened once, for the winner; not with ``evaluate_test=False``. Trials that fail are in the result
    (``failures``).

    Args:
        trainer: a registered name.
        set: values to try by setting, ``{"lr": [0.1, 0.01]}``; of several settings all combinations.
        search: ranges and lists to draw from: ``{"lr": "log:1e-4..1e-1", "dropout": "0.1..0.5", "batch_size": [16,
            32]}``.
        trials: draws from ``search``, each tried with all combinations of ``set``; None: 20.
        sampler: ``quasi-random``: a trial's settings depend on ``seed`` and its number alone; ``tpe``: Optuna's,
            which also depends on what was finished before.
        metric: the validation metric by which trials are compared; None: the one that selects the best checkpoint.
        prune: ``median`` or ``hyperband``: stop trials early that are behind others; which ones depends on who was
            ahead at the time.
        with_seeds: further seeds with which the best two settings are trained, to tell a lead from chance; 0: none.
        workers: processes; several do not have what only this process registered.
        storage: the URL of a database that workers share; None: SQLite in the sweep's folder.
        reports: whether all trials have report pages.
        preset, config, extensions, progress, settings: as of :func:`pneumo_cli.run`, for all trials.

    Raises:
        UsageError: the request cannot be met; nothing is written.
        PneumoError: no trial has a result, or the disk or the database cannot be used.
        Interrupted: by Ctrl-C; everything is saved, and :func:`resume_sweep` goes on.
    """
    parts = [extensions] if isinstance(extensions, str) else list(extensions)
    shared = {**settings, "with": parts or None}
    with one_line_errors(), progress_for(progress) as display:
        where = None if config is None else expanded_path(config)
        plugins = installed()
        entry = plugins.trainers.get(trainer)
        shown = command_line("run", trainer, preset=preset, config=config, **shared)
        request = Request(
            entry,
            shared,
            *(set or {}, search or {}),
            preset=preset,
            config=where,
            trials=trials,
            sampler=sampler,
            metric=metric,
            prune=prune,
            with_seeds=with_seeds,
            workers=workers,
            storage=storage,
            reports=reports,
            shown=tuple(shown),
        )
        words = ["pneumo", "sweep", *shown[2:]]
        for option, tried in (("--set", set), ("--search", search)):
            for name, values in pairs(option, tried or ()):
                listed = isinstance(values, (list, tuple))
                words += [option, f"{name}={','.join(map(to_text, values)) if listed else to_text(values)}"]
        caller, say = _caller(words, display, progress)
        return SweepResult(carried_out(lambda: start(caller, request, say)).path)


def resume_sweep(
    folder: StrPath | SweepResult,
    *,
    workers: int = 1,
    storage: str | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> SweepResult:
    """Go on with a sweep, or add workers to one that runs: what ``pneumo sweep resume FOLDER`` does.

    Args:
        folder: of the sweep.
        workers: processes.
        storage: the URL of its database, if it has a password or has changed.
        progress: as of :func:`pneumo_cli.run`.
        settings: ``device``, ``data_root``.

    Raises:
        UsageError, PneumoError, Interrupted: as :func:`sweep`.
    """
    with one_line_errors(), progress_for(progress) as display:
        path = folder.folder if isinstance(folder, SweepResult) else expanded_path(folder)
        words = command_line("sweep", "resume", path, workers=workers)
        caller, say = _caller(words, display, progress)
        return SweepResult(
            carried_out(lambda: go_on(caller, path, Hands(workers, say, settings), storage)).path
        )


def _caller(words: list[str], display: Shown, progress: bool | None) -> tuple[Caller, Callable[[str], None]]:
    caller = Caller(installed(), words, stoppable(display.progress), console=False)
    return caller, (lambda line: None) if progress is False else terminal.print_line
