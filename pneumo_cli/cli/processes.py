"""The processes of a command that trains: this one, or one per device (``--devices``)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pneumo_cli.runtime.distributed import Ranks
    from pneumo_cli.settings.schema import MachineSettings


@contextmanager
def joined_ranks(machine: MachineSettings) -> Iterator[Ranks]:
    """This process as one of the ranks that carry out the command, to be called when all requests are checked.

    Raises:
        typer.Exit: the command was carried out by processes of its own; with their exit code.
    """
    from pneumo_cli.runtime.launch import inside_launcher, launch

    if machine.devices > 1 and not inside_launcher():
        raise typer.Exit(launch(machine.devices, sys.argv[1:]))
    from pneumo_cli.runtime.distributed import join_ranks

    ranks = join_ranks(machine.device)
    try:
        yield ranks
    finally:
        ranks.close()
