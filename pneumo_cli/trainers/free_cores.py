"""The number of threads of a new run beside other busy processes.

It is chosen once, before the run is recorded, and becomes its setting ``threads``: a run that is resumed, or
repeated from its ``run.toml``, has the same number, and so the same bits.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace

from pneumo_cli.runs.run import Run
from pneumo_cli.runtime import load
from pneumo_cli.runtime.devices import available, device_name, set_threads
from pneumo_cli.runtime.launch import inside_launcher
from pneumo_cli.runtime.progress import NOTICE
from pneumo_cli.runtime.threads import affine_cores, usable_cores
from pneumo_cli.settings.resolve import Resolved

BY_LOAD = "busy cores"
"""The origin of a number that was chosen here."""

_log = logging.getLogger("pneumo")


def beside_others(resolved: Resolved) -> Resolved:
    """The settings of a new run, with fewer threads where other processes keep cores busy.

    Only for a run on the CPU whose number nobody has chosen: no flag, ``PNEUMO_THREADS``, file (a ``run.toml``
    among them), ``OMP_NUM_THREADS`` or launcher. A ``deterministic`` one is to have the same bits each time.
    """
    machine = resolved.machine
    chosen = resolved.origins["threads"] != "default" or "OMP_NUM_THREADS" in os.environ
    if chosen or machine.deterministic or inside_launcher() or not _on_cpu(machine.device):
        return resolved
    found = _choice(load.busy_cores(), machine.devices)
    if found.threads == found.most:
        return resolved
    _log.log(NOTICE, "%s", found.text)
    return _with(resolved, found.threads, BY_LOAD)


def take_freed_cores(run: Run) -> None:
    """Let a run that is about to start use all cores after all, if those that were busy are free by now.

    So a short piece of other work, such as the start of another program, does not slow a long run. What is looked
    at is the time since :func:`beside_others`, in which the data were prepared.

    Args:
        run: opened, and not built.
    """
    if run.resolved.origins["threads"] != BY_LOAD:
        return
    found = _choice(load.busy_cores(since_last=True), run.machine.devices)
    if found.threads != found.most:
        return
    run.resolved = _with(run.resolved, 0, "default")
    set_threads(0)
    run.device = replace(run.device, name=device_name(run.device.torch))
    _log.log(NOTICE, "all cores are free again: %s", found.threads_text)


def _choice(busy: float, processes: int) -> load.Choice:
    return load.choice(busy, affine_cores(), usable_cores(), processes)


def _with(resolved: Resolved, threads: int, origin: str) -> Resolved:
    machine = resolved.machine.model_copy(update={"threads": threads})
    return replace(resolved, machine=machine, origins={**resolved.origins, "threads": origin})


def _on_cpu(device: str) -> bool:
    return device == "cpu" or (device == "auto" and available()[0].type == "cpu")
