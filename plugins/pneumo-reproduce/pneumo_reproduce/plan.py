"""What a reproduction of the source report will run, and how long that will take: ``plan.json``.

Each task's settings are resolved once, here, and written down beside the plan: a reproduction that is taken
up again goes on as it began, whatever the environment says by then. Nothing is run here but a few steps of each
task on noise (:mod:`pneumo_reproduce.timing`); what carries the plan out is :mod:`pneumo_reproduce.reproduction`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.runs.groups import asks_for_group
from pneumo_cli.runtime import atomic
from pneumo_reproduce.source_report import SourceReport
from pneumo_reproduce.source_report import Task as SourceTask

if TYPE_CHECKING:
    from pneumo_cli.data.records import Dataset
    from pneumo_cli.plugins.discovery import Plugins
    from pneumo_cli.runtime.progress import Progress
    from pneumo_cli.settings.resolve import Resolved

PLAN = "plan.json"
SOURCE = "source"
"""The preset of each trainer that follows the report."""

_STAND_IN = "quick"  # the preset whose model takes the place of one whose weights cannot be had
_ROWS = 100  # layers of a table; larger networks have none


@dataclass(frozen=True)
class Request:
    """What a person asks for.

    Attributes:
        flags: machine settings, dataset among them, by field name; None where a flag was not given.
        fetch: whether pre-trained weights may be fetched now, to find out whether they can be had.
    """

    preset: str
    flags: Mapping[str, Any]
    fetch: bool = True


@dataclass(frozen=True)
class Plan:
    """A plan and the settings that it names.

    Attributes:
        content: of ``plan.json``.
        settings: by task, the content of its settings file.
    """

    content: dict[str, Any]
    settings: Mapping[str, str]

    def task(self, name: str) -> dict[str, Any]:
        """The plan of one task."""
        return next(task for task in self.content["tasks"] if task["name"] == name)

    def write(self, folder: Path) -> None:
        """Write the settings files and then the plan into a folder. Raises OSError."""
        for name, text in self.settings.items():
            atomic.write_text(settings_file(folder, name), text)
        atomic.write_json(folder / PLAN, self.content)


def settings_file(folder: Path, task: str) -> Path:
    """Where a task's settings lie in the folder of a reproduction."""
    return folder / "tasks" / f"{task}.toml"


def make_plan(plugins: Plugins, source: SourceReport, request: Request, progress: Progress) -> Plan:
    """Resolve every task's settings, choose what replaces that which cannot be had, and build the networks once.

    A task that cannot be run has a ``problem`` in the plan, and the others are not touched by that.

    Raises:
        UsageError: the dataset cannot be had, or no task can be run.
    """
    tasks, settings = [], {}
    data: dict[str, Any] = {}
    for task in source.tasks:
        planned, text = _plan_task(plugins, task, request, data, progress)
        tasks.append(planned)
        if text:
            settings[task.name] = text
    if not settings:
        raise UsageError(f"none of the report's tasks can be run: {tasks[0]['problem']}")
    content = {
        "format": 1,
        "pneumo": version("pneumo-cli"),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "preset": request.preset,
        "flags": {name: str(value) for name, value in request.flags.items() if value is not None},
        "dataset": data,
        "tasks": tasks,
    }
    return Plan(content, settings)


def planned_again(plan: Plan, plugins: Plugins, source: SourceReport, progress: Progress) -> Plan:
    """Plan once more what could not be planned, as it was asked for then; the rest stays as it is."""
    content = plan.content
    request = Request(content["preset"], content["flags"])
    data, settings = dict(content["dataset"]), dict(plan.settings)
    tasks = []
    for before, task in zip(content["tasks"], source.tasks, strict=True):
        planned, text = before, ""
        if before["problem"]:
            planned, text = _plan_task(plugins, task, request, data, progress)
        tasks.append(planned)
        if text:
            settings[task.name] = text
    return Plan({**content, "tasks": tasks}, settings)


