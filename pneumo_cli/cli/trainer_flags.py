"""A command with the settings of one trainer as flags, such as ``pneumo run cnn``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.lazy import WIDEST, LazyCommand
from pneumo_cli.plugins.discovery import Plugins

if TYPE_CHECKING:
    from pneumo_cli.registry import Entry
    from pneumo_cli.specs import TrainerSpec


def trainer_command(
    plugins: Plugins,
    entry: Entry[TrainerSpec],
    function: Callable[..., None],
    own: Sequence[inspect.Parameter],
    *,
    text: str,
    without: Sequence[str] = (),
) -> Any:
    """The command, which has its presets in ``--help``; imports the trainer's settings.

    Args:
        function: receives ``preset``, ``config``, ``_with``, the parameters ``own``, and all settings as
            ``**values``; None: not given.
        own: the command's own parameters, before ``--with``. A setting with the name of one has no flag.
        text: the beginning of its help.
        without: settings that have no flag, either.
    """
    from pneumo_cli.cli.data_options import option_parameters
    from pneumo_cli.cli.flags import parameters, part_parameters, with_parameters
    from pneumo_cli.settings.details import known_choices
    from pneumo_cli.settings.resolve import settings_class
    from pneumo_cli.settings.schema import MachineSettings, TrainerSettings

    spec = entry.spec
    recipe = settings_class(entry)
    general = list(TrainerSettings.model_fields)
    specific = [name for name in recipe.model_fields if name not in general]
    choices = known_choices(plugins)
    preset, config, parts = _options(spec)
    flags = [preset, config, *own, parts]
    left_out = {*without, *(one.name for one in flags)}
    flags += [
        one
        for one in (
            *parameters(recipe, "Recipe", {"model": spec.model}, general, choices),
            *parameters(recipe, f"Recipe of {spec.name}", {}, specific, choices),
            *option_parameters(plugins),
            *parameters(MachineSettings, "Machine", {}),
        )
        if one.name not in left_out
    ]
    flags += part_parameters(plugins, [one.name for one in flags])

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
        help=f"{text}\n\nSettings come from flags, then PNEUMO_… variables, then pneumo.toml (or --config), then "
        "the preset, then the defaults shown here.",
    )(with_parameters(function, flags))
    return typer.main.get_command(app)


def keyword(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    """A parameter of a command that is made from a list of parameters."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _options(spec: TrainerSpec) -> list[inspect.Parameter]:
    """What is no setting itself, and decides which settings there are or where they come from."""
    names = [preset.name for preset in spec.presets]
    preset = typer.Option(
        help="Named set of values, listed above.",
        metavar="|".join(names),
        show_default=names[0],
        autocompletion=lambda incomplete: [name for name in names if name.startswith(incomplete)],
    )
    config = typer.Option(
        metavar="FILE", help="TOML file of settings, or a run's run.toml.", show_default="pneumo.toml"
    )
    parts = typer.Option(
        "--with",
        metavar="NAME",
        help="An extension or observer (pneumo list-extensions) that takes part; several, the outermost first, "
        "with commas or repeated.",
        show_default=False,
        callback=lambda names: names or None,
    )
    return [
        keyword("preset", Annotated[str | None, preset]),
        keyword("config", Annotated[Path | None, config]),
        keyword("_with", Annotated[list[str] | None, parts]),
    ]
