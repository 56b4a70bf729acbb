"""What a reproduction of the source report will run, and for how long: ``plan.json``.

Each task's settings are resolved once and written next to the plan, so a reproduction continues as it began,
whatever the environment is by then. Only a few steps of each task are run here, for its time
(:mod:`pneumo_cli.training.estimate`); :mod:`pneumo_reproduce.reproduction` carries the plan out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.errors import Interrupted, PneumoError, UsageError
from pneumo_cli.runs.groups import asks_for_group
from pneumo_cli.runtime import atomic
from pneumo_reproduce.source_report import SourceReport
from pneumo_reproduce.source_report import Task as SourceTask

if TYPE_CHECKING:
    from pneumo_cli.data.records import Dataset
    from pneumo_cli.plugins.discovery import Plugins
    from pneumo_cli.registry import Entry
    from pneumo_cli.runtime.progress import Progress
    from pneumo_cli.settings.resolve import Resolved
    from pneumo_cli.specs import TrainerSpec

PLAN = "plan.json"
SOURCE = "source"
"""The preset of each trainer that follows the report."""

_STAND_IN = "quick"  # the preset whose model replaces one whose weights are not available
_ROWS = 100  # layers in a layer table; larger networks have none


@dataclass(frozen=True)
class Request:
    """What the user requests.

    Attributes:
        flags: machine settings, the dataset and its options, by field name; None if a flag was not given.
        fetch: whether pre-trained weights may be fetched now, to find out whether they are available.
    """

    preset: str
    flags: Mapping[str, Any]
    fetch: bool = True


@dataclass(frozen=True)
class Plan:
    """The content of ``plan.json``, and of each task's settings file."""

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
    """The path of a task's settings in the folder of a reproduction."""
    return folder / "tasks" / f"{task}.toml"


def make_plan(plugins: Plugins, source: SourceReport, request: Request, progress: Progress) -> Plan:
    """Resolve every task's settings, replace networks whose weights are not available, and build each network once.

    A task that cannot be run has a ``problem`` in the plan; the others are not affected.

    Raises:
        UsageError: the dataset is not available or not of two classes, or no task can be run.
    """
    data: dict[str, Any] = {}
    planned = [_plan_task(plugins, task, request, data, progress) for task in source.tasks]
    tasks = [task for task, _ in planned]
    settings = {task["name"]: text for task, text in planned if text}
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
    """Plan again what could not be planned, for the same request; everything else stays as it is."""
    content = plan.content
    request = Request(content["preset"], content["flags"])
    data, settings = dict(content["dataset"]), dict(plan.settings)
    tasks = list(content["tasks"])
    for place, task in enumerate(source.tasks):
        if tasks[place]["problem"]:
            tasks[place], text = _plan_task(plugins, task, request, data, progress)
            settings |= {task.name: text} if text else {}
    return Plan({**content, "tasks": tasks}, settings)


