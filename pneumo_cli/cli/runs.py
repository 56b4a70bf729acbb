"""``pneumo run``, ``resume`` and ``evaluate``: starting, continuing and evaluating runs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.data_options import takes_dataset_options
from pneumo_cli.cli.lazy import DeferredCommand, LazyGroup
from pneumo_cli.cli.options import (
    CacheFlag,
    CheckpointFlag,
    DeviceFlag,
    JsonFlag,
    PointFlag,
    PrecisionFlag,
    RootFlag,
    RunPath,
    ThreadsFlag,
)
from pneumo_cli.cli.output import print_json, print_table, print_text
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.runtime.garbage import uncollected
from pneumo_cli.runtime.progress import for_stderr
from pneumo_cli.runtime.streams import printable
from pneumo_cli.runtime.terminal import print_message

if TYPE_CHECKING:
    from pneumo_cli.registry import Entry
    from pneumo_cli.runs.folder import GroupFolder
    from pneumo_cli.settings.resolve import Resolved
    from pneumo_cli.specs import TrainerSpec
    from pneumo_cli.workflows.caller import Caller

_PANEL = "Runs"


def add_commands(app: typer.Typer, plugins: Plugins) -> None:
    """Add the commands about runs to the program."""

    class Trainers(LazyGroup):
        """The subcommands of ``pneumo run``: one per registered trainer."""

        commands_title = "Trainers"

        def list_commands(self, ctx: Any) -> list[str]:
            return list(plugins.trainers.named())

        def get_command(self, ctx: Any, name: str) -> Any:
            entry = plugins.trainers.get(name)
            return DeferredCommand(
                partial(_trainer_command, plugins, entry), name=name, short_help=entry.spec.summary
            )

    trainers = typer.Typer(cls=Trainers, no_args_is_help=True, rich_markup_mode=None)

    @trainers.callback()
    def run() -> None:
        """Train a model, evaluate it, and write a report.

        For example: pneumo run cnn --preset quick. `pneumo run NAME --help` shows a trainer's settings."""

    app.add_typer(
        trainers,
        name="run",
        rich_help_panel=_PANEL,
        subcommand_metavar="NAME [SETTINGS]...",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command(rich_help_panel=_PANEL)(resume)
    app.command(rich_help_panel=_PANEL)(evaluate)


def _trainer_command(plugins: Plugins, entry: Entry[TrainerSpec]) -> Any:
    """The command of one trainer, with its settings as flags; imports the trainer's settings."""
    from pneumo_cli.cli.trainer_flags import keyword, trainer_command
    from pneumo_cli.settings.resolve import resolve

    def command(
        preset: str | None,
        config: Path | None,
        dry_run: bool,
        print_config: bool,
        json: bool,
        _with: list[str] | None,
        **values: Any,
    ) -> None:
        if json and not dry_run:
            raise UsageError("--json goes with --dry-run; the results of a run are in its report.json")
        resolved = resolve(plugins, entry, {**values, "with": _with}, preset=preset, config=config)
        if print_config:
            print(resolved.explained(), end="")
        elif dry_run:
            _estimate(plugins, resolved, json)
        else:
            training = _training()
            _carry_out(lambda: training.start(_caller(plugins), resolved))

    dry_run = typer.Option(
        "--dry-run", help="Time a few steps and print what the run would cost; train and write nothing."
    )
    print_config = typer.Option(
        "--print-config", help="Print the settings and where each came from; run nothing."
    )
    as_json = typer.Option("--json", help="Print JSON (with --dry-run).")
    own = [
        keyword("dry_run", Annotated[bool, dry_run], False),
        keyword("print_config", Annotated[bool, print_config], False),
        keyword("json", Annotated[bool, as_json], False),
    ]
    return trainer_command(plugins, entry, command, own, text=f"{entry.spec.summary}.", folded=("json",))


def _estimate(plugins: Plugins, resolved: Resolved, as_json: bool) -> None:
    """Print what a run would cost.

    Raises:
        PneumoError: its first steps fail.
    """
    print_message("timing a few steps …")
    from pneumo_cli.workflows import training

    estimate = training.estimate(_caller(plugins), resolved)
    if as_json:
        print_json(estimate.content())
    else:
        print_table(["item", "estimate"], estimate.rows())
    if estimate.problem:
        raise PneumoError(f"the run would fail: {estimate.problem}")


def resume(
    ctx: typer.Context,
    run: RunPath,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="New total number of epochs.", show_default=False)
    ] = None,
    device: DeviceFlag = None,
    precision: PrecisionFlag = None,
    data_root: RootFlag = None,
    cache: CacheFlag = None,
    threads: ThreadsFlag = None,
) -> None:
    """Resume an interrupted run, or extend a finished one (--epochs)."""
    training = _training()
    flags = {
        "epochs": epochs,
        "device": device,
        "precision": precision,
        "data_root": data_root,
        "cache": cache,
        "threads": threads,
    }
    try:
        _carry_out(lambda: training.resume(_caller(ctx.obj), run, flags))
    except training.Finished as finished:
        print_message(finished)


