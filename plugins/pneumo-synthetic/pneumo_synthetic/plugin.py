"""The plugin ``synthetic``: commands for generated images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumo_cli.api import FunctionSpec, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

    import typer

api_version = 1


@hookimpl
def register_commands(app: typer.Typer) -> None:
    """``generate``, ``evaluate-images`` and ``tstr``."""
    from pneumo_synthetic.commands import add_commands

    add_commands(app)


@hookimpl
def register_functions() -> Iterator[FunctionSpec]:
    """``pneumo_cli.generate``, ``evaluate_images`` and ``tstr``."""
    for name, summary in (
        ("generate", "Generates images with a trained generative network"),
        ("evaluate_images", "Measures generated images: distance to real ones, copies, diversity"),
        ("tstr", "Trains classifiers on synthetic images and tests them on real ones"),
    ):
        yield FunctionSpec(name=name, summary=summary, function=f"pneumo_synthetic.functions:{name}")
