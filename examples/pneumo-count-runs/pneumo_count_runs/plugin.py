"""Adds the command ``count-runs``. Imported at every start of the program, so it imports little."""

from __future__ import annotations

from typing import Annotated

import typer

from pneumo_cli.api import hookimpl

api_version = 1


@hookimpl
def register_commands(app: typer.Typer) -> None:
    """One command; ``pneumo --help`` lists it."""

    @app.command("count-runs")
    def count_runs(
        folder: Annotated[str, typer.Argument(help="Folder of run folders.")] = "runs",
        state: Annotated[str, typer.Option(help="finished, interrupted, failed or running.")] = "finished",
    ) -> None:
        """Count the runs in a folder."""
        from pneumo_count_runs.count import count

        print(count(folder, state))