def read_plan(folder: Path) -> Plan:
    """Read the plan of an earlier call.

    Raises:
        PneumoError: it is damaged, or its settings are missing.
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
            f"the plan in {folder} is damaged ({type(error).__name__}: {error}); its runs are in {folder / 'tasks'}"
        ) from error


def estimate(
    plan: Plan, plugins: Plugins, names: Sequence[str], folder: Path, finished: Callable[[str], None]
) -> None:
    """Time a few steps of each task and write the seconds of the whole task into the plan's content.

    A task that cannot be timed has no estimate, and is run all the same.

    Args:
        names: the tasks; those without settings are skipped.
        folder: where the settings files are.
        finished: called with each task's name after its benchmark.

    Raises:
        Interrupted: by a signal.
    """
    from pneumo_cli.runtime.progress import Progress
    from pneumo_cli.settings.resolve import resolve
    from pneumo_cli.training.estimate import estimate_run
    from pneumo_cli.training.measurement import silent

    for name in (name for name in names if name in plan.settings):
        try:
            with silent():  # planning has said what there is to say about the settings
                file = settings_file(folder, name)
                resolved = resolve(plugins, _trainer(plugins, name), {}, config=file, environ={})
                seconds = estimate_run(plugins, resolved, Progress()).seconds
        except Interrupted:
            raise
        except PneumoError:
            seconds = None
        if seconds is not None:
            plan.task(name)["estimate"] = round(seconds)
        finished(name)


def _plan_task(
    plugins: Plugins, task: SourceTask, request: Request, data: dict[str, Any], progress: Progress
) -> tuple[dict[str, Any], str]:
    """A task's entry in the plan, and its settings; no settings if it has a problem.

    Args:
        data: facts about the dataset; filled by the first task.
    """
    from pneumo_cli.settings.resolve import resolve

    planned: dict[str, Any] = {"name": task.name, "title": task.title, "problem": "", "replaced": ""}
    try:
        resolved = resolve(plugins, _trainer(plugins, task.name), request.flags, preset=request.preset)
    except UsageError as error:
        return {**planned, "problem": str(error)}, ""
    if asks_for_group(resolved.trainer):
        raise UsageError(
            "folds and seeds make several runs of a task; a reproduction has one of each: leave them out"
        )
    if not data:
        data.update(_described(plugins, resolved, progress))
    if request.fetch:
        try:
            resolved = _available(plugins, resolved, request, planned)
        except UsageError as error:
            return {**planned, "problem": str(error)}, ""
    counts = data["counts"]["train"]
    if any(resolved.origins[name].startswith("preset ") for name in type(resolved.options).model_fields):
        counts = _counts(_opened(plugins, resolved, progress))["train"]  # more phantoms for the GAN, say
    return {**planned, **_planned(plugins, resolved, counts)}, resolved.to_toml(_parts(plugins, resolved))


def _trainer(plugins: Plugins, name: str) -> Entry[TrainerSpec]:
    """The bundled trainer of a task, whatever else is installed under its name."""
    return plugins.trainers.get(name, prefer="pneumo-reproduce")


def _parts(plugins: Plugins, resolved: Resolved) -> dict[str, str]:
    """The trainer, model and dataset with their distributions, as ``run.toml`` records them."""
    parts = {"trainer": resolved.entry.qualified_name}
    with suppress(UsageError):  # what is not installed is named when the task is run
        parts["model"] = resolved.registered(plugins.models).qualified_name
    with suppress(UsageError):
        parts["dataset"] = resolved.registered(plugins.datasets).qualified_name
    return parts


def _available(plugins: Plugins, resolved: Resolved, request: Request, planned: dict[str, Any]) -> Resolved:
    """The settings of a task, with the network for small machines where theirs is not available."""
    from pneumo_cli.settings.resolve import resolve
    from pneumo_cli.trainers.session import set_up

    entry = resolved.entry
    try:
        set_up(plugins, resolved).check_request()
    except UsageError as error:
        instead = _stand_in(plugins, entry.spec.name, request)
        if not instead or instead["model"] == resolved.trainer.model:
            raise
        replaced = resolve(plugins, entry, {**request.flags, **instead}, preset=request.preset)
        set_up(plugins, replaced).check_request()
        planned["replaced"] = (
            f"{resolved.trainer.model} cannot be trained here: {error}. {replaced.trainer.model} replaces it."
        )
        return replaced
    return resolved


def _stand_in(plugins: Plugins, name: str, request: Request) -> dict[str, Any]:
    """The model, and its weights, of the preset for small machines; empty if the trainer has no such preset."""
    from pneumo_cli.settings.resolve import resolve

    entry = _trainer(plugins, name)
    if not any(preset.name == _STAND_IN for preset in entry.spec.presets):
        return {}
    small = resolve(plugins, entry, request.flags, preset=_STAND_IN).trainer
    return {"model": small.model} | ({"weights": small.weights} if hasattr(small, "weights") else {})


def _described(plugins: Plugins, resolved: Resolved, progress: Progress) -> dict[str, Any]:
    """The dataset's facts and class counts, without decoding an image.

    Raises:
        UsageError: it has not two exclusive classes, as the report has.
    """
    dataset = _opened(plugins, resolved, progress)
    if dataset.task != "binary":
        what = "labels" if dataset.task == "multilabel" else "classes"
        raise UsageError(
            f"the source report is about two classes, and the dataset {dataset.name} has {len(dataset.classes)} "
            f"{what} ({', '.join(dataset.classes)}): name one of two classes"
        )
    return {
        "name": dataset.name,
        "origin": dataset.origin,
        "place": dataset.place,
        "synthetic": dataset.synthetic,
        "classes": list(dataset.classes),
        "counts": _counts(dataset),
    }


def _opened(plugins: Plugins, resolved: Resolved, progress: Progress) -> Dataset:
    from pneumo_cli.trainers.session import open_dataset

    entry = resolved.registered(plugins.datasets)
    given = resolved.origins["data_root"].startswith("--")
    return open_dataset(entry, resolved.machine, progress, root_given=given, options=resolved.options)


def _counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {
        pool: dict.fromkeys(dataset.classes, 0) for pool in ("train", "test")
    }
    for record in dataset.records:
        counts[record.pool][dataset.classes[record.label]] += 1
    return counts


def _planned(plugins: Plugins, resolved: Resolved, counts: Mapping[str, int]) -> dict[str, Any]:
    from pneumo_cli.settings.resolve import plain_values, resolve
    from pneumo_cli.trainers.session import make_trainer

    entry, settings = resolved.entry, resolved.trainer
    only = make_trainer(resolved).only_class
    pool = counts.get(only, 0) if only else sum(counts.values())
    held_out = 0 if settings.split == "all" else round(pool * settings.validation_fraction)
    source = resolved
    if any(preset.name == SOURCE for preset in entry.spec.presets):
        source = resolve(plugins, entry, {"dataset": settings.dataset}, preset=SOURCE, environ={})
    return {
        "trainer": entry.qualified_name,
        "preset": resolved.preset.name,
        "settings": plain_values(settings),
        "source": plain_values(source.trainer),
        "images": {"train": pool - held_out, "validation": held_out},
        "layers": {"source": _layers(plugins, source), "here": _layers(plugins, resolved)},
        "estimate": None,
    }


def _layers(plugins: Plugins, resolved: Resolved) -> dict[str, Any]:
    """The layer table of the network that the settings name; empty if there is none."""
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
    except Exception:  # a third party's network may take something else than images
        return {}
    rows = [[row.name, list(row.shape), row.parameters] for row in table.rows]
    return {
        "model": entry.spec.name,
        "input": list(shape),
        "layers": len(rows),
        "rows": rows if len(rows) <= _ROWS else [],
        "parameters": table.parameters,
        "trainable": table.trainable,
        **table.megabytes(),
        "facts": dict(facts),
    }
