"""``pneumo run``, ``resume`` and ``evaluate``: starting, continuing and evaluating runs."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.data_options import takes_dataset_options
from pneumo_cli.cli.lazy import WIDEST, DeferredCommand, LazyCommand, LazyGroup
from pneumo_cli.cli.options import (
    CheckpointFlag,
    DeviceFlag,
    JsonFlag,
    PointFlag,
    PrecisionFlag,
    RootFlag,
    RunPath,
)
from pneumo_cli.cli.output import print_json, print_table, printable
from pneumo_cli.cli.processes import joined_ranks
from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.runtime.progress import for_stderr

if TYPE_CHECKING:
    from pneumo_cli.registry import Entry
    from pneumo_cli.runs.folder import RunFolder
    from pneumo_cli.settings.resolve import Resolved
    from pneumo_cli.specs import TrainerSpec

_PANEL = "Runs"


def add_commands(app: typer.Typer, plugins: Plugins) -> None:
    """Add the commands about runs to the program."""

    class Trainers(LazyGroup):
        """The subcommands of ``pneumo run``: one per registered trainer."""

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
        """Run a trainer; `pneumo run NAME --help` shows its settings."""

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
    from pneumo_cli.cli.data_options import option_parameters
    from pneumo_cli.cli.flags import known_choices, parameters, part_parameters, with_parameters
    from pneumo_cli.settings.resolve import settings_class
    from pneumo_cli.settings.schema import MachineSettings, TrainerSettings

    spec = entry.spec
    names = [preset.name for preset in spec.presets]

    def command(
        preset: str | None, config: Path | None, print_config: bool, _with: list[str] | None, **values: Any
    ) -> None:
        _run(plugins, entry, {**values, "with": _with}, preset, config, print_config)

    options: dict[str, Any] = {
        "preset": Annotated[
            str | None,
            typer.Option(
                help="Named set of values, listed above.",
                metavar="|".join(names),
                show_default=names[0],
                autocompletion=lambda incomplete: [name for name in names if name.startswith(incomplete)],
            ),
        ],
        "config": Annotated[
            Path | None,
            typer.Option(
                metavar="FILE", help="TOML file of settings, or a run's run.toml.", show_default="pneumo.toml"
            ),
        ],
        "print_config": Annotated[
            bool,
            typer.Option("--print-config", help="Print the settings and where each came from; run nothing."),
        ],
        "_with": Annotated[
            list[str] | None,
            typer.Option(
                "--with",
                metavar="NAME",
                help="An extension or observer (pneumo list-extensions) that takes part; several, the outermost "
                "first, with commas or repeated.",
                show_default=False,
                callback=lambda names: names or None,
            ),
        ],
    }
    own = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if name == "print_config" else None,
            annotation=annotation,
        )
        for name, annotation in options.items()
    ]
    recipe = settings_class(entry)
    general = list(TrainerSettings.model_fields)
    specific = [name for name in recipe.model_fields if name not in general]
    choices = known_choices(plugins)
    own += parameters(recipe, "Recipe", {"model": spec.model}, general, choices)
    own += parameters(recipe, f"Recipe of {spec.name}", {}, specific, choices)
    own += option_parameters(plugins)
    own += parameters(MachineSettings, "Machine", {})
    own += part_parameters(plugins, [parameter.name for parameter in own])

    class Trainer(LazyCommand):
        """The command, with its presets in ``--help``."""

        def format_options(self, ctx: Any, formatter: Any) -> None:
            with formatter.section("Presets"):
                formatter.write_dl([(preset.name, preset.summary) for preset in spec.presets])
            super().format_options(ctx, formatter)

    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST},
    )
    app.command(
        name=spec.name,
        cls=Trainer,
        help=f"{spec.summary}.\n\nSettings come from flags, then PNEUMO_… variables, then pneumo.toml (or "
        "--config), then the preset, then the defaults shown here.",
    )(with_parameters(command, own))
    return typer.main.get_command(app)


def _run(
    plugins: Plugins,
    entry: Entry[TrainerSpec],
    flags: dict[str, Any],
    preset: str | None,
    config: Path | None,
    print_config: bool,
) -> None:
    from pneumo_cli.settings.resolve import resolve

    resolved = resolve(plugins, entry, flags, preset=preset, config=config)
    if print_config:
        print(resolved.explained(), end="")
        return
    from pneumo_cli.runs.groups import asks_for_group

    if asks_for_group(resolved.trainer):
        from pneumo_cli.cli.groups import run_group

        run_group(plugins, resolved)
        return
    _carry_out(plugins, resolved)


def resume(
    ctx: typer.Context,
    run: RunPath,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="New total number of epochs.", show_default=False)
    ] = None,
    device: DeviceFlag = None,
    precision: PrecisionFlag = None,
    data_root: RootFlag = None,
) -> None:
    """Resume an interrupted run, or extend a finished one with --epochs."""
    from pneumo_cli.runs.folder import RunFolder, is_group
    from pneumo_cli.runs.record import check_files, finished_epochs, reopen_settings

    flags = {"epochs": epochs, "device": device, "precision": precision, "data_root": data_root}
    if is_group(run):
        from pneumo_cli.cli.groups import resume_group

        resume_group(ctx.obj, run, flags)
        return
    folder = RunFolder.open(run)
    check_files(ctx.obj, folder)
    resolved = reopen_settings(ctx.obj, folder, flags)
    done = finished_epochs(folder)
    if done is not None and done >= resolved.trainer.epochs:
        if epochs is not None and epochs < done:
            raise UsageError(f"{run} has {done} epochs already; --epochs is the new total")
        print(
            f"pneumo: {run} is finished ({done} epochs): {_report_of(folder)}; "
            f"to extend it: pneumo resume {run} --epochs {done + 1}",
            file=sys.stderr,
        )
        return
    if not (folder.checkpoints / "last.pt").is_file():
        raise UsageError(
            f"{run} ended before its first checkpoint; to run it again: "
            f"pneumo run {resolved.entry.spec.name} --config {folder.settings}"
        )
    _carry_out(ctx.obj, resolved, folder)


def _report_of(folder: RunFolder) -> Path:
    """The page of a finished run; without pages (``--no-report``) its values."""
    return folder.report_html if folder.report_html.is_file() else folder.report_json


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
    json: JsonFlag = False,
    **options: Any,
) -> None:
    """Evaluate a run's checkpoint again, on its own or other data. Accesses to the test set are counted."""
    from pneumo_cli.errors import nearest
    from pneumo_cli.evaluation.metric_names import average_of
    from pneumo_cli.runs.folder import RunFolder, is_group
    from pneumo_cli.trainers.loading import check_checkpoint

    splits = ("train", "validation", "test")
    if on not in splits:
        raise UsageError(f"{on!r} is none of {', '.join(splits)}; {nearest(on, splits)}")
    check_checkpoint(checkpoint)
    from pneumo_cli.runs.record import reopen_settings
    from pneumo_cli.trainers.session import set_up
    from pneumo_cli.training.reevaluation import reevaluate
    from pneumo_cli.training.runner import open_runner

    plugins: Plugins = ctx.obj
    flags = {"dataset": dataset, "device": device, "precision": precision, "data_root": data_root, **options}
    if operating_point is not None:
        flags["operating_point"] = operating_point
    if others or is_group(run):
        from pneumo_cli.cli.groups import evaluate_ensemble_of

        result = evaluate_ensemble_of(plugins, [run, *(others or [])], flags, on, checkpoint)
        model = f"the ensemble of {len(result['runs'])} runs, {checkpoint} checkpoints"
    else:
        folder = RunFolder.open(run)
        setup = set_up(plugins, reopen_settings(plugins, folder, flags))
        runner = open_runner(setup, plugins.observing(), progress=for_stderr(), command=sys.argv)
        result = reevaluate(runner, folder, checkpoint, on)
        model = f"{checkpoint} checkpoint of epoch {result['epoch']}"
    plugins.notify("run_evaluated", folder=run, result=result)
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
    point = f", operating point {result['operating_point']}" if "operating_point" in result else ""
    print(f"pneumo: {result['images']} {on} images of {result['dataset']}, {model}{point}", file=sys.stderr)


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


def _carry_out(plugins: Plugins, resolved: Resolved, folder: RunFolder | None = None) -> None:
    """Start a run, or resume the one in ``folder``: in this process, or in one process per device."""
    from pneumo_cli.trainers.session import set_up

    setup = set_up(plugins, resolved)
    if folder is None:
        setup.check_request()
    with joined_ranks(resolved.machine) as ranks:
        from pneumo_cli.training.runner import open_runner

        progress = for_stderr(ranks.first)
        runner = open_runner(setup, plugins.observing(), progress=progress, ranks=ranks, command=sys.argv)
        if folder is None:
            runner.start()
        else:
            runner.resume(folder)
