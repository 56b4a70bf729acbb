"""The function ``pneumo_cli.audit``: what ``pneumo data audit`` does, in Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pneumo_audit.audit import AUDIT_SIZE
from pneumo_audit.audit import audit as find
from pneumo_audit.result import AuditResult, check_target
from pneumo_cli.data.prepare import SplitRequest, prepare
from pneumo_cli.data.splits import Policy
from pneumo_cli.errors import UsageError
from pneumo_cli.runtime.devices import set_threads
from pneumo_cli.runtime.home import StrPath, expanded_path
from pneumo_cli.settings.dataset_options import all_options
from pneumo_cli.settings.resolve import resolve_machine
from pneumo_cli.workflows.argument_types import refuse_unknown
from pneumo_cli.workflows.caller import Caller
from pneumo_cli.workflows.command_line import flag_value
from pneumo_cli.workflows.datasets import open_chosen
from pneumo_cli.workflows.plugin_functions import carry_out


def audit(
    dataset: str | None = None,
    *,
    data_root: StrPath | None = None,
    split: str = "patient",
    validation_fraction: float = 0.25,
    split_seed: int = 42,
    out: StrPath | None = None,
    overwrite: bool = False,
    data_home: StrPath | None = None,
    cache: StrPath | None = None,
    progress: bool | None = None,
    **options: Any,
) -> AuditResult:
    """Search for patients and images in two splits, and for differences between training and test images.

    What ``pneumo data audit`` does. No network is trained, and no data are changed.

    Args:
        dataset: a registered name; None: the one that recognizes the files, or that was imported.
        data_root: folder or archive of the images; None: where they were imported from.
        split: ``patient``, ``given``, ``source``, ``last``, ``all``, or a plugin's.
        validation_fraction: share of the training pool for validation, between 0 and 1.
        split_seed: seed of the split.
        out: a new or empty folder for ``audit.html`` and ``audit.json``; None: nothing is written.
        overwrite: whether the audit that is in ``out`` is replaced.
        data_home, cache: folders of imported data and of caches; None: the usual ones.
        progress: whether it is shown; None: as it suits a notebook, a terminal or a log.
        options: of the dataset, by name.

    Raises:
        UsageError: the dataset is unknown, its images are missing, or ``out`` holds something else.
        PneumoError: the page cannot be written.
    """
    target = None if out is None else expanded_path(out)
    folders = {"data_root": data_root, "data_home": data_home, "cache": cache}
    machine = {name: None if path is None else expanded_path(path) for name, path in folders.items()}
    policy = (split, validation_fraction, split_seed)

    def work(caller: Caller) -> AuditResult:
        refuse_unknown(options, all_options(caller.plugins))
        given = {name: flag_value(value) for name, value in options.items()}
        return audited(caller, dataset, machine, given, policy, target, overwrite=overwrite)

    return carry_out(work, progress)


def audited(
    caller: Caller,
    dataset: str | None,
    machine_flags: Mapping[str, Any],
    options: Mapping[str, Any],
    policy: tuple[str, float, int],
    out: Path | None,
    *,
    overwrite: bool,
) -> AuditResult:
    """Audit a dataset, and write the page if ``out`` names a folder for it.

    Args:
        machine_flags: ``data_root``, ``data_home``, ``cache``, ``threads``; None: not given.
        options: the flags of datasets' options.
        policy: name, validation fraction and seed of the split.
    """
    if out is not None:
        check_target(out, overwrite=overwrite)
    split, fraction, seed = policy
    plugins = caller.plugins
    if split not in get_args(Policy) and not plugins.splits.find(split):
        raise UsageError(
            f"--split is {', '.join([*get_args(Policy), *plugins.splits.names()])}, not {split!r}"
        )
    machine = resolve_machine(machine_flags)
    set_threads(machine.threads)
    given = machine_flags["data_root"] is not None
    opened = open_chosen(plugins, dataset, machine, caller.progress, root_given=given, options=options)
    data = prepare(
        opened,
        size=AUDIT_SIZE,
        split=SplitRequest.of(plugins.splits, split, fraction, seed),
        cache=machine.cache,
        progress=caller.progress,
        skip_unreadable=True,
    )
    result = AuditResult(find(data, caller.progress))
    if out is not None:
        result.page(out, overwrite=overwrite)
    return result