def _training() -> ModuleType:
    """The functions that train, imported with torch: half a million objects that stay, and are no garbage later."""
    with uncollected():
        from pneumo_cli.workflows import training
    gc.freeze()
    return training


def _caller(plugins: Plugins) -> Caller:
    from pneumo_cli.workflows.caller import Caller

    return Caller(plugins, sys.argv, for_stderr())


def _carry_out(work: Callable[[], Path]) -> None:
    """Carry out a run or a group; its folder is the result of ``work``.

    Raises:
        typer.Exit: the processes of its devices failed; with their exit code. They have said why.
    """
    from pneumo_cli.runs.folder import GroupFolder, is_group
    from pneumo_cli.runtime.launch import first_rank, launched
    from pneumo_cli.workflows.training import FolderUnknown, ProcessesFailed

    try:
        folder = work()
    except ProcessesFailed as failed:
        raise typer.Exit(failed.exit_code) from None
    except FolderUnknown as unknown:  # they have said more
        print_message(unknown)
        return
    if is_group(folder) and first_rank() and not launched():
        _print_spread(GroupFolder(folder))


@takes_dataset_options
def evaluate(
    ctx: typer.Context,
    run: RunPath,
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="RUN",
            help="A further run: evaluate the ensemble; may be repeated.",
            show_default=False,
        ),
    ] = None,
    on: Annotated[
        str, typer.Option("--on", metavar="train|validation|test", help="Split to evaluate on.")
    ] = "test",
    checkpoint: CheckpointFlag = "best",
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Another registered dataset.", show_default=False)
    ] = None,
    operating_point: PointFlag = None,
    device: DeviceFlag = None,
    precision: PrecisionFlag = None,
    data_root: RootFlag = None,
    cache: CacheFlag = None,
    threads: ThreadsFlag = None,
    json: JsonFlag = False,
    **options: Any,
) -> None:
    """Evaluate a run again, on its own or other data. Accesses to the test set are counted."""
    from pneumo_cli.evaluation.metric_names import average_of
    from pneumo_cli.workflows import training

    flags = {
        "dataset": dataset,
        "operating_point": operating_point,
        "device": device,
        "precision": precision,
        "data_root": data_root,
        "cache": cache,
        "threads": threads,
        **options,
    }
    result = training.evaluate(_caller(ctx.obj), [run, *(others or [])], flags, on, checkpoint)
    if json:
        print_json(result)
        return
    intervals = result.get("intervals", {})
    task, head, rows = result.get("task", "binary"), ["metric", "value"], []
    for name, value in result["metrics"].items():
        average = average_of(name, task)
        shown = "–" if value is None else f"{value:.4f}"  # a metric may be undefined
        rows.append([name + (f" ({average})" if average else ""), shown])
        if intervals:
            ends = intervals.get(name)
            rows[-1].append(f"{ends[0]:.4f} to {ends[1]:.4f}" if ends and None not in ends else "")
    if intervals:
        head.append("95 % interval")
    print_table(head, rows)
    if "averages" in result:
        print()
        _print_classes(result["classes"])
    if "runs" in result:
        model = f"the ensemble of {len(result['runs'])} runs, {checkpoint} checkpoints"
    else:
        model = f"{checkpoint} checkpoint of epoch {result['epoch']}"
    point = f", operating point {result['operating_point']}" if "operating_point" in result else ""
    print_message(f"{result['images']} {on} images of {result['dataset']}, {model}{point}")


def _print_classes(classes: Sequence[Mapping[str, Any]]) -> None:
    """Print the metrics of each of K classes against the rest."""
    from pneumo_cli.evaluation.metric_names import interval_text, metric_label, metric_text

    shown = ("auc", "recall", "specificity")
    rows = []
    for one in classes:
        row = [printable(one["name"]), f"{one['positives']:,} of {one['images']:,}"]
        for name in shown:
            ends = interval_text(name, one["intervals"].get(name))
            row.append(metric_text(name, one["metrics"].get(name)) + (f" ({ends})" if ends else ""))
        rows.append(row)
    print_table(["class", "images", *(metric_label(name).label for name in shown)], rows)


def _print_spread(folder: GroupFolder) -> None:
    """Print mean and standard deviation of the metrics; those of an ensemble of classifiers in their own column."""
    from pneumo_cli.evaluation.metric_names import in_order, metric_label, metric_text, sd_text
    from pneumo_cli.reports.group_report import FEW_MEMBERS
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
    for caveat in report.get("caveats", []):
        if caveat["rule"] == FEW_MEMBERS:
            print_text(caveat["text"])
    print_message(f"{len(report['members'])} members; their report: {folder.report_html}")
    for command in report["next"]:
        print_message(f"next: {command}")
