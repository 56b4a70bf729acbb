"""``pneumo sweep TRAINER`` and ``pneumo sweep resume FOLDER``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.lazy import DeferredCommand, LazyGroup
from pneumo_cli.cli.options import CacheFlag, DeviceFlag, JsonFlag, RootFlag, ThreadsFlag
from pneumo_cli.cli.output import print_json, print_line, print_table, print_text
from pneumo_cli.runtime import terminal

if TYPE_CHECKING:
    from pneumo_cli.plugins.discovery import Plugins
    from pneumo_cli.registry import Entry
    from pneumo_cli.specs import TrainerSpec
    from pneumo_cli.workflows.caller import Caller
    from pneumo_sweep.plan import SweepFolder

_ROWS = 12
"""Trials in the table that is printed; the page has all."""
_LINE = 80

WorkersFlag = Annotated[
    int, typer.Option("--workers", metavar="N", help="Processes on this machine that carry out trials.")
]
_FLAGS: Mapping[str, tuple[Any, Any]] = {
    "grid": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--set",
                metavar="NAME=A,B,...",
                help="Try each value of a setting; several --set: all combinations.",
                show_default=False,
            ),
        ],
        None,
    ),
    "search": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--search",
                metavar="NAME=RANGE",
                help="Draw a setting from a range, LOW..HIGH (whole numbers for a whole setting) or "
                "log:LOW..HIGH, or from a list A,B,...; with --set, each draw is tried with every combination.",
                show_default=False,
            ),
        ],
        None,
    ),
    "trials": (
        Annotated[
            int | None, typer.Option("--trials", metavar="N", help="Draws from --search.", show_default="20")
        ],
        None,
    ),
    "sampler": (
        Annotated[
            str,
            typer.Option(
                "--sampler",
                metavar="quasi-random|tpe",
                help="quasi-random: a trial's settings depend on --seed and its number alone; tpe: Optuna's, which "
                "also depends on the trials that were finished before it.",
            ),
        ],
        "quasi-random",
    ),
    "metric": (
        Annotated[
            str | None,
            typer.Option(
                "--metric",
                metavar="NAME",
                help="Validation metric by which trials are compared.",
                show_default="the one that selects the best checkpoint",
            ),
        ],
        None,
    ),
    "prune": (
        Annotated[
            str | None,
            typer.Option(
                "--prune",
                metavar="median|hyperband",
                help="Stop trials early that are behind others. Which ones depends on who was ahead at the time, "
                "so with several workers on their speed.",
                show_default=False,
            ),
        ],
        None,
    ),
    "with_seeds": (
        Annotated[
            int,
            typer.Option(
                "--with-seeds",
                metavar="N",
                help="Train the best two settings with N further seeds, to tell a lead from chance.",
                show_default="0",
            ),
        ],
        0,
    ),
    "workers": (WorkersFlag, 1),
    "storage": (
        Annotated[
            str | None,
            typer.Option(
                "--storage",
                metavar="URL",
                help="Database that workers share: sqlite:///FILE, postgresql://…, mysql://…",
                show_default="SQLite in the sweep's folder",
            ),
        ],
        None,
    ),
    "reports": (
        Annotated[bool, typer.Option("--reports", help="Write the report pages of all trials.")],
        False,
    ),
    "json": (JsonFlag, False),
}


def add_commands(app: typer.Typer) -> None:
    """Add the command to the program."""

    class Trainers(LazyGroup):
        """``resume``, and a subcommand for each registered trainer."""

        def list_commands(self, ctx: Any) -> list[str]:
            return [*ctx.obj.trainers.named(), *super().list_commands(ctx)]

        def get_command(self, ctx: Any, name: str) -> Any:
            if (own := super().get_command(ctx, name)) is not None:
                return own
            entry = ctx.obj.trainers.get(name)
            return DeferredCommand(
                partial(_trainer_command, ctx.obj, entry),
                name=name,
                short_help=f"{entry.spec.summary}.",
            )

    sweep = typer.Typer(cls=Trainers, no_args_is_help=True, rich_markup_mode=None)

    @sweep.callback()
    def before() -> None:
        """Try settings; choose the best on the validation images.

        For example: pneumo sweep cnn --preset quick --set lr=0.1,0.01,0.001. The test images are opened once, for
        the winner. `pneumo sweep TRAINER --help` shows all options, `pneumo sweep resume FOLDER` goes on.
        """

    app.add_typer(
        sweep,
        name="sweep",
        rich_help_panel="Runs",
        subcommand_metavar="TRAINER [OPTIONS] [SETTINGS]...",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    sweep.command("resume")(resume)


def _trainer_command(plugins: Plugins, entry: Entry[TrainerSpec]) -> Any:
    """The command of one trainer: the options of a sweep, and the trainer's settings."""
    from pneumo_cli.cli.trainer_flags import keyword, trainer_command
    from pneumo_cli.workflows.command_line import command_line

    def command(
        preset: str | None,
        config: Path | None,
        _with: list[str] | None,
        json: bool,
        grid: list[str] | None,
        search: list[str] | None,
        **values: Any,
    ) -> None:
        from pneumo_sweep.sweep import Request, start

        own = {name: values.pop(name) for name in _FLAGS if name in values}
        settings = {**values, "with": _with}
        shown = command_line("run", entry.spec.name, preset=preset, config=config, **settings)
        request = Request(
            entry,
            settings,
            *(grid or (), search or ()),
            preset=preset,
            config=config,
            shown=tuple(shown),
            **own,
        )
        _print(_carried_out(lambda: start(_caller(plugins), request, terminal.print_line)), json)

    own = [keyword(name, annotation, default) for name, (annotation, default) in _FLAGS.items()]
    return trainer_command(
        plugins,
        entry,
        command,
        own,
        text=f"Sweep: {entry.spec.summary}. Trials are ordinary runs, compared on the validation images. Settings "
        "below are those of all trials; --no-evaluate-test keeps the test images sealed for the winner, too.",
        without=("report", "seeds"),
        folded=("metric", "sampler", "prune", "with_seeds", "storage", "reports"),
    )


