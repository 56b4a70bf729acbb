"""The program ``pneumo``: its commands, and how failures are reported.

Imports neither torch, pydantic nor matplotlib: a command imports what it needs when it runs.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command_name

from pneumo_cli.cli import data, doctor, list_plugins, list_runs, predict, runs, show
from pneumo_cli.cli.command_names import usage_message
from pneumo_cli.cli.help_pages import WIDEST, panel_of, write_sections
from pneumo_cli.cli.lazy import LazyGroup, make_lazy
from pneumo_cli.errors import EXITS, PneumoError, UsageError, with_type
from pneumo_cli.plugins.discovery import CommandProblem, Plugin, Plugins, discover
from pneumo_cli.runtime.progress import NOTICE
from pneumo_cli.runtime.streams import degrade_output, open_missing
from pneumo_cli.runtime.terminal import MessageFormatter, print_message
from pneumo_cli.workflows.failures import known_failure

_EPILOG = "Research software, no medical device."
_FIRST_STEPS = (
    ("pneumo run cnn --preset quick", "Train a network on synthetic radiographs."),
    ("pneumo list-runs", "What was trained, and how good it is."),
    ("pneumo predict RUN FILE...", "Predict images with a trained model."),
)
_PANELS = ("Runs", "Images", "Data", "What is installed", "For authors of plugins")
_ORDER = ("run", "list-runs", "evaluate", "compare", "resume", "sweep", "export", "reproduce", "predict")
_PLUGIN_FLAG = (
    "--plugin FILE.py",
    "Also use a plugin of one file; may be repeated.",
)


class _Commands(LazyGroup):
    """The top level: commands in sections, ``run`` first. typer's own help takes longer to import than pneumo."""

    def list_commands(self, ctx: Any) -> list[str]:
        places = {name: place for place, name in enumerate(_ORDER)}
        return sorted(super().list_commands(ctx), key=lambda name: places.get(name, len(places)))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command; ``train`` is ``run``, ``help`` is ``--help``, and ``version`` is ``--version``."""
        name, *words = args or [""]
        if self.get_command(ctx, name) is None:
            if name == "train":
                args = ["run", *words]
            elif name == "help" and words:
                return self.resolve_command(ctx, [*words, "--help"])
            elif name == "help" and not ctx.resilient_parsing:
                typer.echo(ctx.get_help())
                raise typer.Exit
            elif name == "version":
                _version(not ctx.resilient_parsing)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.format_usage(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(self.help or "")
        # `--plugin` is read before the commands are there, which depend on it (_plugin_files).
        options = [_PLUGIN_FLAG, *(p.get_help_record(ctx) for p in self.get_params(ctx))]
        panels = {panel: place for place, panel in enumerate(_PANELS)}
        commands = self.command_rows(ctx, lambda command: panel_of(command, "From plugins"))
        write_sections(
            formatter,
            [
                *(("Start with", row) for row in _FIRST_STEPS),
                *sorted(commands, key=lambda row: panels.get(row[0], len(panels))),
                *(("Options", record) for record in options if record is not None),
            ],
        )
        formatter.write_paragraph()
        formatter.write_text(self.epilog or "")


def build_app(plugins: Plugins) -> typer.Typer:
    """The application with every command, those of plugins included."""
    app = typer.Typer(
        name="pneumo",
        cls=_Commands,
        help="Deep learning on chest radiographs: train, evaluate and compare.",
        epilog=_EPILOG,
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST, "obj": plugins},
    )

    @app.callback()
    def before_every_command(
        ctx: typer.Context,
        version: Annotated[
            bool,
            typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version),
        ] = False,
    ) -> None:
        if ctx.invoked_subcommand != "list-plugins":  # that one shows them itself, in full
            for problem in plugins.problems:
                print_message(problem)

    runs.add_commands(app, plugins)
    for module in (predict, show, list_runs, list_plugins, data, doctor):
        module.add_commands(app)
    _add_plugin_commands(app, plugins)
    make_lazy(app, plugins)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"pneumo {version('pneumo-cli')}")
        raise typer.Exit


def _add_plugin_commands(app: typer.Typer, plugins: Plugins) -> None:
    """Let each plugin add commands to an app of its own, and merge those whose names are free."""

    def merge(plugin: Plugin, given: Sequence[Any]) -> None:
        (own,) = given
        if own.registered_callback is not None:
            raise CommandProblem("a callback of the whole program is refused: give each command its own")
        taken = [repr(name) for name in _merge(app, own)]
        if len(taken) == 1:
            raise CommandProblem(f"the command {taken[0]} exists already")
        if taken:
            raise CommandProblem(f"the commands {', '.join(taken[:-1])} and {taken[-1]} exist already")

    plugins.extend("register_commands", lambda: (typer.Typer(),), merge, app=app)


def _merge(app: typer.Typer, own: typer.Typer, path: str = "") -> list[str]:
    """Add a plugin's commands. Groups of one name become one group, except ``run``, whose commands are trainers.

    Args:
        path: of the group, with a space at the end.

    Returns:
        the commands and groups that are left out because their names are taken.
    """
    taken = []
    for command in own.registered_commands:
        name = _command_name(command)
        if name in _commands(app) or name in _groups(app):
            taken.append(f"{path}{name}")
        else:
            app.registered_commands.append(command)
    for group in own.registered_groups:
        name, groups = _group_name(group), _groups(app)
        if name in _commands(app) or (name == "run" and not path):
            taken.append(f"{path}{name}")
        elif name in groups and group.typer_instance is not None:
            taken += _merge(groups[name], group.typer_instance, f"{path}{name} ")
        else:
            app.registered_groups.append(group)
    return taken


def _commands(app: typer.Typer) -> set[str]:
    return {_command_name(command) for command in app.registered_commands}


def _command_name(command: Any) -> str:
    return str(command.name or (get_command_name(command.callback.__name__) if command.callback else ""))


def _groups(app: typer.Typer) -> dict[str, typer.Typer]:
    return {
        name: group.typer_instance
        for group in app.registered_groups
        if (name := _group_name(group)) and group.typer_instance is not None
    }


def _group_name(group: Any) -> str:
    return str(group.name or (group.typer_instance.info.name if group.typer_instance else "") or "")


def main() -> None:
    """Run the program: one line on stderr and the right exit code for everything that goes wrong."""
    open_missing()
    degrade_output()
    debug = os.environ.get("PNEUMO_DEBUG", "") not in ("", "0")
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING)
    logging.getLogger("pneumo").setLevel(logging.DEBUG if debug else logging.INFO)
    if not debug:  # silences its long warning about an unwritable home folder
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.DEBUG if debug else NOTICE)
        handler.setFormatter(MessageFormatter())
    try:
        files, arguments = _plugin_files(sys.argv[1:])
        if files:  # here, so that processes that a command starts load them, too
            files = [*filter(None, os.environ.get("PNEUMO_PLUGINS", "").split(os.pathsep)), *files]
            os.environ["PNEUMO_PLUGINS"] = os.pathsep.join(dict.fromkeys(files))
        command = typer.main.get_command(build_app(discover()))
        gc.enable()
        code = command(arguments, standalone_mode=False)
        if code == 130:  # typer's exit code after Ctrl-C, without a message
            code = _fail("interrupted", 130, debug)
        sys.stdout.flush()  # here, so that a closed pipe is handled below
    except PneumoError as error:
        code = _fail(str(error), error.exit_code, debug)
    except typer.Abort:
        code = _fail("aborted", 1, debug)
    except KeyboardInterrupt:
        code = _fail("interrupted", 130, debug)
    except BrokenPipeError:
        # The reader has closed the pipe (`pneumo list-models | head`): not an error, and nowhere to report it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except EXITS as error:
        from pneumo_cli.plugins.exits import exit_failure, is_failure

        if not is_failure(error):
            raise
        code = _fail(str(exit_failure(error)), 1, debug)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # `pneumo` alone: typer raises its help
            print(error, file=sys.stderr)
            code = 2
        else:
            code = _fail(*_described(error), debug)
    sys.exit(code if isinstance(code, int) else 0)


def _plugin_files(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The files that ``--plugin`` names, absolute, and the other arguments. ``--`` ends the options.

    Raises:
        UsageError: a flag without a file.
    """
    files, others = [], []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            others += [argument, *remaining]
        elif argument == "--plugin" or argument.startswith("--plugin="):
            name = argument.partition("=")[2] or next(remaining, "")
            if not name or name.startswith("-"):
                raise UsageError("--plugin needs the path of a Python file: --plugin FILE.py")
            files.append(os.path.abspath(os.path.expanduser(name)))
        else:
            others.append(argument)
    return files, others


def _described(error: Exception) -> tuple[str, int]:
    if hasattr(error, "format_message"):  # typer's own usage errors
        return usage_message(error), int(getattr(error, "exit_code", 2))
    return known_failure(error) or f"{with_type(error)} (PNEUMO_DEBUG=1 shows the traceback)", 1


def _fail(message: str, code: int, debug: bool) -> int:
    from pneumo_cli.runtime.launch import first_rank, note_error

    if debug:
        import traceback

        traceback.print_exc()
    note_error(message)
    if first_rank() or code == 1:
        print_message(message)
    return code
