"""``pneumo reproduce``: run the source report's five tasks and compare the results with the report on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.data_options import CacheFlag, DataRootFlag, HomeFlag, takes_dataset_options
from pneumo_cli.cli.options import DeviceFlag, JsonFlag, PrecisionFlag, ThreadsFlag
from pneumo_cli.cli.output import print_json, print_table, print_text
from pneumo_cli.runtime.progress import for_stderr
from pneumo_cli.runtime.terminal import print_message
from pneumo_reproduce import PRESET

if TYPE_CHECKING:
    from pneumo_reproduce.plan import Plan


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
                show_default=PRESET,
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
        threads: ThreadsFlag = None,
        cache: CacheFlag = None,
        data_home: HomeFlag = None,
        json: JsonFlag = False,
        **options: Any,
    ) -> None:
        """Run the source report's five tasks; compare the results.

        One page shows them beside the report's numbers. Called again with the same --output it continues where
        it stopped."""
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
        from pneumo_cli.workflows.caller import Caller
        from pneumo_reproduce.functions import planned, reproduced

        caller = Caller(ctx.obj, progress=for_stderr())

        def show(plan: Plan, wanted: Sequence[str]) -> None:
            if dry_run or not json:
                _show(plan.content, wanted, json)

        if dry_run:
            planned(caller, flags, preset, only or (), output, show)
            return
        result = reproduced(caller, flags, preset, only or (), output, show)
        if json:
            print_json(result.content)
        else:
            _show_results(result.content)
        print_message(f"the page is {result.page}")
        if not result.complete:
            raise typer.Exit(1)


def _show(content: dict[str, Any], wanted: Sequence[str], as_json: bool) -> None:
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
    print_text(f"The source report on {content['dataset']['name']}, preset {content['preset']}")
    print()
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
    for answer in content["answers"]:
        print()
        print_text(answer)
    if content["answers"]:
        print()
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
