"""``pneumo reproduce``: the source report's five tasks, run anew, on one page beside the report's numbers."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import print_json, print_table, print_text
from pneumo_cli.errors import Interrupted, PneumoError, UsageError, nearest
from pneumo_cli.runtime.progress import for_stderr

if TYPE_CHECKING:
    from pneumo_cli.plugins.discovery import Plugins
    from pneumo_reproduce.plan import Plan
    from pneumo_reproduce.reproduction import Reproduction
    from pneumo_reproduce.source_report import SourceReport

_PRESET = "quick"


def add_commands(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command(rich_help_panel="Runs")
    def reproduce(
        ctx: typer.Context,
        dataset: Annotated[
            str | None, typer.Option("--dataset", help="A registered dataset.", show_default="phantom")
        ] = None,
        data_root: Annotated[
            str | None,
            typer.Option("--data-root", help="Folder or zip archive of the images.", show_default=False),
        ] = None,
        preset: Annotated[
            str | None,
            typer.Option(
                "--preset",
                help="source: the report's recipes; quick: minutes on two cores; strong: our best.",
                show_default=_PRESET,
            ),
        ] = None,
        only: Annotated[
            list[str] | None,
            typer.Option(
                "--only", metavar="TASK", help="Only this task; may be repeated.", show_default=False
            ),
        ] = None,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Show the plan with its times; run and write nothing.")
        ] = False,
        output: Annotated[
            Path | None,
            typer.Option(
                "--output",
                metavar="DIR",
                help="Folder of the reproduction: a new one, or an earlier one, to go on with it.",
                show_default="a new one in runs/reproduce",
            ),
        ] = None,
        device: Annotated[
            str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")
        ] = None,
        precision: Annotated[
            str | None, typer.Option("--precision", help="auto, fp32, bf16 or fp16.")
        ] = None,
        threads: Annotated[
            int | None, typer.Option("--threads", min=0, help="CPU threads; 0: all.", show_default="0")
        ] = None,
        cache: Annotated[
            str | None, typer.Option("--cache", help="Folder of decoded images.", show_default=False)
        ] = None,
        data_home: Annotated[
            str | None, typer.Option("--data-home", help="Folder of imported datasets.", show_default=False)
        ] = None,
        json: JsonFlag = False,
    ) -> None:
        """Run the source report's five tasks and set their results beside the report's, on one page.

        Called again with the same --output it goes on where it was."""
        flags = {
            "dataset": dataset,
            "data_root": data_root,
            "device": device,
            "precision": precision,
            "threads": threads,
            "cache": cache,
            "data_home": data_home,
        }
        if _reproduce(ctx.obj, flags, preset, only or [], output, dry_run, json):
            raise typer.Exit(1)


def _reproduce(
    plugins: Plugins,
    flags: dict[str, Any],
    preset: str | None,
    only: Sequence[str],
    output: Path | None,
    dry_run: bool,
    as_json: bool,
) -> bool:
    """Return whether a wanted task has no result."""
    from pneumo_reproduce.reproduction import Reproduction, begin, is_begun, new_folder
    from pneumo_reproduce.source_report import source_report

    source = source_report()
    wanted = list(dict.fromkeys(only)) or source.names()
    for name in wanted:
        if name not in source.names():
            raise UsageError(f"the report has no task {name!r}; {nearest(name, source.names())}")
    begun = output is not None and is_begun(output)
    if not begun:
        folder = new_folder(Path("runs"), output)
        # A plan that is written down has all tasks: a later call may want the others.
        planned = _only(source, wanted) if dry_run else source
        plan = _planned(plugins, planned, flags, preset or _PRESET, wanted, fetch=not dry_run)
        if dry_run:
            _show(plan, wanted, as_json)
            return False
        begin(folder, plan)
    else:
        assert output is not None
        folder = output
    with Reproduction(folder) as reproduction:
        if begun:
            _check_same(reproduction.plan, flags, preset)
            reproduction.plan_again(plugins, source, for_stderr())
        if dry_run:
            _show(reproduction.plan, wanted, as_json)
            return False
        if not as_json:
            _show(reproduction.plan, wanted, False)
        content = _carry_out(reproduction, wanted)
    if as_json:
        print_json({**content, "folder": str(folder)})
    else:
        _show_results(content)
    print(f"pneumo: the page is {folder / 'report.html'}", file=sys.stderr)
    states = {task["name"]: task["state"] for task in content["tasks"]}
    return any(states[name] != "done" for name in wanted)


def _only(source: SourceReport, wanted: Sequence[str]) -> SourceReport:
    """The report with some of its tasks alone."""
    return replace(source, tasks=tuple(task for task in source.tasks if task.name in wanted))


def _planned(
    plugins: Plugins,
    source: SourceReport,
    flags: dict[str, Any],
    preset: str,
    wanted: Sequence[str],
    *,
    fetch: bool,
) -> Plan:
    from pneumo_reproduce.plan import Request, estimate, make_plan

    print("pneumo: planning; a few steps of each task are timed", file=sys.stderr, flush=True)
    plan = make_plan(plugins, source, Request(preset, flags, fetch), for_stderr())
    timed = [name for name in wanted if name in plan.settings]
    waiting = iter(enumerate(timed, 1))
    with (
        tempfile.TemporaryDirectory(prefix="pneumo-plan-") as folder,
        for_stderr().stage("planning", len(timed), "tasks") as advance,
    ):

        def tell() -> None:
            for number, name in islice(waiting, 1):
                print(f"pneumo: timing {number} of {len(timed)}, {name}", file=sys.stderr, flush=True)

        def told(name: str) -> None:
            advance(1)
            tell()

        plan.write(Path(folder))
        tell()
        estimate(plan, timed, Path(folder), told)
    return plan


def _check_same(plan: Plan, flags: dict[str, Any], preset: str | None) -> None:
    """What is gone on with was asked for already; another wish is another reproduction."""
    asked = {name: str(value) for name, value in flags.items() if value is not None}
    asked |= {} if preset is None else {"preset": preset}
    before = {**plan.content["flags"], "preset": plan.content["preset"]}
    for name, value in asked.items():
        if before.get(name) != value:
            was = f"with --{name.replace('_', '-')} {before[name]}" if name in before else "without it"
            raise UsageError(
                f"--{name.replace('_', '-')} {value}: this reproduction was begun {was}, and goes on as it was; "
                "leave it out, or name a new folder with --output"
            )


def _carry_out(reproduction: Reproduction, wanted: Sequence[str]) -> dict[str, Any]:
    from pneumo_reproduce.page import write_reproduction
    from pneumo_reproduce.source_report import source_report

    def tell(said: str) -> None:
        print(f"pneumo: {said}", file=sys.stderr, flush=True)

    source = source_report()
    ordered = [name for name in reproduction.names() if name in wanted]
    try:
        # What comes through the pipe of a task's process are its lines; the bar of its epochs is drawn here.
        for number, (name, outcome) in enumerate(reproduction.carry_out(ordered, tell, for_stderr()), 1):
            because = f": {outcome.reason}" if outcome.reason else ""
            tell(f"{number} of {len(ordered)}, {name}: {outcome.state}{because}")
            write_reproduction(reproduction, source)
    except Interrupted:
        write_reproduction(reproduction, source)
        raise
    except OSError as error:
        raise PneumoError(
            f"{reproduction.folder} cannot be written: {error.strerror}; what has been run is kept"
        ) from error
    return write_reproduction(reproduction, source)


def _show(plan: Plan, wanted: Sequence[str], as_json: bool) -> None:
    content = plan.content
    if as_json:
        print_json({**content, "tasks": [task for task in content["tasks"] if task["name"] in wanted]})
        return
    rows, total, unknown = [], 0, 0
    for task in content["tasks"]:
        if task["name"] not in wanted:
            continue
        settings, seconds = task.get("settings", {}), task.get("estimate")
        total += seconds or 0
        unknown += seconds is None
        rows.append(
            [
                task["name"],
                settings.get("model", ""),
                f"{settings['image_size']} px" if settings else "",
                f"{task['images']['train']:,}" if settings else "",
                settings.get("epochs", ""),
                _about(seconds),
                task["problem"] or task["replaced"],
            ]
        )
    data = content["dataset"]
    print(f"The source report on {data['name']}, preset {content['preset']}\n")
    print_table(["task", "model", "size", "training images", "epochs", "takes about", "note"], rows)
    more = f", and what {unknown} of them take, which is not known" if unknown else ""
    print_text(
        f"\nIn all about {_about(total)}{more}: from a few steps of each task, timed on this machine; more "
        "if something else runs beside it.\n"
    )


def _show_results(content: dict[str, Any]) -> None:
    rows = []
    for task in content["tasks"]:
        for number in task["numbers"]:
            if number["interval"]:
                low, high = number["interval"]
                rows.append(
                    [
                        task["name"],
                        number["label"],
                        number["report"] if isinstance(number["report"], float) else "",
                        f"{number['ours']:.4f}",
                        f"{low:.4f} to {high:.4f}",
                    ]
                )
    if rows:
        print_table(["task", "on the test images", "the report", "here", "95 % interval"], rows)
    print_text(f"{content['filled']} of {len(content['tasks'])} tasks have results")


def _about(seconds: float | None) -> str:
    """A time in the unit that fits; an estimate needs no more digits.

    >>> _about(None), _about(40), _about(400), _about(40_000)
    ('not known', '1 min', '7 min', '11 h')
    """
    if seconds is None:
        return "not known"
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h" if seconds < 36_000 else f"{seconds / 3600:.0f} h"
