"""``pneumo run``, ``resume`` and ``evaluate``: what starts, continues and judges runs."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from pneumo_cli.cli.lazy import WIDEST, LazyCommand, LazyGroup
from pneumo_cli.cli.options import DeviceFlag, JsonFlag, PointFlag, PrecisionFlag, RootFlag, RunPath
from pneumo_cli.cli.output import print_json, print_table
from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.runtime.progress import for_stderr

if TYPE_CHECKING:
    from pneumo_cli.registry import Entry
    from pneumo_cli.runs.folder import RunFolder
    from pneumo_cli.settings.resolve import Resolved
    from pneumo_cli.specs import TrainerSpec

_PANEL = "Runs"


class _TrainerCommand(TyperCommand):
    """A trainer's command that imports the trainer's settings when it is used, not when it is listed."""

    def __init__(self, plugins: Plugins, entry: Entry[TrainerSpec], name: str) -> None:
        super().__init__(name=name, callback=None, help=entry.spec.summary)
        self._plugins = plugins
        self._entry = entry

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        command = typer.main.get_command(_trainer_app(self._plugins, self._entry))
        return command.make_context(info_name, args, parent=parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        return ctx.command.invoke(ctx)


def add_commands(app: typer.Typer, plugins: Plugins) -> None:
    """Add the commands about runs to the program."""

    class Trainers(LazyGroup):
        """The subcommands of ``pneumo run``: one per registered trainer."""

        def list_commands(self, ctx: Any) -> list[str]:
            return [
                entry.qualified_name if name in plugins.trainers.conflicts() else name
                for name in plugins.trainers.names()
                for entry in plugins.trainers.entries()
                if entry.spec.name == name
            ]

        def get_command(self, ctx: Any, name: str) -> Any:
            return _TrainerCommand(plugins, plugins.trainers.get(name), name)

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

    @app.command(rich_help_panel=_PANEL)
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
        """Go on with a run that was interrupted, or extend a finished one with --epochs."""
        flags = {"epochs": epochs, "device": device, "precision": precision, "data_root": data_root}
        _resume(ctx.obj, run, flags)

    @app.command(rich_help_panel=_PANEL)
    def evaluate(
        ctx: typer.Context,
        run: RunPath,
        others: Annotated[
            list[Path] | None,
            typer.Option(
                "--with", help="A further run: all are judged as one, by their mean.", show_default=False
            ),
        ] = None,
        on: Annotated[str, typer.Option("--on", help="train, validation or test.")] = "test",
        checkpoint: Annotated[str, typer.Option("--checkpoint", help="best or last.")] = "best",
        dataset: Annotated[
            str | None, typer.Option("--dataset", help="Another registered dataset.", show_default=False)
        ] = None,
        operating_point: PointFlag = None,
        device: DeviceFlag = None,
        precision: PrecisionFlag = None,
        data_root: RootFlag = None,
        json: JsonFlag = False,
    ) -> None:
        """Evaluate a run's checkpoint again, on its own data or on others. Test-set accesses are counted."""
        flags = {"dataset": dataset, "device": device, "precision": precision, "data_root": data_root}
        if operating_point is not None:
            flags["operating_point"] = operating_point
        _evaluate(ctx.obj, [run, *(others or [])], flags, on, checkpoint, json)


def _trainer_app(plugins: Plugins, entry: Entry[TrainerSpec]) -> typer.Typer:
    """The command of one trainer, its flags made from its settings."""
    from pneumo_cli.cli.flags import parameters, with_parameters
    from pneumo_cli.settings.resolve import settings_class
    from pneumo_cli.settings.schema import MachineSettings, TrainerSettings

    spec = entry.spec
    names = ", ".join(preset.name for preset in spec.presets)
    presets = "; ".join(f"{preset.name}: {preset.summary}" for preset in spec.presets)

    def command(preset: str | None, config: Path | None, print_config: bool, **values: Any) -> None:
        _run(plugins, entry, values, preset, config, print_config)

    def complete_preset(incomplete: str) -> list[str]:
        return [one.name for one in spec.presets if one.name.startswith(incomplete)]

    keyword = inspect.Parameter.KEYWORD_ONLY
    own: list[inspect.Parameter] = [
        inspect.Parameter(
            "preset",
            keyword,
            default=None,
            annotation=Annotated[
                str | None,
                typer.Option(
                    help=f"Named set of values: {names}.",
                    metavar="NAME",
                    show_default=spec.presets[0].name,
                    autocompletion=complete_preset,
                ),
            ],
        ),
        inspect.Parameter(
            "config",
            keyword,
            default=None,
            annotation=Annotated[
                Path | None,
                typer.Option(
                    help="TOML file of settings; also a run's run.toml.", show_default="pneumo.toml"
                ),
            ],
        ),
        inspect.Parameter(
            "print_config",
            keyword,
            default=False,
            annotation=Annotated[
                bool,
                typer.Option(
                    "--print-config", help="Show the settings and where each came from; run nothing."
                ),
            ],
        ),
    ]
    recipe = settings_class(entry)
    general = list(TrainerSettings.model_fields)
    specific = [name for name in recipe.model_fields if name not in general]
    own += parameters(recipe, "Recipe", {"model": spec.model}, general)
    own += parameters(recipe, f"Recipe of {spec.name}", {}, specific)
    own += parameters(MachineSettings, "Machine", {})
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST},
    )
    app.command(
        name=spec.name,
        cls=LazyCommand,
        help=f"{spec.summary}.\n\nSettings come from flags, then PNEUMO_… variables, then pneumo.toml (or "
        f"--config), then the preset, then the defaults shown here.\n\nPresets: {presets}.",
    )(with_parameters(command, own))
    return app


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


