"""``pneumo reproduce``: run the source report's five tasks and compare the results with the report on one page."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.data_options import CacheFlag, DataRootFlag, HomeFlag, takes_dataset_options
from pneumo_cli.cli.options import DeviceFlag, JsonFlag, PrecisionFlag
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
    @takes_dataset_options
    def reproduce(
        ctx: typer.Context,
        dataset: Annotated[
            str | None, typer.Option("--dataset", help="A registered dataset.", show_default="phantom")
        ] = None,
        data_root: DataRootFlag = None,
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
            typer.Option("--only", metavar="TASK", help="Only this task; repeatable.", show_default=False),
        ] = None,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Show the plan with its times; run and write nothing.")
        ] = False,
        output: Annotated[
            Path | None,
            typer.Option(
                "--output",
                metavar="DIR",
                help="Folder of the reproduction: a new one, or an earlier one to continue.",
                show_default="a new one in runs/reproduce",
            ),
        ] = None,
        device: DeviceFlag = None,
        precision: PrecisionFlag = None,
        threads: Annotated[
            int | None, typer.Option("--threads", min=0, help="CPU threads; 0: all.", show_default="0")
        ] = None,
        cache: CacheFlag = None,
        data_home: HomeFlag = None,
        json: JsonFlag = False,
        **options: Any,
    ) -> None:
        """Run the source report's five tasks and compare their results with the report's, on one page.

        Called again with the same --output it continues where it stopped."""
        flags = {
            "dataset": dataset,
            "data_root": data_root,
            "device": device,
            "precision": precision,
            "threads": threads,
            "cache": cache,
            "data_home": data_home,
            **options,
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
    """Return whether a requested task has no result."""
    from pneumo_reproduce.reproduction import Reproduction, begin, is_begun, new_folder
    from pneumo_reproduce.source_report import source_report

    source = source_report()
    wanted = list(dict.fromkeys(only)) or source.names()
    for name in wanted:
        if name not in source.names():
            raise UsageError(f"the report has no task {name!r}; {nearest(name, source.names())}")
    if output is not None and is_begun(output):
        folder, continued = output, True
    else:
        folder, continued = new_folder(Path("runs"), output), False
        # A written plan has all tasks: a later call may request the others.
        planned = _only(source, wanted) if dry_run else source
        plan = _planned(plugins, planned, flags, preset or _PRESET, wanted, fetch=not dry_run)
        if dry_run:
            _show(plan, wanted, as_json)
            return False
        begin(folder, plan)
    with Reproduction(folder) as reproduction:
        if continued:
            _check_same(reproduction.plan, flags, preset)
            reproduction.plan_again(plugins, source, for_stderr())
        if dry_run or not as_json:
            _show(reproduction.plan, wanted, as_json)
        if dry_run:
            return False
        content = _carry_out(reproduction, wanted)
    if as_json:
        print_json({**content, "folder": str(folder)})
    else:
        _show_results(content)
    print(f"pneumo: the page is {folder / 'report.html'}", file=sys.stderr)
    states = {task["name"]: task["state"] for task in content["tasks"]}
    return any(states[name] != "done" for name in wanted)


def _only(source: SourceReport, wanted: Sequence[str]) -> SourceReport:
    """The report with some of its tasks."""
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

    _log("planning; a few steps of each task are timed")
    plan = make_plan(plugins, source, Request(preset, flags, fetch), for_stderr())
    timed = [name for name in wanted if name in plan.settings]
    with (
        tempfile.TemporaryDirectory(prefix="pneumo-plan-") as folder,
        for_stderr().stage("planning", len(timed), "tasks") as advance,
    ):
        plan.write(Path(folder))

        def announce(number: int) -> None:
            if number < len(timed):
                _log(f"timing {number + 1} of {len(timed)}, {timed[number]}")

        def finished(name: str) -> None:
            advance(1)
            announce(timed.index(name) + 1)

        announce(0)
        estimate(plan, timed, Path(folder), finished)
    return plan


def _check_same(plan: Plan, flags: dict[str, Any], preset: str | None) -> None:
    """Refuse flags that differ from those of the reproduction that is continued."""
    given = {name: str(value) for name, value in flags.items() if value is not None}
    given |= {} if preset is None else {"preset": preset}
    before = {**plan.content["flags"], "preset": plan.content["preset"]}
    for name, value in given.items():
        if before.get(name) != value:
            flag = f"--{name.replace('_', '-')}"
            was = f"with {flag} {before[name]}" if name in before else "without it"
            raise UsageError(
                f"{flag} {value}: this reproduction was begun {was}, and continues as it began; leave the flag "
                "out, or name a new folder with --output"
            )


def _carry_out(reproduction: Reproduction, wanted: Sequence[str]) -> dict[str, Any]:
    from pneumo_reproduce.page import write_reproduction
    from pneumo_reproduce.source_report import source_report

    source = source_report()
    ordered = [name for name in reproduction.names() if name in wanted]
    try:
        # A task's process has no terminal and so shows no bars; the bar of its epochs is shown here.
        for number, (name, outcome) in enumerate(reproduction.carry_out(ordered, _log, for_stderr()), 1):
            because = f": {outcome.reason}" if outcome.reason else ""
            _log(f"{number} of {len(ordered)}, {name}: {outcome.state}{because}")
            write_reproduction(reproduction, source)
    except Interrupted:
        write_reproduction(reproduction, source)
        raise
    except OSError as error:
        raise PneumoError(
            f"{reproduction.folder} cannot be written: {error.strerror}; finished runs are kept"
        ) from error
    return write_reproduction(reproduction, source)


def _log(message: str) -> None:
    print(f"pneumo: {message}", file=sys.stderr, flush=True)


def _show(plan: Plan, wanted: Sequence[str], as_json: bool) -> None:
    content = plan.content
    tasks = [task for task in content["tasks"] if task["name"] in wanted]
    if as_json:
        print_json({**content, "tasks": tasks})
        return
    rows = []
    for task in tasks:
        settings = task.get("settings", {})
        rows.append(
            [
                task["name"],
                settings.get("model", ""),
                f"{settings['image_size']} px" if settings else "",
                f"{task['images']['train']:,}" if settings else "",
                settings.get("epochs", ""),
                _about(task.get("estimate")),
                task["problem"] or task["replaced"],
            ]
        )
    print(f"The source report on {content['dataset']['name']}, preset {content['preset']}\n")
    print_table(["task", "model", "size", "training images", "epochs", "takes about", "note"], rows)
    estimates = [task.get("estimate") for task in tasks]
    unknown = estimates.count(None)
    more = f", plus {unknown} of unknown duration" if unknown else ""
    print_text(
        f"\nIn total about {_about(sum(seconds or 0 for seconds in estimates))}{more}: estimated from a few "
        "steps of each task, timed on this machine; longer if other programs use it, too.\n"
    )


def _show_results(content: dict[str, Any]) -> None:
    rows = []
    for task in content["tasks"]:
        for number in task["numbers"]:
            if number["interval"]:
                low, high = number["interval"]
                report = number["report"] if isinstance(number["report"], float) else ""
                ours = f"{number['ours']:.4f}", f"{low:.4f} to {high:.4f}"
                rows.append([task["name"], number["label"], report, *ours])
    if rows:
        print_table(["task", "on the test images", "the report", "here", "95 % interval"], rows)
    print_text(f"{content['filled']} of {len(content['tasks'])} tasks have results")


def _about(seconds: float | None) -> str:
    """An estimated time in the unit that fits, without more digits than it deserves.

    >>> _about(None), _about(40), _about(400), _about(40_000)
    ('not known', '1 min', '7 min', '11 h')
    """
    if seconds is None:
        return "not known"
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h" if seconds < 36_000 else f"{seconds / 3600:.0f} h"
