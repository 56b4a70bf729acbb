"""What people type for a command: other names of some, and a hint for what is no command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pneumo_cli.errors import nearest
from pneumo_cli.runtime.streams import printable

_FEW = 8  # commands that an error lists

_ALIKE = 0.7  # of an option that was probably meant, as difflib counts

_USUAL = {
    "batch-size": "batch bs batchsize minibatch",
    "data-root": "data data-dir data-path root",
    "device": "gpu cuda xpu",
    "epochs": "n-epochs num-epochs max-epochs epoch",
    "image-size": "size img-size imgsz resolution",
    "lr": "learning-rate",
    "output": "dir out output-dir out-dir",
    "threads": "workers num-workers jobs",
}
"""Options, and what they are called elsewhere."""

_MEANT = {
    "bench": "benchmark profile speed",
    "evaluate": "test val validate validation score metrics",
    "generate": "sample samples synthesize",
    "list-runs": "ls runs results history",
    "new": "init create scaffold",
    "predict": "infer inference classify diagnose",
    "resume": "continue restart",
    "run": "train fit start",
    "show": "info describe inspect summary",
    "sweep": "tune search grid hpo optimize",
    "ui": "serve web gui dashboard view",
}


def unknown_command(ctx: Any, args: Sequence[str], commands: Mapping[str, Any]) -> str:
    """The message about a command that there is not, with the one that was probably meant.

    Args:
        ctx: of the group that has no command of this name.
        args: the name, and what follows it.
        commands: the visible ones of the group.
    """
    group = [ctx.info_name] if ctx.parent else []
    what = f"unknown command {' '.join([*group, args[0]])!r}"
    if meant := _meant(ctx, args, commands):
        *others, last = (" ".join([*group, one]) for one in meant)
        return f"{what}; did you mean {', '.join(others) + ' or ' if others else ''}{last}?"
    if len(commands) <= _FEW:
        return f"{what}; {nearest(args[0], commands)}"
    return f"{what}; see {ctx.command_path} --help"


def _meant(ctx: Any, args: Sequence[str], commands: Mapping[str, Any]) -> list[str]:
    wanted, *following = (word.lower() for word in args)
    if wanted == "list":
        lists = [name for name in commands if name.startswith("list-")]
        return [f"list-{following[0]}"] if following and f"list-{following[0]}" in lists else lists
    words = {other: own for own, others in _MEANT.items() if own in commands for other in others.split()}
    if wanted in words:
        return [words[wanted]]
    for name, command in commands.items():
        if wanted in _commands_of(ctx, command):
            return [f"{name} {wanted}"]
    similar = get_close_matches(wanted, [*commands])
    return similar or [words[word] for word in get_close_matches(wanted, [*words], n=1)]


def _commands_of(ctx: Any, command: Any) -> list[str]:
    """The names of the commands of a group, such as the trainers of ``run``."""
    return command.list_commands(ctx) if hasattr(command, "list_commands") else []


def _similar(error: Any) -> list[str]:
    """The options that were probably meant by one that there is not."""
    if error.ctx is None or not error.option_name.startswith("--"):
        return []
    parameters = [one for one in error.ctx.command.get_params(error.ctx) if not getattr(one, "hidden", False)]
    known = [flag for one in parameters for flag in (*one.opts, *one.secondary_opts) if flag.startswith("--")]
    wanted = error.option_name.lower().replace("_", "-")
    usual = [f"--{own}" for own, others in _USUAL.items() if wanted[2:] in others.split()]
    for exact in (wanted, *usual):
        if exact in known:
            return [exact]
    return sorted(get_close_matches(wanted, known, cutoff=_ALIKE))


def usage_message(error: Any) -> str:
    """The message about an option that there is not, or about any other misuse, from typer's error."""
    if not hasattr(error, "possibilities"):
        text = " ".join(str(error.format_message()).split()).removesuffix(".")
        text = f"{text[:1].lower()}{text[1:]}"
    elif similar := _similar(error):
        return f"no such option: {printable(error.option_name)}; did you mean {' or '.join(similar)}?"
    else:
        text = f"no such option: {printable(error.option_name)}"
    if error.ctx is None:
        return text
    long = any(one.name == "help_all" for one in error.ctx.command.get_params(error.ctx))
    return f"{text}; see {error.ctx.command_path} {'--help-all' if long else '--help'}"
