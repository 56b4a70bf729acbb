"""The commands that help next after a run or a group: what the terminal and the report suggest.

None of them evaluates on the test images again: the report has those numbers, and each access spoils them a little.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from pneumo_cli.runs.record import file_flags, registered_parts

if TYPE_CHECKING:
    from pathlib import Path

    from pneumo_cli.registry import Registries
    from pneumo_cli.runs.groups import GroupResult
    from pneumo_cli.runs.run import Run


def next_steps(
    run: Run, *, predicts: bool, generates: bool, epochs: int = 0, failed: bool = False
) -> list[str]:
    """Command lines, the most useful one first; none for what only the program that registered it can use.

    Args:
        predicts: whether the trainer's models classify images, or predict numbers or masks.
        generates: whether they generate images.
        epochs: in all, that the summary asks for, as after too few updates; 0: it asks for none.
        failed: whether the summary warns of the model, which is then of no use as it is.
    """
    registries, folder = run.registries, run.folder.path
    if registered_parts(registries, run.resolved):
        return []
    steps = [] if failed else _using(registries, folder, predicts=predicts, generates=generates)
    if epochs:
        steps.insert(0, f"resume {_quoted(folder)} --epochs {epochs}")
    elif not failed and run.resolved.origins.get("seeds") != "group":  # a member of one has its seeds
        steps.append(f"run {run.spec.name} --config {_quoted(run.folder.settings)} --seeds 3")
    return _commands(registries, steps)


def next_steps_of_group(group: GroupResult, registries: Registries, *, generates: bool) -> list[str]:
    """The same after a group of runs."""
    folder = group.folder.path
    if registered_parts(registries, group.resolved):
        return []
    steps = [f"resume {_quoted(folder)}"] if len(group.done) < len(group.members) else []
    predicts = group.averages or bool(group.predicts)
    if generates and not predicts:  # a group has no images of its own
        steps += _using(registries, group.folder.member(group.done[0].name).path, generates=True)
    else:
        steps += _using(registries, folder, predicts=predicts)
    return _commands(registries, steps)


def _using(
    registries: Registries, folder: Path, *, predicts: bool = False, generates: bool = False
) -> list[str]:
    """What uses the models of a folder, as far as the commands are installed."""
    steps = [f"predict {_quoted(folder)} IMAGE"] if predicts else []
    if generates and registries.functions.knows("generate"):
        steps.append(f"generate {_quoted(folder)} --out generated")
    if registries.functions.knows("compare"):
        steps.append(f"compare {_quoted(folder)} OTHER")
    return steps


def _commands(registries: Registries, steps: list[str]) -> list[str]:
    return [f"pneumo {step}{file_flags(registries)}" for step in steps]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
