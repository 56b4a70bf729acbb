"""Starting, resuming and evaluating runs and groups of runs, from a request that has been checked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from pneumo_cli.data.loader import check_batch
from pneumo_cli.errors import Interrupted, PneumoError, UsageError, nearest
from pneumo_cli.inference.ensemble import checkpoint_digest
from pneumo_cli.inference.predictors import check_distinct
from pneumo_cli.registry import REGISTERED
from pneumo_cli.runs.folder import GroupFolder, RunFolder, is_group
from pneumo_cli.runs.groups import asks_for_group, finished_members
from pneumo_cli.runs.record import check_files, finished_epochs, reopen_settings
from pneumo_cli.runtime.distributed import Ranks, join_ranks
from pneumo_cli.runtime.launch import Outcome, inside_launcher, launch, note_folder
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.resolve import Resolved
from pneumo_cli.trainers.free_cores import BY_LOAD, beside_others, take_freed_cores
from pneumo_cli.trainers.loading import check_checkpoint, using_all_cores
from pneumo_cli.trainers.session import Setup, set_up
from pneumo_cli.training.estimate import Estimate, estimate_run, say_if_long
from pneumo_cli.training.groups import Group
from pneumo_cli.training.reevaluation import reevaluate, reevaluate_ensemble
from pneumo_cli.training.runner import Runner, open_runner
from pneumo_cli.workflows.caller import Caller

SPLITS = ("train", "validation", "test")
_log = logging.getLogger("pneumo")


class ProcessesFailed(PneumoError):
    """Processes of a run on several devices failed. They have said why on their stderr.

    Attributes:
        error: the failure, as this process would have raised it.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error)
        self.exit_code = outcome.code
        text = outcome.error or f"a process of the run ended with the exit code {outcome.code}"
        if outcome.code > 128:
            self.error: PneumoError = Interrupted(outcome.error or "interrupted", outcome.code)
        else:
            self.error = UsageError(text) if outcome.code == UsageError.exit_code else PneumoError(text)


class Finished(PneumoError):
    """A run that is to be resumed is finished; ``folder`` has its results. No failure."""

    exit_code = 0

    def __init__(self, message: str, folder: Path) -> None:
        super().__init__(message)
        self.folder = folder


