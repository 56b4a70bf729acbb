"""The function ``pneumo_cli.reproduce``: what ``pneumo reproduce`` does, in Python."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pneumo_cli.errors import Interrupted, PneumoError, UsageError, nearest
from pneumo_cli.runtime.home import StrPath, expanded_path
from pneumo_cli.runtime.progress import NOTICE
from pneumo_cli.settings.dataset_options import all_options
from pneumo_cli.workflows.argument_types import refuse_unknown
from pneumo_cli.workflows.caller import Caller
from pneumo_cli.workflows.command_line import flag_value
from pneumo_cli.workflows.plugin_functions import carry_out
from pneumo_reproduce import PRESET
from pneumo_reproduce import plan as planning
from pneumo_reproduce.page import write_reproduction
from pneumo_reproduce.plan import Plan, Request, make_plan
from pneumo_reproduce.reproduction import Reproduction, begin, is_begun, new_folder
from pneumo_reproduce.result import ReproductionResult
from pneumo_reproduce.source_report import SourceReport, source_report

OnPlan = Callable[[Plan, Sequence[str]], None]
_log = logging.getLogger("pneumo")


def reproduce(
    dataset: str | None = None,
    *,
    data_root: StrPath | None = None,
    preset: str | None = None,
    only: str | Sequence[str] = (),
    output: StrPath | None = None,
    device: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    cache: StrPath | None = None,
    data_home: StrPath | None = None,
    progress: bool | None = None,
    **options: Any,
) -> ReproductionResult:
    """Run the source report's five tasks and compare their results with the report's, on one page.

    What ``pneumo reproduce`` does. Called again with the same ``output`` it continues where it stopped. Each task
    is a process of its own, whose output is kept in the folder ``tasks``.

    Args:
        dataset: a registered dataset of two classes; None: ``phantom``.
        data_root: folder or archive of its images.
        preset: ``source``: the report's recipes; ``quick``: minutes on two cores; ``strong``: our best. None:
            ``source``, or that of the reproduction that is continued.
        only: the names of some tasks; empty: all.
        output: folder of the reproduction: a new one, or an earlier one to continue; None: a new one in
            ``runs/reproduce``.
        device, precision, threads, cache, data_home: as of :func:`pneumo_cli.run`; None: the usual ones.
        progress: whether it is shown; None: as it suits a notebook, a terminal or a log.
        options: of the dataset, by name.

    Raises:
        UsageError: the request cannot be met; nothing is written.
        PneumoError: the folder cannot be written. A task that fails is in the result.
        Interrupted: by Ctrl-C; everything is saved.
    """
    flags = {
        "dataset": dataset,
        "data_root": None if data_root is None else str(expanded_path(data_root)),
        "device": device,
        "precision": precision,
        "threads": threads,
        "cache": None if cache is None else expanded_path(cache),
        "data_home": None if data_home is None else expanded_path(data_home),
        **{name: flag_value(value) for name, value in options.items()},
    }
    tasks = [only] if isinstance(only, str) else list(only)
    folder = None if output is None else expanded_path(output)

    def work(caller: Caller) -> ReproductionResult:
        refuse_unknown(options, all_options(caller.plugins))
        if f"dataset {dataset}" in caller.plugins.registered:
            raise UsageError(
                f"the tasks are processes of their own, which do not have the registered dataset {dataset}: put it "
                "into a plugin file, and name that in the variable PNEUMO_PLUGINS"
            )
        return reproduced(caller, flags, preset, tasks, folder)

    return carry_out(work, progress)


def planned(
    caller: Caller,
    flags: Mapping[str, Any],
    preset: str | None,
    only: Sequence[str],
    output: Path | None,
    on_plan: OnPlan,
) -> None:
    """Plan a reproduction, or read the plan of an earlier one, and pass it on; nothing is run or written."""
    source = source_report()
    wanted = _wanted(source, only)
    if output is not None and is_begun(output):
        with Reproduction(output) as reproduction:
            _check_same(reproduction.plan, flags, preset)
            reproduction.plan_again(caller.plugins, source, caller.progress)
            _say_what(reproduction.plan)
            on_plan(reproduction.plan, wanted)
        return
    new_folder(Path("runs"), output)
    some = replace(source, tasks=tuple(task for task in source.tasks if task.name in wanted))
    on_plan(_plan(caller, some, flags, preset or PRESET, wanted, fetch=False), wanted)


def reproduced(
    caller: Caller,
    flags: Mapping[str, Any],
    preset: str | None,
    only: Sequence[str],
    output: Path | None,
    on_plan: OnPlan = lambda plan, wanted: None,
) -> ReproductionResult:
    """Begin or continue a reproduction, and carry it out.

    Args:
        flags: settings of the dataset and the machine; None: not given.
        only: names of tasks; empty: all.
        on_plan: called with the plan and the tasks that are carried out, before they begin.
    """
    source = source_report()
    wanted = _wanted(source, only)
    if output is not None and is_begun(output):
        folder, continued = output, True
    else:
        folder, continued = new_folder(Path("runs"), output), False
        # A written plan has all tasks: a later call may request the others.
        begin(folder, _plan(caller, source, flags, preset or PRESET, wanted, fetch=True))
    with Reproduction(folder) as reproduction:
        if continued:
            _check_same(reproduction.plan, flags, preset)
            reproduction.plan_again(caller.plugins, source, caller.progress)
            _say_what(reproduction.plan)
        on_plan(reproduction.plan, wanted)
        return ReproductionResult(folder, _carry_out(caller, reproduction, source, wanted), wanted)


def _wanted(source: SourceReport, only: Sequence[str]) -> list[str]:
    wanted = list(dict.fromkeys(only)) or source.names()
    for name in wanted:
        if name not in source.names():
            raise UsageError(f"the report has no task {name!r}; {nearest(name, source.names())}")
    return wanted


def _plan(
    caller: Caller,
    source: SourceReport,
    flags: Mapping[str, Any],
    preset: str,
    wanted: Sequence[str],
    *,
    fetch: bool,
) -> Plan:
    plan = make_plan(caller.plugins, source, Request(preset, dict(flags), fetch), caller.progress)
    _say_what(plan)
    _say("planning; a few steps of each task are timed")
    timed = [name for name in wanted if name in plan.settings]
    with (
        tempfile.TemporaryDirectory(prefix="pneumo-plan-") as folder,
        caller.progress.stage("planning", len(timed), "tasks") as advance,
    ):
        plan.write(Path(folder))

        def announce(number: int) -> None:
            if number < len(timed):
                _say(f"timing {number + 1} of {len(timed)}, {timed[number]}")

        def finished(name: str) -> None:
            advance(1)
            announce(timed.index(name) + 1)

        announce(0)
        planning.estimate(plan, caller.plugins, timed, Path(folder), finished)
    return plan


def _check_same(plan: Plan, flags: Mapping[str, Any], preset: str | None) -> None:
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


def _carry_out(
    caller: Caller, reproduction: Reproduction, source: SourceReport, wanted: Sequence[str]
) -> dict[str, Any]:
    ordered = [name for name in reproduction.names() if name in wanted]
    try:
        # A task's process has no terminal and so shows no bars; the bar of its epochs is shown here.
        outcomes = reproduction.carry_out(ordered, _say, caller.progress)
        for number, (name, outcome) in enumerate(outcomes, 1):
            because = f": {outcome.reason}" if outcome.reason else ""
            _say(f"{number} of {len(ordered)}, {name}: {outcome.state}{because}")
            write_reproduction(reproduction, source)
    except Interrupted:
        write_reproduction(reproduction, source)
        raise
    except OSError as error:
        raise PneumoError(
            f"{reproduction.folder} cannot be written: {error.strerror}; finished runs are kept"
        ) from error
    return write_reproduction(reproduction, source)


def _say_what(plan: Plan) -> None:
    """Say which preset on which data a reproduction means."""
    preset, dataset = plan.content["preset"], plan.content["dataset"]
    kind = " (synthetic)" if dataset["synthetic"] else ""
    shorter = "; --preset quick takes minutes" if preset == PRESET else ""
    _say(f"the report's tasks, preset {preset}, on the dataset {dataset['name']}{kind}{shorter}")


def _say(message: str) -> None:
    _log.log(NOTICE, "%s", message)
