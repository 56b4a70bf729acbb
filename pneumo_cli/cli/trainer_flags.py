"""A command with the settings of one trainer as flags, such as ``pneumo run cnn``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.help_pages import WIDEST
from pneumo_cli.cli.lazy import LazyCommand
from pneumo_cli.plugins.discovery import Plugins

if TYPE_CHECKING:
    from pneumo_cli.registry import Entry
    from pneumo_cli.settings.schema import TrainerSettings
    from pneumo_cli.specs import TrainerSpec

_FIRST = ("dataset", "data_root", "model", "epochs", "batch_size", "lr", "image_size")
_LAST = ("seed", "device", "output")
_OWN = 3  # settings of a trainer that names none


def trainer_command(
    plugins: Plugins,
    entry: Entry[TrainerSpec],
    function: Callable[..., None],
    own: Sequence[inspect.Parameter],
    *,
    text: str,
    without: Sequence[str] = (),
    folded: Sequence[str] = (),
) -> Any:
    """The command, which has its presets in ``--help``; imports the trainer's settings.

    ``--help`` has the settings that most people change, ``--help-all`` all of them.

    Args:
        function: receives ``preset``, ``config``, ``_with``, the parameters ``own``, and all settings as
            ``**values``; None: not given.
        own: the command's own parameters, before ``--with``. A setting with the name of one has no flag.
        text: the beginning of its help.
        without: settings that have no flag, either.
        folded: the command's own parameters that stand in ``--help-all`` alone.
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

    places = {name: place for place, name in enumerate(main_settings(recipe))}
    for one in (preset, config, *own, parts):
        if one.name not in folded:
            places[one.name] = -1

    class Trainer(LazyCommand):
        """The command, with its presets in ``--help``."""

        def main_params(self, parameters: list[Any]) -> list[Any]:
            shown = [one for one in parameters if one.name in places or one.name in ("help", "help_all")]
            return sorted(shown, key=lambda one: places.get(one.name, -1))

        def main_section(self, parameter: Any) -> str:
            return "Settings" if places.get(parameter.name, -1) >= 0 else super().main_section(parameter)

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


def main_settings(recipe: type[TrainerSettings]) -> list[str]:
    """The settings that ``--help`` shows, in order.

    Those that most people change in any trainer, and between them what the trainer itself declares
    (``TrainerSettings.main_settings``), or else the first three that are its own.
    """
    from pneumo_cli.settings import schema

    own = recipe.main_settings
    if own is None:
        bases = (cls for cls in recipe.__mro__ if cls.__module__ == schema.__name__)
        general = {name for cls in bases for name in getattr(cls, "model_fields", ())}
        own = tuple(name for name in recipe.model_fields if name not in general)[:_OWN]
    return [*dict.fromkeys((*_FIRST, *own, *_LAST))]


def keyword(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    """A parameter of a command that is made from a list of parameters."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _options(spec: TrainerSpec) -> list[inspect.Parameter]:
    """What is no setting itself, and decides which settings there are or where they come from."""
    names = [preset.name for preset in spec.presets]
    preset = typer.Option(
        help="One of the sets of values above.",
        metavar="NAME",
        show_default=names[0],
        autocompletion=lambda incomplete: [name for name in names if name.startswith(incomplete)],
    )
    config = typer.Option(
        metavar="FILE", help="TOML file of settings, or a run's run.toml.", show_default="pneumo.toml"
    )
    parts = typer.Option(
        "--with",
        metavar="NAME",
        help="An extension or observer (pneumo list-extensions); several, the outermost first, with commas or "
        "repeated.",
        show_default=False,
        callback=lambda names: names or None,
    )
    return [
        keyword("preset", Annotated[str | None, preset]),
        keyword("config", Annotated[Path | None, config]),
        keyword("_with", Annotated[list[str] | None, parts]),
    ]
