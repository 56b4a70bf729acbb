"""Flags that commands on datasets share, and those of the datasets' own options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pneumo_cli.cli.options import CacheFlag as CacheFlag
from pneumo_cli.cli.options import HomeFlag as HomeFlag
from pneumo_cli.cli.options import RootFlag
from pneumo_cli.errors import UsageError

if TYPE_CHECKING:
    from pneumo_cli.registry import Registries

DATASET_PANEL = "Options of datasets"
_Command = TypeVar("_Command", bound=Callable[..., None])


def _checked_share(value: float) -> float:
    if not 0 < value < 1:
        raise UsageError(f"--validation-fraction is {value:g}: it is a share above 0 and below 1")
    return value


DatasetFlag = Annotated[
    str | None,
    typer.Option("--dataset", help="A registered dataset.", show_default="the one that recognizes the files"),
]
DataRootFlag = RootFlag
FractionFlag = Annotated[
    float,
    typer.Option(
        "--validation-fraction",
        help="Share of the training pool used for validation.",
        callback=_checked_share,
    ),
]
SplitSeedFlag = Annotated[int, typer.Option("--split-seed", help="Seed of the split.")]


def takes_dataset_options(command: _Command) -> _Command:
    """Give a command the flags of all datasets' options; it receives them as ``**options``, None if not given."""
    command.takes_dataset_options = True  # type: ignore[attr-defined]
    return command


def with_dataset_options(command: Callable[..., Any], registries: Registries) -> Callable[..., Any]:
    """The command, with the flags of the installed datasets' options if it takes them."""
    if not getattr(command, "takes_dataset_options", False):
        return command

    from pneumo_cli.cli.flags import with_lists

    options = option_parameters(registries)

    def extended(*arguments: Any, **values: Any) -> Any:
        return command(*arguments, **with_lists(options, values))

    own = inspect.signature(command, eval_str=True).parameters.values()
    kept = [one for one in own if one.kind is not inspect.Parameter.VAR_KEYWORD]
    signature = inspect.Signature([*kept, *options])
    extended.__signature__ = signature  # type: ignore[attr-defined]
    extended.__name__, extended.__doc__ = command.__name__, command.__doc__
    return extended


def option_parameters(registries: Registries) -> list[inspect.Parameter]:
    """A keyword parameter for each option of the installed datasets, whose help names these."""
    from pneumo_cli.cli.flags import parameters
    from pneumo_cli.settings.dataset_options import all_options

    flags = []
    for name, (cls, datasets) in all_options(registries).items():
        flags += parameters(cls, f"{DATASET_PANEL} ({', '.join(sorted(datasets))})", {}, [name])
    return sorted(flags, key=lambda flag: flag.name)