def resume(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder of a sweep.", show_default=False)
    ],
    workers: WorkersFlag = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="URL",
            help="The sweep's database, if its URL has a password or has changed.",
            show_default="as recorded",
        ),
    ] = None,
    device: DeviceFlag = None,
    data_root: RootFlag = None,
    cache: CacheFlag = None,
    threads: ThreadsFlag = None,
    json: JsonFlag = False,
    worker: Annotated[
        str | None, typer.Option("--worker", hidden=True, help="Carry out trials of this stage alone.")
    ] = None,
) -> None:
    """Go on with a sweep; while it runs, add workers to it, also from another machine."""
    import os

    from pneumo_sweep.processes import STORAGE_VARIABLE
    from pneumo_sweep.sweep import Hands
    from pneumo_sweep.sweep import resume as go_on

    machine = {"device": device, "data_root": data_root, "cache": cache, "threads": threads}
    url = storage or os.environ.get(STORAGE_VARIABLE)
    caller = _caller(ctx.obj)
    if worker is not None:
        from pneumo_sweep.sweep import work_alone

        _carried_out(
            lambda: work_alone(caller, folder, Hands(1, terminal.print_line, machine), url, worker),
            quiet=True,
        )
        return
    _print(
        _carried_out(lambda: go_on(caller, folder, Hands(workers, terminal.print_line, machine), url)), json
    )


def _caller(plugins: Plugins) -> Caller:
    from pneumo_cli.runtime.progress import for_stderr
    from pneumo_cli.workflows.caller import Caller

    return Caller(plugins, sys.argv, for_stderr(), console=False)


def _carried_out(work: Callable[[], SweepFolder], quiet: bool = False) -> SweepFolder:
    """The result of ``work``, which a signal stops in good order.

    Args:
        quiet: whether an interruption is no message: that of a worker, whose parent has one.
    """
    from pneumo_cli.errors import Interrupted
    from pneumo_cli.runtime.signals import interruptible, interruption

    with interruption() as request, interruptible(request):
        try:
            return work()
        except Interrupted as error:
            if quiet:
                raise typer.Exit(error.exit_code) from None
            raise


def _print(folder: SweepFolder, as_json: bool) -> None:
    """Print the results of a finished sweep; failed trials are an error after them."""
    import shlex

    from pneumo_cli.errors import PneumoError
    from pneumo_sweep.result import SweepResult

    result = SweepResult(folder.path)
    if as_json:
        print_json(result.content)
    else:
        head, rows = result.table(_ROWS, _LINE)
        print_table(head, rows)
        if len(result.trials) > len(rows):
            print_text(f"and {len(result.trials) - len(rows)} more, on the page")
        print()
        for sentence in result.sentences():
            print_text(sentence)
        print()
        print_line(shlex.join(result.content["winner"]["command"]))
    terminal.print_message(f"the page is {result.page}")
    if result.failures:
        name, reason = next(iter(result.failures.items()))
        count = f"{len(result.failures)} run{'s' if len(result.failures) > 1 else ''}"
        raise PneumoError(f"{count} of {folder.path} failed ({name}: {reason})")