def _resume(plugins: Plugins, path: Path, flags: dict[str, Any]) -> None:
    from pneumo_cli.runs.folder import RunFolder, is_group
    from pneumo_cli.runs.record import finished_epochs, reopen_settings

    if is_group(path):
        from pneumo_cli.cli.groups import resume_group

        resume_group(plugins, path, flags)
        return
    folder = RunFolder.open(path)
    resolved = reopen_settings(plugins, folder, flags)
    done = finished_epochs(folder)
    if done is not None and done >= resolved.trainer.epochs:
        if flags["epochs"] is not None and flags["epochs"] < done:
            raise UsageError(f"{path} has {done} epochs already; --epochs is the new total")
        print(
            f"pneumo: {path} is finished ({done} epochs): {folder.report_html}; "
            f"to extend it: pneumo resume {path} --epochs {done + 1}",
            file=sys.stderr,
        )
        return
    if not (folder.checkpoints / "last.pt").is_file():
        raise UsageError(
            f"{path} ended before its first checkpoint; to run it again: "
            f"pneumo run {resolved.entry.spec.name} --config {folder.settings}"
        )
    _carry_out(plugins, resolved, folder)


def _evaluate(
    plugins: Plugins, paths: list[Path], flags: dict[str, Any], split: str, checkpoint: str, as_json: bool
) -> None:
    from pneumo_cli.errors import nearest
    from pneumo_cli.runs.folder import RunFolder, is_group
    from pneumo_cli.trainers.loading import check_checkpoint

    splits = ("train", "validation", "test")
    if split not in splits:
        raise UsageError(f"{split!r} is none of {', '.join(splits)}; {nearest(split, splits)}")
    check_checkpoint(checkpoint)
    from pneumo_cli.runs.record import reopen_settings
    from pneumo_cli.trainers.session import set_up
    from pneumo_cli.training.reevaluation import reevaluate
    from pneumo_cli.training.runner import open_runner

    if len(paths) > 1 or is_group(paths[0]):
        from pneumo_cli.cli.groups import evaluate_ensemble_of

        result = evaluate_ensemble_of(plugins, paths, flags, split, checkpoint)
        by = f"the mean of {len(result['runs'])} runs, {checkpoint} checkpoints"
    else:
        folder = RunFolder.open(paths[0])
        setup = set_up(plugins, reopen_settings(plugins, folder, flags))
        runner = open_runner(setup, plugins.observing(), progress=for_stderr(), command=sys.argv)
        result = reevaluate(runner, folder, checkpoint, split)
        by = f"{checkpoint} checkpoint of epoch {result['epoch']}"
    if as_json:
        print_json(result)
        return
    intervals = result.get("intervals", {})
    rows = [[name, f"{value:.4f}"] for name, value in result["metrics"].items()]
    head = ["metric", "value"]
    if intervals:
        head.append("95 % interval")
        for row in rows:
            ends = intervals.get(row[0])
            row.append(f"{ends[0]:.4f} to {ends[1]:.4f}" if ends else "")
    print_table(head, rows)
    at = f", operating point {result['operating_point']}" if "operating_point" in result else ""
    print(f"pneumo: {result['images']} {split} images of {result['dataset']}, {by}{at}", file=sys.stderr)


def _carry_out(plugins: Plugins, resolved: Resolved, folder: RunFolder | None = None) -> None:
    """Start a new run, or take up the one in ``folder``: here, or in one process per device."""
    from pneumo_cli.runtime.launch import inside_launcher, launch
    from pneumo_cli.trainers.session import set_up

    setup = set_up(plugins, resolved)
    if folder is None:
        setup.check_request()
    if resolved.machine.devices > 1 and not inside_launcher():
        raise typer.Exit(launch(resolved.machine.devices, sys.argv[1:]))
    from pneumo_cli.runtime.distributed import join_ranks
    from pneumo_cli.training.runner import open_runner

    ranks = join_ranks(resolved.machine.device)
    try:
        progress = for_stderr(ranks.first)
        runner = open_runner(setup, plugins.observing(), progress=progress, ranks=ranks, command=sys.argv)
        if folder is None:
            runner.start()
        else:
            runner.resume(folder)
    finally:
        ranks.close()
