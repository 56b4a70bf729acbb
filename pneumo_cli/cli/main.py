"""The program ``pneumo``: its commands, and how failures end.

Imports neither torch, pydantic nor matplotlib: a command imports what it needs when it runs.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from pneumo_cli.cli import data, doctor, list_plugins, list_runs, predict, runs, show
from pneumo_cli.cli.lazy import WHOLE, WIDEST, LazyGroup, make_lazy
from pneumo_cli.errors import PneumoError, nearest
from pneumo_cli.plugins.discovery import CommandProblem, Plugin, Plugins, discover
from pneumo_cli.runtime.progress import NOTICE

_EPILOG = "Start with: pneumo run cnn --preset quick. Research software, no medical device."


class _Commands(LazyGroup):
    """The top level: names the nearest command where one is unknown."""

    def list_commands(self, ctx: Any) -> list[str]:
        names = super().list_commands(ctx)
        return ["run", *(name for name in names if name != "run")]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The overview in plain text, by group. typer's own takes longer to import than the rest of pneumo."""
        self.format_usage(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(self.help or "")
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                panel = getattr(command, "rich_help_panel", None)
                title = panel if isinstance(panel, str) else "From plugins"
                panels.setdefault(title, []).append((name, command.get_short_help_str(WHOLE)))
        options = [record for p in self.get_params(ctx) if (record := p.get_help_record(ctx)) is not None]
        for title, rows in [*panels.items(), ("Options", options)]:
            with formatter.section(title):
                formatter.write_dl(rows)
        formatter.write_paragraph()
        formatter.write_text(self.epilog or "")

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            from pneumo_cli.errors import UsageError
            from pneumo_cli.registry import absent_text, bundled_in

            if bundled := bundled_in("command", name):
                raise UsageError(f"the command {name!r} {absent_text(bundled)}")
            raise UsageError(f"unknown command {name!r}; {nearest(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


def build_app(plugins: Plugins) -> typer.Typer:
    """The application with every command, those of plugins included."""
    app = typer.Typer(
        name="pneumo",
        cls=_Commands,
        help="Deep learning on chest radiographs: train, evaluate and compare, with plugins for every part.",
        epilog=_EPILOG,
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST},
    )

    @app.callback()
    def before_every_command(
        ctx: typer.Context,
        version: Annotated[
            bool,
            typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version),
        ] = False,
    ) -> None:
        ctx.obj = plugins
        if ctx.invoked_subcommand != "list-plugins":  # that one shows them itself, in full
            for problem in plugins.problems:
                print(f"pneumo: {problem}", file=sys.stderr)

    runs.add_commands(app, plugins)
    predict.add_commands(app)
    show.add_commands(app)
    list_runs.add_commands(app)
    list_plugins.add_commands(app)
    data.add_commands(app)
    doctor.add_commands(app)
    _add_plugin_commands(app, plugins)
    make_lazy(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"pneumo {version('pneumo-cli')}")
        raise typer.Exit


def _add_plugin_commands(app: typer.Typer, plugins: Plugins) -> None:
    """Let each plugin add commands to an app of its own, and take over those whose names are free."""

    def take(plugin: Plugin, given: Sequence[Any]) -> None:
        (own,) = given
        _check_free(app, own)
        _take_over(app, own)

    plugins.extend("register_commands", lambda: (typer.Typer(),), take, app=app)


def _check_free(app: typer.Typer, own: typer.Typer) -> None:
    """Refuse commands whose names are taken; a group whose name is taken is looked into.

    Raises:
        CommandProblem: one is.
    """
    commands, groups = _commands(app), _groups(app)
    for name in _commands(own):
        if name in commands or name in groups:
            raise CommandProblem(f"the command {name!r} exists already")
    for name, group in _groups(own).items():
        if name in commands:
            raise CommandProblem(f"the command {name!r} exists already")
        if name in groups:
            _check_free(groups[name], group)


def _take_over(app: typer.Typer, own: typer.Typer) -> None:
    app.registered_commands.extend(own.registered_commands)
    there = _groups(app)
    for group in own.registered_groups:
        name = _group_name(group)
        if name in there and group.typer_instance is not None:
            _take_over(there[name], group.typer_instance)
        else:
            app.registered_groups.append(group)


def _commands(app: typer.Typer) -> set[str]:
    return {c.name or _dashed(c.callback) for c in app.registered_commands if c.callback}


def _groups(app: typer.Typer) -> dict[str, typer.Typer]:
    return {
        name: group.typer_instance
        for group in app.registered_groups
        if (name := _group_name(group)) and group.typer_instance is not None
    }


def _group_name(group: Any) -> str:
    return str(group.name or (group.typer_instance.info.name if group.typer_instance else "") or "")


def _dashed(callback: Any) -> str:
    return str(callback.__name__).lower().replace("_", "-")


def main() -> None:
    """Run the program: one line on stderr and the right exit code for everything that goes wrong."""
    debug = os.environ.get("PNEUMO_DEBUG", "") not in ("", "0")
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="pneumo: %(message)s")
    logging.getLogger("pneumo").setLevel(logging.DEBUG if debug else logging.INFO)
    if (
        not debug
    ):  # it says at length that it cannot keep its list of fonts where the home folder is not writable
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.DEBUG if debug else NOTICE)
    try:
        code = typer.main.get_command(build_app(discover()))(standalone_mode=False)
        if code == 130:  # typer makes this of a Ctrl-C, without a word
            code = _fail("interrupted", 130, debug)
        sys.stdout.flush()  # here, where a reader that has gone is dealt with, and not at the interpreter's end
    except PneumoError as error:
        code = _fail(str(error), error.exit_code, debug)
    except typer.Abort:
        code = _fail("aborted", 1, debug)
    except KeyboardInterrupt:
        code = _fail("interrupted", 130, debug)
    except BrokenPipeError:
        # The reader of a pipe has gone (`pneumo list-models | head`): no failure of ours, and no place to say so.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # `pneumo` alone: typer raises its help
            print(error, file=sys.stderr)
            code = 2
        else:
            code = _fail(*_described(error), debug)
    sys.exit(code if isinstance(code, int) else 0)


def _described(error: Exception) -> tuple[str, int]:
    format_message = getattr(error, "format_message", None)
    if format_message is not None:  # typer's own usage errors
        text = " ".join(str(format_message()).split())
        return f"{text[:1].lower()}{text[1:]}", int(getattr(error, "exit_code", 2))
    if "OutOfMemoryError" in type(error).__name__ or "can't allocate memory" in str(error):
        return "out of memory: a smaller --batch-size (with --accumulate) or --image-size needs less", 1
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}", 1
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text} (PNEUMO_DEBUG=1 shows the traceback)", 1


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    if os.environ.get("RANK", "0") == "0" or code == 1:
        print(f"pneumo: {message}", file=sys.stderr, flush=True)
    return code
