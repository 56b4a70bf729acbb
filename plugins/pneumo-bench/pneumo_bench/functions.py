"""The function ``pneumo_cli.bench``: what the command does, in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumo_bench.bench import Request, bench_all, bench_trainer
from pneumo_bench.result import BenchResult, check_target, read
from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.runtime.home import StrPath, expanded_path
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.workflows.argument_types import refuse_unknown
from pneumo_cli.workflows.command_line import command_line
from pneumo_cli.workflows.plugin_functions import carry_out

SHARED = ("device", "precision", "threads")
"""Settings of the machine that are given for all trainers."""


def bench(
    trainer: str | None = None,
    *,
    seconds: float | None = None,
    against: StrPath | None = None,
    output: StrPath | None = None,
    images: StrPath | None = None,
    preset: str | None = None,
    config: StrPath | None = None,
    extensions: str | Sequence[str] = (),
    progress: bool | None = None,
    **settings: Any,
) -> BenchResult:
    """Measure how fast this machine trains, and how far that is from its limit: what ``pneumo bench`` does.

    A model is trained for some seconds on a few images, and thrown away; no test image is read, and nothing is left
    behind.

    Args:
        trainer: a registered name; None: the machine alone, and each trainer with its preset ``quick``.
        seconds: of each measurement; None: 2, or 0.8 for all trainers.
        against: JSON of an earlier measurement, to compare with.
        output: a file for the JSON, in place of an earlier result.
        images: without a trainer: a folder or an archive of images to decode.
        preset, config, extensions, progress, settings: as of :func:`pneumo_cli.run`; without a trainer ``device``,
            ``precision`` and ``threads`` alone.

    Returns:
        the result: its ``content`` holds the values, and it is printed as tables.

    Raises:
        UsageError: the request cannot be met, or a file is no result.
        PneumoError: a step fails, or the file cannot be written.
        Interrupted: by Ctrl-C.
    """
    parts = [extensions] if isinstance(extensions, str) else list(extensions)
    paths = {"against": against, "output": output, "images": images, "config": config}
    where = {name: None if path is None else expanded_path(path) for name, path in paths.items()}
    own = {"preset": preset, "config": config, "with": parts or None, **settings}
    words = command_line("bench", *([trainer] if trainer else []), seconds=seconds, **own)
    request = Request(seconds, words)
    return carry_out(
        lambda caller: measured(
            caller.plugins,
            trainer,
            request,
            caller.progress,
            where=where,
            preset=preset,
            settings={**settings, "with": parts or None},
        ),
        progress,
    )


def measured(
    plugins: Plugins,
    trainer: str | None,
    request: Request,
    progress: Progress,
    *,
    where: Mapping[str, Path | None],
    preset: str | None,
    settings: Mapping[str, Any],
) -> BenchResult:
    """The result, compared and written as the paths ``where`` ask for; files are checked first.

    Raises:
        UsageError, PneumoError, Interrupted: as :func:`bench`.
    """
    request.check()
    against, output, images = where["against"], where["output"], where["images"]
    before = {} if against is None else read(against)
    if output is not None:
        check_target(output)
    if trainer is None:
        given = {name: value for name, value in settings.items() if value is not None}
        if preset is not None or where["config"] is not None:
            raise UsageError("presets and settings are those of a trainer: name one")
        refuse_unknown(given, SHARED)
        result = bench_all(plugins, given, request, progress, images)
    else:
        if images is not None:
            raise UsageError(f"images go without a trainer; {trainer} decodes those of its dataset")
        entry = plugins.trainers.get(trainer)
        resolved = resolve(plugins, entry, dict(settings), preset=preset, config=where["config"])
        result = bench_trainer(plugins, resolved, request, progress)
    if before:
        result = result.against(before)
    if output is not None:
        result.save(output)
    return result
