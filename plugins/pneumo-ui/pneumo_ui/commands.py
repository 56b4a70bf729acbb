"""``pneumo ui``: a live page of the runs below a folder."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from pneumo_cli.runtime.terminal import print_message

if TYPE_CHECKING:
    from pneumo_cli.plugins.discovery import Plugins


def add_commands(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(rich_help_panel="Runs")(ui)


def ui(
    ctx: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER",
            help="Where the runs are, subfolders included.",
            show_default="the output folder",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", help="Where to listen; for any but this machine a token is demanded."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 8765,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            metavar="TEXT",
            help="What a browser has to know; in the address that is printed.",
            show_default="a random one where it is demanded",
        ),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Show the runs below a folder in the browser, live. Images that are dropped on the page are classified."""
    plugins: Plugins = ctx.obj
    where = _folder(folder)

    import secrets

    from pneumo_cli.errors import UsageError
    from pneumo_ui.app import create_app
    from pneumo_ui.safety import Access, is_loopback
    from pneumo_ui.server import bind, serve
    from pneumo_ui.worker import at_work

    if token is not None and not re.fullmatch(_ALLOWED, token):
        raise UsageError(
            "--token takes 12 to 100 characters of A-Z, a-z, 0-9, - and _: a shorter one can be guessed, and "
            "others do not go unchanged into an address and a cookie"
        )
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(18)
    listening = bind(host, port)
    access = Access(host, listening.getsockname()[1], token or "")
    address = access.address()
    print_message(f"{address} shows the runs below {where}; Ctrl-C ends it")
    if open_browser:
        import webbrowser

        webbrowser.open(address)
    try:
        serve(create_app(where, plugins, access), listening)
    except KeyboardInterrupt:
        if at_work():
            _leave()
        raise


_ALLOWED = r"[A-Za-z0-9_-]{12,100}"


def _leave() -> NoReturn:
    """End the program in the midst of a prediction, which cannot be stopped: Python would wait for it or abort."""
    print_message("interrupted")
    sys.stderr.flush()
    os._exit(128 + signal.SIGINT)


def _folder(given: Path | None) -> Path:
    """The folder of runs.

    Raises:
        UsageError: there is none.
    """
    from pneumo_cli.errors import UsageError

    if given is None:
        from pneumo_cli.settings.resolve import resolve_machine

        given = resolve_machine({}).output
        if not given.exists():
            raise UsageError(f"there are no runs yet: the output folder {given} does not exist; name another")
    if given.is_dir():
        return given.absolute()
    raise UsageError(f"{given} is no folder" if given.exists() else f"there is no folder {given}")
