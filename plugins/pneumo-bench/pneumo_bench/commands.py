"""``pneumo bench`` and ``pneumo bench TRAINER``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.lazy import DeferredCommand, LazyGroup
from pneumo_cli.cli.options import DeviceFlag, JsonFlag, PrecisionFlag, ThreadsFlag
from pneumo_cli.cli.output import print_json, print_table, print_text
from pneumo_cli.runtime.terminal import print_message

if TYPE_CHECKING:
    from pneumo_cli.plugins.discovery import Plugins
    from pneumo_cli.registry import Entry
    from pneumo_cli.specs import TrainerSpec

SecondsFlag = Annotated[
    float | None,
    typer.Option(
        "--seconds", metavar="S", help="Of each measurement.", show_default="2, of all trainers 0.8"
    ),
]
AgainstFlag = Annotated[
    Path | None,
    typer.Option(
        "--against", metavar="FILE.json", help="An earlier result, to compare with.", show_default=False
    ),
]
OutputFlag = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE.json", help="Write the result as JSON, too.", show_default=False),
]
ImagesFlag = Annotated[
    Path | None,
    typer.Option(
        "--images",
        metavar="PATH",
        help="Folder or zip archive of images to decode.",
        show_default="one made here",
    ),
]
_FLAGS: Mapping[str, tuple[Any, Any]] = {
    "seconds": (SecondsFlag, None),
    "against": (AgainstFlag, None),
    "output": (OutputFlag, None),
    "json": (JsonFlag, False),
}


def add_commands(app: typer.Typer) -> None:
    """Add the command to the program."""

    class Trainers(LazyGroup):
        """A subcommand for each registered trainer."""

        commands_title = "Trainers"

        def list_commands(self, ctx: Any) -> list[str]:
            return list(ctx.obj.trainers.named())

        def get_command(self, ctx: Any, name: str) -> Any:
            entry = ctx.obj.trainers.get(name)
            return DeferredCommand(
                partial(_trainer_command, ctx.obj, entry), name=name, short_help=f"{entry.spec.summary}."
            )

    bench = typer.Typer(cls=Trainers, invoke_without_command=True, rich_markup_mode=None)

    @bench.callback()
    def machine(
        ctx: typer.Context,
        seconds: SecondsFlag = None,
        device: DeviceFlag = None,
        precision: PrecisionFlag = None,
        threads: ThreadsFlag = None,
        images: ImagesFlag = None,
        against: AgainstFlag = None,
        output: OutputFlag = None,
        json: JsonFlag = False,
    ) -> None:
        """Measure how fast this machine trains, where the time goes, and how far that is from the limit.

        For example: pneumo bench cnn --image-size 64. Without a trainer: the machine alone, and each trainer with
        its preset quick, in about a minute. Nothing is left behind, and no test image is read.
        """
        given = {"seconds": seconds, "device": device, "precision": precision, "threads": threads}
        paths = {"images": images, "against": against, "output": output}
        if ctx.invoked_subcommand is not None:
            from pneumo_cli.errors import UsageError

            named = [
                name for name, value in {**given, **paths, "json": json or None}.items() if value is not None
            ]
            if named:
                raise UsageError(
                    f"--{named[0]} goes behind the trainer: pneumo bench {ctx.invoked_subcommand} …"
                )
            return
        settings = {name: given[name] for name in ("device", "precision", "threads")}
        _carry_out(ctx.obj, None, seconds, {**paths, "config": None}, None, settings, json)

    app.add_typer(
        bench,
        name="bench",
        rich_help_panel="Runs",
        subcommand_metavar="[TRAINER [SETTINGS]...]",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _trainer_command(plugins: Plugins, entry: Entry[TrainerSpec]) -> Any:
    """The command of one trainer, with its settings as flags; imports the trainer's settings."""
    from pneumo_cli.cli.trainer_flags import keyword, trainer_command

    def command(
        preset: str | None,
        config: Path | None,
        _with: list[str] | None,
        seconds: float | None,
        against: Path | None,
        output: Path | None,
        json: bool,
        **values: Any,
    ) -> None:
        paths = {"images": None, "against": against, "output": output, "config": config}
        _carry_out(plugins, entry.spec.name, seconds, paths, preset, {**values, "with": _with}, json)

    own = [keyword(name, annotation, default) for name, (annotation, default) in _FLAGS.items()]
    return trainer_command(
        plugins,
        entry,
        command,
        own,
        text=f"Measure: {entry.spec.summary}. Steps are made with the settings below, on a few images, and thrown "
        "away.",
        without=("report", "seeds", "devices"),
    )


def _carry_out(
    plugins: Plugins,
    trainer: str | None,
    seconds: float | None,
    where: Mapping[str, Path | None],
    preset: str | None,
    settings: Mapping[str, Any],
    as_json: bool,
) -> None:
    """Measure and print; a signal stops it in good order."""
    from pneumo_bench.bench import Request
    from pneumo_bench.functions import measured
    from pneumo_bench.tables import parts
    from pneumo_cli.runtime.progress import for_stderr
    from pneumo_cli.runtime.signals import interruptible, interruption
    from pneumo_cli.workflows.background import stoppable

    request = Request(seconds, ["pneumo", *sys.argv[1:]], from_start=True, say=print_message)
    with interruption() as stop, interruptible(stop):
        result = measured(
            plugins,
            trainer,
            request,
            stoppable(for_stderr()),
            where=where,
            preset=preset,
            settings=settings,
        )
    if as_json:
        print_json(result.content)
        return
    for part in parts(result):
        if isinstance(part, str):
            print_text(part)
        else:
            heads, rows = part
            print()
            print_table(heads, rows)
            print()
