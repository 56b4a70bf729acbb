"""Groups of runs on the command line: ``pneumo run … --folds K --seeds N``, and ensembles of several runs.

Called by the commands of :mod:`pneumo_cli.cli.runs` with their parsed arguments; the work is done in
:mod:`pneumo_cli.training.groups` and :mod:`pneumo_cli.evaluation.ensemble`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.cli.output import print_table
from pneumo_cli.cli.processes import joined_ranks
from pneumo_cli.errors import UsageError
from pneumo_cli.runtime.progress import for_stderr

if TYPE_CHECKING:
    from pneumo_cli.plugins.discovery import Plugins
    from pneumo_cli.runs.folder import GroupFolder, RunFolder
    from pneumo_cli.settings.resolve import Resolved


def run_group(plugins: Plugins, resolved: Resolved) -> None:
    """Carry out a new group of runs.

    Raises:
        UsageError: the request cannot be met; nothing is written.
        PneumoError: a member failed.
    """
    from pneumo_cli.trainers.session import set_up

    set_up(plugins, resolved).check_request()
    _carry_out(plugins, resolved, None)


def resume_group(plugins: Plugins, path: Path, flags: Mapping[str, Any]) -> None:
    """Finish an interrupted group, or train all its members for more epochs.

    Args:
        flags: as for ``pneumo resume``; None: not given.

    Raises:
        UsageError: the group cannot be resumed.
        PneumoError: a member failed.
    """
    from pneumo_cli.runs.folder import GroupFolder
    from pneumo_cli.runs.record import check_files, finished_epochs, reopen_settings
    from pneumo_cli.runtime.distributed import Ranks
    from pneumo_cli.training.groups import Group

    folder = GroupFolder(path)
    check_files(plugins, folder)
    resolved = reopen_settings(plugins, folder, flags)
    group = Group(plugins, resolved, for_stderr(False), Ranks(), sys.argv, folder)
    trained = max((finished_epochs(folder.member(member.name)) or 0 for member in group.members), default=0)
    if trained > resolved.trainer.epochs:
        raise UsageError(f"members of {path} have {trained} epochs already; --epochs is the new total")
    if group.complete and group.reported():
        print(
            f"pneumo: {path} is finished ({len(group.members)} members of {trained} epochs): {folder.report_html}; "
            f"to extend it: pneumo resume {path} --epochs {trained + 1}",
            file=sys.stderr,
        )
        return
    _carry_out(plugins, resolved, folder)


def _carry_out(plugins: Plugins, resolved: Resolved, folder: GroupFolder | None) -> None:
    with joined_ranks(resolved.machine) as ranks:
        from pneumo_cli.training.groups import Group

        group = Group(plugins, resolved, for_stderr(ranks.first), ranks, sys.argv, folder)
        group.carry_out()
    if ranks.first:
        _print_spread(group.folder)


def _print_spread(folder: GroupFolder) -> None:
    """Print mean and standard deviation of the metrics; those of an ensemble of classifiers in their own column."""
    from pneumo_cli.evaluation.metric_names import in_order, metric_label, metric_text, sd_text
    from pneumo_cli.runs.report_format import read_report

    report = read_report(folder.report_json)
    ensemble, task = report["evaluations"], report["dataset"].get("task", "binary")
    rows = []
    for split, metrics in report["spread"].items():
        for name in in_order(metrics):
            values = metrics[name]
            row = [split, metric_label(name, task).label, metric_text(name, values["mean"])]
            row += [sd_text(name, values["sd"]), *(metric_text(name, values[end]) for end in ("min", "max"))]
            rows.append(row + ([metric_text(name, ensemble.get(split, {}).get(name))] if ensemble else []))
    head = ["split", "metric", "mean", "sd", "lowest", "highest"]
    print_table([*head, "ensemble"] if ensemble else head, rows)
    print(f"pneumo: {len(report['members'])} members; their report: {folder.report_html}", file=sys.stderr)


def evaluate_ensemble_of(
    plugins: Plugins, paths: Sequence[Path], flags: Mapping[str, Any], split: str, checkpoint: str
) -> dict[str, Any]:
    """Evaluate the ensemble of several classifiers on one split; of a group, that of its finished members.

    The result is written into the folder ``evaluations`` of the first path.

    Args:
        paths: of runs and groups, at least one.
        flags: as for ``pneumo evaluate``.
        split: ``train``, ``validation`` or ``test``; the same images in all runs.
        checkpoint: ``best`` or ``last``.

    Raises:
        UsageError: a path is no run, or the runs do not form an ensemble on these images.
        PneumoError: a checkpoint is damaged, or the result cannot be written.
    """
    from pneumo_cli.inference.ensemble import check_distinct, checkpoint_digest
    from pneumo_cli.runs.folder import GroupFolder, RunFolder, is_group
    from pneumo_cli.runs.groups import finished_members
    from pneumo_cli.runs.record import reopen_settings
    from pneumo_cli.trainers.session import set_up
    from pneumo_cli.training.reevaluation import reevaluate_ensemble
    from pneumo_cli.training.runner import open_runner

    folders: dict[Path, RunFolder] = {}
    for path in paths:
        runs = finished_members(plugins, GroupFolder(path)) if is_group(path) else [RunFolder.open(path)]
        for folder in runs:
            if folder.path.resolve() in folders:
                raise UsageError(f"{folder.path} is named twice: an ensemble consists of different runs")
            folders[folder.path.resolve()] = folder
    if len(folders) > 1:  # before the test set is accessed
        check_distinct((one.path, checkpoint_digest(one, checkpoint)) for one in folders.values())
    runners = []
    for folder in folders.values():
        # The operating point is the ensemble's, which has those that all runs have.
        resolved = reopen_settings(plugins, folder, {**flags, "operating_point": None})
        setup = set_up(plugins, resolved)
        runner = open_runner(setup, plugins.observing(), progress=for_stderr(), command=sys.argv)
        runners.append((runner, folder))
    point = str(flags.get("operating_point") or "")
    return reevaluate_ensemble(runners, RunFolder(paths[0]), checkpoint, split, point)
