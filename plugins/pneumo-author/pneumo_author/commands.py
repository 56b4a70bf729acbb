"""``pneumo new`` and ``pneumo check``: a new plugin package, and a plugin against the contract."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import print_json, print_line, print_text
from pneumo_cli.errors import UsageError
from pneumo_cli.installation import pip_install
from pneumo_cli.runtime.streams import printable

if TYPE_CHECKING:
    from pneumo_author.checks import Result

KINDS = ("trainer", "model", "dataset", "observer", "extension", "command", "decoder")
_PANEL = "For authors of plugins"


def add_commands(app: typer.Typer) -> None:
    """Add ``new`` and ``check``."""

    @app.command(rich_help_panel=_PANEL)
    def new(
        ctx: typer.Context,
        name: Annotated[
            str, typer.Argument(metavar="NAME", help="What it is called: lower-case words and -.")
        ],
        kind: Annotated[
            str,
            typer.Option("--kind", metavar="|".join(KINDS), help="What the plugin adds (required)."),
        ] = "",
        output: Annotated[Path, typer.Option("--output", help="Folder in which pneumo-NAME is made.")] = Path(
            "."
        ),
    ) -> None:
        """Make a plugin package: complete, tested and typed.

        It installs and passes its tests at once. What to do next is printed."""
        from pneumo_author.scaffold import make_package

        if kind not in KINDS:
            instead = f", not {kind!r}" if kind else ""
            raise UsageError(f"--kind is {', '.join(KINDS[:-1])} or {KINDS[-1]}{instead}")
        for line in make_package(ctx.obj, name, kind, output).splitlines():
            print_line(line)

    @app.command(rich_help_panel=_PANEL)
    def check(
        ctx: typer.Context,
        name: Annotated[
            str, typer.Argument(metavar="NAME", help="A plugin, a distribution, or one registered part.")
        ],
        dataset: Annotated[
            str | None,
            typer.Option("--dataset", help="Dataset to try trainers on.", show_default="a small one"),
        ] = None,
        data_root: Annotated[
            Path | None,
            typer.Option("--data-root", help="Folder of a dataset's images, or of files for a decoder."),
        ] = None,
        json: JsonFlag = False,
    ) -> None:
        """Check a plugin against the contract.

        Tries all that it registers on small data, about a minute for a trainer. Exit code 1 if a rule is broken."""
        results = _checked(ctx.obj, name, dataset, data_root, json)
        broken = sum(result.outcome == "broken" for result in results)
        if json:
            print_json({"name": name, "broken": broken, "checks": [result.plain() for result in results]})
        else:
            skipped = sum(result.outcome == "skipped" for result in results)
            left_out = f", {skipped} left out" if skipped else ""
            print()
            print_text(f"{name}: {len(results) - skipped - broken} checks ok, {broken} broken{left_out}")
        if broken:
            raise typer.Exit(1)


def _checked(plugins: Any, name: str, dataset: str | None, root: Path | None, json: bool) -> list[Result]:
    try:
        import pytest  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError(f"pneumo check needs pytest: {pip_install('pneumo-cli[testing]')}") from None
    from pneumo_author.checks import run_checks
    from pneumo_author.parts import named_parts

    parts = named_parts(plugins, name)
    if dataset is not None:
        plugins.datasets.get(dataset)
    if root is not None and not root.exists():
        raise UsageError(f"--data-root {root}: there is no such folder")
    root = root.absolute() if root is not None else None
    stream = _own_stdout()
    shown: list[str] = []

    def show(result: Result) -> None:
        if json:
            return
        if result.part not in shown:
            shown.append(result.part)
            print(("\n" if len(shown) > 1 else "") + printable(result.part), file=stream)
        for line in _lines(result):
            print(line, file=stream, flush=True)

    return run_checks(plugins, parts, dataset or "", root, show)


def _own_stdout() -> Any:
    """Stdout as it is now: pytest takes the file descriptor while checks run."""
    try:
        return os.fdopen(
            os.dup(sys.stdout.fileno()), "w", encoding=sys.stdout.encoding, errors="backslashreplace"
        )
    except (OSError, ValueError):  # a test's
        return sys.stdout


def _lines(result: Result) -> list[str]:
    if result.outcome == "skipped":
        return [f"  -       {printable(result.check)} ({printable(result.reason)})"]
    if result.outcome == "ok":
        return [f"  ok      {printable(result.check)}"]
    lines = [f"  BROKEN  {printable(result.check)}"]
    lines += [
        f"            {title:<8}{printable(text)}"
        for title, text in (("rule:", result.rule), ("broken:", result.broken), ("mend:", result.mend))
    ]
    if result.trace and os.environ.get("PNEUMO_DEBUG", "") not in ("", "0"):
        lines += result.trace.splitlines()
    return lines
