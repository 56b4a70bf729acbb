"""The functions of ``import pneumo_cli as pneumo``: ``run``, ``estimate``, ``resume`` and ``evaluate``.

Each does what the command of its name does, with the same settings, checks and numbers, and returns the result as
Python values. What goes wrong is a :class:`~pneumo_cli.errors.PneumoError` with the line that the command prints.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumo_cli.errors import UsageError, named_type
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.runtime import load
from pneumo_cli.runtime.home import StrPath, expanded_path
from pneumo_cli.runtime.progress import NOTICE
from pneumo_cli.settings.dataset_options import all_options
from pneumo_cli.settings.resolve import Resolved, resolve
from pneumo_cli.training.estimate import Estimate
from pneumo_cli.workflows import training
from pneumo_cli.workflows.argument_types import refuse_unknown
from pneumo_cli.workflows.background import carried_out, stoppable
from pneumo_cli.workflows.caller import Caller, checked_observers
from pneumo_cli.workflows.command_line import command_line, flag_value, run_command
from pneumo_cli.workflows.display import Shown, progress_for
from pneumo_cli.workflows.failures import one_line_errors
from pneumo_cli.workflows.installed import installed
from pneumo_cli.workflows.results import EvaluationResult, RunResult

_log = logging.getLogger("pneumo")


def run(
    trainer: str,
    *,
    preset: str | None = None,
    config: StrPath | None = None,
    extensions: Sequence[str] = (),
    observers: Sequence[object] = (),
    progress: bool | None = None,
    **settings: Any,
) -> RunResult:
    """Train, evaluate and report: what ``pneumo run TRAINER`` does.

    Settings that are not given come from ``PNEUMO_…`` variables, ``pneumo.toml`` (or ``config``), the preset, and
    the defaults, in this order.

    Args:
        trainer: a registered name, such as ``"cnn"`` (:func:`pneumo_cli.trainers`).
        preset: a named set of values; None: the trainer's first.
        config: a TOML file of settings, or a run's ``run.toml``; None: ``pneumo.toml``, if there is one.
        extensions: names of extensions that take part (``--with``), the outermost first.
        observers: objects with methods such as ``epoch_finished(self, run, metrics)``
            (:class:`~pneumo_cli.plugins.hookspecs.LifecycleHooks`), or names of registered observers. They follow
            the run and cannot change it. One that raises is named in a warning, and called no more.
        progress: whether progress is shown; None: yes, as it suits a notebook, a terminal or a log.
        settings: every setting of the trainer, the dataset, the machine and the extensions by its name
            (:func:`pneumo_cli.settings`): ``dataset="phantom"``, ``epochs=3``, ``mixup_alpha=0.2``. None: not
            given.

    Returns:
        the results, read from the run's folder. ``folds`` and ``seeds`` make a group, whose result has ``members``.

    Raises:
        UsageError: the request cannot be met; nothing is written.
        PneumoError: the run failed.
        Interrupted: by Ctrl-C; the state is saved, and :func:`resume` goes on.
        KeyboardInterrupt: by a second Ctrl-C before that. The call ends at once; its work goes on in a thread, to
            the next point where it can stop and save.
    """
    with one_line_errors(), progress_for(progress) as shown:
        plugins = installed()
        load.look()
        objects, parts = _observers(observers)
        path = None if config is None else expanded_path(config)
        resolved = _resolved(
            plugins, trainer, preset, path, [*_listed("extensions", extensions), *parts], settings
        )
        command = run_command(trainer, resolved, preset=preset, config=path)
        caller = _caller(plugins, command, shown, objects)
        return _finished(lambda: training.start(caller, resolved))


def estimate(
    trainer: str,
    *,
    preset: str | None = None,
    config: StrPath | None = None,
    extensions: Sequence[str] = (),
    progress: bool | None = None,
    **settings: Any,
) -> Estimate:
    """What a run would cost on this machine: what ``pneumo run TRAINER --dry-run`` does.

    A few steps of it are made and timed, with a model that is thrown away. Nothing is written, caches are left as
    they are, and no test image is evaluated. Times are of the machine as busy as it is now; expect them within a
    factor of 1.5.

    Args:
        trainer, preset, config, extensions, progress, settings: as of :func:`run`.

    Returns:
        images, steps, parameters, and the estimated time, memory and disk; printed, a line each. Where the steps
        fail, as without enough memory, its ``problem`` says why.

    Raises:
        UsageError: the request cannot be met.
        Interrupted: by Ctrl-C.
    """
    with one_line_errors(), progress_for(progress) as shown:
        plugins = installed()
        path = None if config is None else expanded_path(config)
        resolved = _resolved(plugins, trainer, preset, path, _listed("extensions", extensions), settings)
        caller = _caller(plugins, (), shown)
        return carried_out(lambda: training.estimate(caller, resolved))


def _resolved(
    plugins: Plugins,
    trainer: object,
    preset: str | None,
    config: Path | None,
    parts: list[Any],
    settings: Mapping[str, Any],
) -> Resolved:
    """The settings of a run that a function call asks for."""
    if not isinstance(trainer, str):
        raise UsageError(f"a trainer is asked for by its name, not {named_type(trainer)}")
    if "with" in settings:
        raise UsageError("with: name extensions as extensions=[…], and observers as observers=[…]")
    given = {name: flag_value(value) for name, value in settings.items()} | {"with": parts or None}
    return resolve(plugins, plugins.trainers.get(trainer), given, preset=preset, config=config)


def resume(
    run: StrPath,
    *,
    epochs: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    data_root: StrPath | None = None,
    cache: StrPath | None = None,
    threads: int | None = None,
    observers: Sequence[object] = (),
    progress: bool | None = None,
    **others: Any,
) -> RunResult:
    """Continue an interrupted run, or extend a finished one: what ``pneumo resume RUN`` does.

    Args:
        run: its folder, or its result.
        epochs: the new total; None: as it was. A finished run is then returned as it is.
        device, precision, data_root, cache, threads: as of :func:`run`; None: as they were.
        observers: objects, as of :func:`run`. Registered ones take part again by themselves.
        progress: as of :func:`run`.
        others: refused; the other settings of a run stay what they were.

    Raises:
        UsageError: it cannot be resumed; nothing is written.
        PneumoError, Interrupted: as :func:`run`.
    """
    with one_line_errors(), progress_for(progress) as shown:
        machine = {
            "device": device,
            "precision": precision,
            "data_root": data_root,
            "cache": cache,
            "threads": threads,
        }
        refuse_unknown(others, ("epochs", *machine))
        objects, parts = _observers(observers)
        if parts:
            raise UsageError(
                f"{parts[0]}: a run goes on with the registered observers that it was started with"
            )
        path = expanded_path(run)
        flags = {name: flag_value(value) for name, value in {"epochs": epochs, **machine}.items()}
        caller = _caller(installed(), command_line("resume", path.absolute(), **flags), shown, objects)
        return _finished(lambda: training.resume(caller, path, flags))


def evaluate(
    run: StrPath | Sequence[StrPath],
    *,
    on: str = "test",
    checkpoint: str = "best",
    dataset: str | None = None,
    operating_point: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    data_root: StrPath | None = None,
    cache: StrPath | None = None,
    threads: int | None = None,
    progress: bool | None = None,
    **options: Any,
) -> EvaluationResult:
    """Evaluate a checkpoint again, on its own or other data: what ``pneumo evaluate RUN`` does.

    Accesses to the test set are counted. The result is kept in the run's folder ``evaluations``.

    Args:
        run: its folder or result, or several: then their ensemble. Of a group its ensemble.
        on: ``train``, ``validation`` or ``test``.
        checkpoint: ``best`` or ``last``.
        dataset: another registered dataset; None: the run's own.
        operating_point: the threshold to decide at; None: the run's own.
        device, precision, data_root, cache, threads, progress: as of :func:`run`; None: as the run had them.
        options: of the dataset, by name.

    Raises:
        UsageError: a path is no run, or the runs do not go with these images or with each other.
        PneumoError: a checkpoint is damaged, or the result cannot be written.
        Interrupted: by Ctrl-C.
    """
    with one_line_errors(), progress_for(progress) as shown:
        plugins = installed()
        refuse_unknown(options, all_options(plugins))
        runs = [run] if isinstance(run, str) or not isinstance(run, Sequence) else run
        paths = [expanded_path(one) for one in runs]
        if not paths:
            raise UsageError("there is no run to evaluate: name one or several")
        machine = {
            "device": device,
            "precision": precision,
            "data_root": data_root,
            "cache": cache,
            "threads": threads,
        }
        given = {"dataset": dataset, "operating_point": operating_point, **machine, **options}
        flags = {name: flag_value(value) for name, value in given.items()}
        first, *further = (path.absolute() for path in paths)
        command = command_line("evaluate", first, on=on, checkpoint=checkpoint, **flags)
        command += [word for path in further for word in ("--with", str(path))]
        caller = _caller(plugins, command, shown)
        return EvaluationResult(
            carried_out(lambda: training.evaluate(caller, paths, flags, str(on), str(checkpoint)))
        )


def _caller(
    plugins: Plugins, command: Sequence[str], shown: Shown, observers: tuple[object, ...] = ()
) -> Caller:
    return Caller(
        plugins,
        command,
        stoppable(shown.progress),
        console=shown.console,
        observers=observers,
        displays=shown.observers,
    )


def _finished(work: Callable[[], Path]) -> RunResult:
    """The result of a run that is carried out, or is finished already."""
    try:
        folder = carried_out(work)
    except training.Finished as finished:
        _log.log(NOTICE, "%s", finished)
        folder = finished.folder
    except training.ProcessesFailed as failed:
        raise failed.error from None
    return RunResult(folder.absolute())


def _observers(given: Sequence[object]) -> tuple[tuple[object, ...], list[str]]:
    """Those that are objects, and the names of registered ones.

    Raises:
        UsageError: one cannot take part.
    """
    listed = _listed("observers", given)
    names = [one for one in listed if isinstance(one, str)]
    return checked_observers([one for one in listed if not isinstance(one, str)]), names


def _listed(name: str, given: Any) -> list[Any]:
    """A list, or one text."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Sequence):
        raise UsageError(f"{name} is a list, not {named_type(given)}")
    return list(given)