def read_plan(folder: Path) -> Plan:
    """Read the plan of an earlier call.

    Raises:
        PneumoError: it is damaged, or its settings are gone.
    """
    try:
        content = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        settings = {
            task["name"]: settings_file(folder, task["name"]).read_text(encoding="utf-8")
            for task in content["tasks"]
            if not task["problem"]
        }
        return Plan(content, settings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PneumoError(
            f"the plan in {folder} is damaged ({type(error).__name__}: {error}); its runs lie in {folder / 'tasks'}"
        ) from error


def estimate(plan: Plan, names: Sequence[str], folder: Path, told: Callable[[str], None]) -> None:
    """Time a few steps of each task and write the seconds of the whole into the plan's content.

    What cannot be timed has no estimate: that is no reason not to run it.

    Args:
        names: the tasks; one that has no settings is passed over.
        folder: where the settings files lie.
        told: called with each task's name when its trial is over.
    """
    from pneumo_reproduce.timing import Throughput

    timed = [name for name in names if name in plan.settings]
    command = [
        sys.executable,
        "-m",
        "pneumo_reproduce.timing",
        *(str(settings_file(folder, name)) for name in timed),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        for name, line in zip(timed, process.stdout or (), strict=False):
            task = plan.task(name)
            images, epochs = task["images"], task["settings"]["epochs"]
            try:
                seconds = Throughput(**json.loads(line)).seconds(
                    images["train"], images["validation"], epochs
                )
            except (ValueError, TypeError):
                pass
            else:
                task["estimate"] = round(seconds)
            told(name)


def _plan_task(
    plugins: Plugins, task: SourceTask, request: Request, data: dict[str, Any], progress: Progress
) -> tuple[dict[str, Any], str]:
    """A task's entry in the plan and its settings; no settings where it has a problem.

    Args:
        data: what is known of the dataset; filled by the first task.
    """
    planned: dict[str, Any] = {"name": task.name, "title": task.title, "problem": "", "replaced": ""}
    try:
        resolved = _resolved(plugins, task, request, planned)
    except UsageError as error:
        return {**planned, "problem": str(error)}, ""
    if asks_for_group(resolved.trainer):
        raise UsageError(
            "folds and seeds make several runs of a task; a reproduction is one of each: leave them out"
        )
    if not data:
        data.update(_described(plugins, resolved, progress))
    return {**planned, **_planned(plugins, resolved, data)}, resolved.to_toml({})


def _resolved(plugins: Plugins, task: SourceTask, request: Request, planned: dict[str, Any]) -> Resolved:
    from pneumo_cli.settings.resolve import resolve
    from pneumo_cli.trainers.session import set_up

    entry = plugins.trainers.get(task.name)
    resolved = resolve(plugins, entry, request.flags, preset=request.preset)
    if not request.fetch:
        return resolved
    try:
        set_up(plugins, resolved).check_request()
    except UsageError as error:
        instead = _stand_in(plugins, task.name, request)
        if not instead or instead["model"] == resolved.trainer.model:
            raise
        replaced = resolve(plugins, entry, {**request.flags, **instead}, preset=request.preset)
        set_up(plugins, replaced).check_request()
        planned["replaced"] = (
            f"{resolved.trainer.model} was to be trained, but {error}. {replaced.trainer.model} takes its place."
        )
        return replaced
    return resolved


def _stand_in(plugins: Plugins, name: str, request: Request) -> dict[str, Any]:
    """The model, and its weights, of the preset that is there for small machines; nothing where there is none."""
    from pneumo_cli.settings.resolve import resolve

    entry = plugins.trainers.get(name)
    if not any(preset.name == _STAND_IN for preset in entry.spec.presets):
        return {}
    small = resolve(plugins, entry, request.flags, preset=_STAND_IN).trainer
    found = {"model": small.model}
    if hasattr(small, "weights"):
        found["weights"] = small.weights
    return found


def _described(plugins: Plugins, resolved: Resolved, progress: Progress) -> dict[str, Any]:
    """What the dataset holds, without decoding it."""
    from pneumo_cli.trainers.session import open_dataset

    entry = plugins.datasets.get(resolved.trainer.dataset)
    given = resolved.origins["data_root"].startswith("--")
    dataset = open_dataset(entry, resolved.machine, progress, root_given=given)
    return {
        "name": dataset.name,
        "origin": dataset.origin,
        "place": dataset.place,
        "synthetic": dataset.synthetic,
        "classes": list(dataset.classes),
        "counts": _counts(dataset),
    }


def _counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {
        pool: dict.fromkeys(dataset.classes, 0) for pool in ("train", "test")
    }
    for record in dataset.records:
        counts[record.pool][dataset.classes[record.label]] += 1
    return counts


def _planned(plugins: Plugins, resolved: Resolved, data: Mapping[str, Any]) -> dict[str, Any]:
    from pneumo_cli.settings.resolve import plain_values, resolve
    from pneumo_cli.trainers.session import make_trainer

    entry, settings = resolved.entry, resolved.trainer
    wanted = make_trainer(resolved).only_class
    counts = data["counts"]["train"]
    pool = counts.get(wanted, 0) if wanted else sum(counts.values())
    held = 0 if settings.split == "all" else round(pool * settings.validation_fraction)
    asked = {"dataset": settings.dataset}
    source = resolved
    if any(preset.name == SOURCE for preset in entry.spec.presets):
        source = resolve(plugins, entry, asked, preset=SOURCE, environ={})
    return {
        "trainer": entry.qualified_name,
        "preset": resolved.preset.name,
        "settings": plain_values(settings),
        "source": plain_values(source.trainer),
        "images": {"train": pool - held, "validation": held},
        "layers": {"source": _layers(plugins, source), "here": _layers(plugins, resolved)},
        "estimate": None,
    }


def _layers(plugins: Plugins, resolved: Resolved) -> dict[str, Any]:
    """The table of layers of the network that some settings name; empty where it cannot be made."""
    import torch

    from pneumo_cli.runs.model_factory import build_registered
    from pneumo_cli.trainers.model_summary import layer_table
    from pneumo_cli.trainers.session import choose_model, make_trainer

    trainer = make_trainer(resolved)
    size = resolved.trainer.image_size
    try:
        entry = choose_model(plugins, resolved)
        with torch.device("meta"):
            model = build_registered(entry, {"channels": 3, "outputs": 1, **trainer.model_options()})
        facts = trainer.freeze(entry, model)
        shape = getattr(model, "input_shape", (3, size, size))
        table = layer_table(model, shape)
    except Exception:  # a network of a stranger's kind may take something else than images
        return {}
    rows = [[row.name, list(row.shape), row.parameters] for row in table.rows]
    return {
        "model": entry.spec.name,
        "input": list(shape),
        "layers": len(rows),
        "rows": rows if len(rows) <= _ROWS else [],
        "parameters": table.parameters,
        "trainable": table.trainable,
        "input_mb": round(table.input_mb, 2),
        "forward_backward_mb": round(table.forward_backward_mb, 2),
        "parameters_mb": round(table.parameters_mb, 2),
        "total_mb": round(table.total_mb, 2),
        "facts": dict(facts),
    }