class FolderUnknown(PneumoError):
    """A run on several devices has succeeded, and its processes could not note its folder, as on a full disk."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"the {count} processes of the run have succeeded, but could not note its folder in {gettempdir()}; "
            "pneumo list-runs lists it"
        )


def start(caller: Caller, resolved: Resolved, make_folder: Callable[[], RunFolder] | None = None) -> Path:
    """Carry out a new run, or a group if the settings ask for one; return its folder.

    Args:
        make_folder: makes the folder of a run, as for :meth:`~pneumo_cli.training.runner.Runner.start`.

    Raises:
        UsageError: the request cannot be met; nothing is written.
        PneumoError: it failed, or a member of the group did.
        Interrupted: it was stopped, and its state saved.
    """
    setup = set_up(caller.plugins, resolved)
    setup.check_request()
    setup = replace(setup, resolved=beside_others(resolved))
    return _carry_out(caller, setup, None, make_folder)


def estimate(caller: Caller, resolved: Resolved) -> Estimate:
    """What a new run, or a group, would cost: a few of its steps are timed. Nothing is written.

    Raises:
        UsageError: the request cannot be met.
    """
    return estimate_run(caller.plugins, beside_others(resolved), caller.progress)


def resume(caller: Caller, path: Path, flags: Mapping[str, Any]) -> Path:
    """Continue an interrupted run or group, or extend a finished one (``epochs``); return its folder.

    Args:
        flags: settings that change: ``epochs``, ``device``, ``precision``, ``data_root``; None: not given.

    Raises:
        Finished: nothing is left to do.
        UsageError: it cannot be resumed.
        PneumoError, Interrupted: as :func:`start`.
    """
    folder = GroupFolder(path) if is_group(path) else RunFolder.open(path)
    check_files(caller.plugins, folder)
    resolved = reopen_settings(caller.plugins, folder, flags)
    if isinstance(folder, GroupFolder):
        _check_unfinished_group(caller, folder, resolved)
    else:
        _check_unfinished(folder, resolved, longer=flags.get("epochs") is not None)
    return _carry_out(caller, set_up(caller.plugins, resolved), folder)


def _check_unfinished(folder: RunFolder, resolved: Resolved, *, longer: bool) -> None:
    path, done, epochs = folder.path, finished_epochs(folder), resolved.trainer.epochs
    if done is not None and done >= epochs:
        if longer and epochs < done:
            raise UsageError(f"{path} has {_epochs(done)} already; --epochs is the new total")
        report = folder.report_html if folder.report_html.is_file() else folder.report_json
        raise Finished(
            f"{path} is finished ({_epochs(done)}): {report}; "
            f"to extend it: pneumo resume {path} --epochs {done + 1}",
            path,
        )
    if not (folder.checkpoints / "last.pt").is_file():
        raise UsageError(
            f"{path} ended before its first checkpoint; to run it again: "
            f"pneumo run {resolved.entry.spec.name} --config {folder.settings}"
        )


def _epochs(n: int) -> str:
    return f"{n} epoch{'' if n == 1 else 's'}"


def _check_unfinished_group(caller: Caller, folder: GroupFolder, resolved: Resolved) -> None:
    group = Group(caller.plugins, (), resolved, Progress(), Ranks(), [], folder)
    trained = max((finished_epochs(folder.member(member.name)) or 0 for member in group.members), default=0)
    if trained > resolved.trainer.epochs:
        raise UsageError(
            f"members of {folder.path} have {_epochs(trained)} already; --epochs is the new total"
        )
    if group.complete and group.reported():
        raise Finished(
            f"{folder.path} is finished ({len(group.members)} members of {_epochs(trained)}): "
            f"{folder.report_html}; "
            f"to extend it: pneumo resume {folder.path} --epochs {trained + 1}",
            folder.path,
        )


def _carry_out(
    caller: Caller,
    setup: Setup,
    folder: RunFolder | None,
    make_folder: Callable[[], RunFolder] | None = None,
) -> Path:
    """Start a run or group, or resume the one in ``folder``: in this process, or in one process per device."""
    machine = setup.resolved.machine
    if machine.devices > 1 and not inside_launcher():
        return _in_processes(caller, setup)
    ranks = join_ranks(machine.device)
    try:
        path = _on_rank(caller, setup, folder, ranks, make_folder)
        note_folder(path)
        return path
    finally:
        ranks.close()


def _in_processes(caller: Caller, setup: Setup) -> Path:
    """Let processes of their own carry out the caller's command, one per device.

    Raises:
        UsageError: they would not have what the caller brings along.
        ProcessesFailed: they failed.
        FolderUnknown: they succeeded.
    """
    count = setup.resolved.machine.devices
    if objects := caller.objects(setup.resolved):
        raise UsageError(
            f"devices = {count}: other processes do the work, which do not have {objects[0]}: use one device, or "
            "make a plugin of it"
        )
    for plugin in caller.plugins.loaded:
        if plugin.provenance.distribution == REGISTERED:
            _log.warning(
                "other processes do the work, which the registered plugin %s does not observe", plugin.name
            )
    check_batch(setup.resolved.trainer.batch_size, count)
    quiet = not (caller.console or caller.displays)
    resolved = setup.resolved
    threads = resolved.machine.threads if resolved.origins["threads"] == BY_LOAD else 0
    outcome = launch(count, caller.command[1:], quiet=quiet, threads=threads)
    if outcome.code:
        raise ProcessesFailed(outcome)
    if outcome.folder is None:
        raise FolderUnknown(count)
    return outcome.folder


def _on_rank(
    caller: Caller,
    setup: Setup,
    folder: RunFolder | None,
    ranks: Ranks,
    make_folder: Callable[[], RunFolder] | None,
) -> Path:
    progress = caller.progress if ranks.first else Progress()
    if asks_for_group(setup.resolved.trainer):
        existing = folder if isinstance(folder, GroupFolder) else None
        taking_part, command = caller.taking_part(), caller.recorded(setup.resolved)
        group = Group(caller.plugins, taking_part, setup.resolved, progress, ranks, command, existing)
        group.carry_out()
        return group.folder.path
    runner = _open(caller, setup, progress, ranks)
    if folder is None:
        if ranks.first:
            say_if_long(runner.run)
        take_freed_cores(runner.run)
        runner.start(make_folder)
    else:
        runner.resume(folder)
    return runner.run.folder.path


def _open(caller: Caller, setup: Setup, progress: Progress, ranks: Ranks | None = None) -> Runner:
    """Open a run with everything that takes part in it, without starting it."""
    return open_runner(
        setup, caller.taking_part(), progress=progress, ranks=ranks, command=caller.recorded(setup.resolved)
    )


def _reopened(caller: Caller, folder: RunFolder, flags: Mapping[str, Any]) -> Runner:
    """Open an existing run with its own settings and a few others, without starting it."""
    setup = set_up(caller.plugins, reopen_settings(caller.plugins, folder, using_all_cores(flags)))
    return _open(caller, setup, caller.progress)


def evaluate(
    caller: Caller, paths: Sequence[Path], flags: Mapping[str, Any], split: str, checkpoint: str
) -> dict[str, Any]:
    """Evaluate a checkpoint of a run again, or the ensemble of several runs or of a group.

    Args:
        paths: of runs and groups, at least one. The result is kept with the first.
        flags: settings that change: the dataset, its options, the device; None: not given.
        split: ``train``, ``validation`` or ``test``.
        checkpoint: ``best`` or ``last``.

    Returns:
        what is written into the folder ``evaluations``.

    Raises:
        UsageError: a path is no run, or the runs do not go with these images or with each other.
        PneumoError: a checkpoint is damaged, or the result cannot be written.
    """
    if split not in SPLITS:
        raise UsageError(f"{split!r} is none of {', '.join(SPLITS)}; {nearest(split, SPLITS)}")
    check_checkpoint(checkpoint)
    path = paths[0]
    if len(paths) > 1 or is_group(path):
        result = _evaluate_ensemble(caller, paths, flags, split, checkpoint)
    else:
        folder = RunFolder.open(path)
        result = reevaluate(_reopened(caller, folder, flags), folder, checkpoint, split)
    caller.plugins.notify("run_evaluated", folder=path, result=result)
    return result


def _evaluate_ensemble(
    caller: Caller, paths: Sequence[Path], flags: Mapping[str, Any], split: str, checkpoint: str
) -> dict[str, Any]:
    plugins = caller.plugins
    folders: dict[Path, RunFolder] = {}
    for path in paths:
        runs = finished_members(plugins, GroupFolder(path)) if is_group(path) else [RunFolder.open(path)]
        for folder in runs:
            if folder.path.resolve() in folders:
                raise UsageError(f"{folder.path} is named twice: an ensemble consists of different runs")
            folders[folder.path.resolve()] = folder
    if len(folders) > 1:  # before the test set is accessed
        check_distinct((one.path, checkpoint_digest(one, checkpoint)) for one in folders.values())
    # The operating point is the ensemble's, which has those that all runs have.
    own = {**flags, "operating_point": None}
    runners = [(_reopened(caller, one, own), one) for one in folders.values()]
    point = str(flags.get("operating_point") or "")
    return reevaluate_ensemble(runners, RunFolder(paths[0]), checkpoint, split, point)
