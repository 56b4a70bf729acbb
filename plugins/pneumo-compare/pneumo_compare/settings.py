"""The settings in which runs differ, and the short names that tell the runs apart by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumo_cli.runtime.json_values import mapping, sequence, text, value_text

ABSENT = "–"
"""For a setting that a run's trainer does not have."""
_PLAIN = ("model", "preset", "dataset")
"""Facts whose value says in a name what it is."""
_NOT_NAMED = ("trainer", "fingerprint of the dataset", "extensions")
_PARTS, _LONGEST = 3, 30  # of a name: parts besides the trainer, characters of one


def settings_that_differ(
    reports: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str, tuple[Any, ...], bool]]:
    """The settings, and facts such as model, dataset and extensions, in which the reports of runs differ.

    Yields:
        name, the runs' values (:data:`ABSENT` if a trainer has no such setting), and whether it belongs to the
        machine and not to the recipe.
    """
    from pneumo_cli.settings.schema import MachineSettings

    facts: list[dict[str, Any]] = []
    observed: set[str] = set()  # settings of observers, which are no part of the recipe
    for report in reports:
        trainer, model, dataset = (mapping(report.get(part)) for part in ("trainer", "model", "dataset"))
        environment = mapping(report.get("environment"))
        values: dict[str, Any] = {
            "trainer": trainer.get("name"),
            "model": model.get("name"),
            "dataset": dataset.get("name"),
            "fingerprint of the dataset": text(dataset.get("fingerprint"))[:12],
            "preset": report.get("preset"),
        }
        for item in map(mapping, sequence(report.get("settings"))):
            values[text(item.get("name"))] = item.get("value")
        extensions = _extensions(report)
        listed = [f"{name} ({origin})" if origin else name for name, origin in extensions.items()]
        values["extensions"] = ", ".join(listed) or "none"
        observed |= {name for name in values if "." in name and name.partition(".")[0] not in extensions}
        values["model"] = model.get("name")  # the setting may be empty: the trainer's own
        values |= {
            "computed on": environment.get("device_name") or environment.get("device"),
            "computed in": environment.get("precision"),
            "torch": mapping(environment.get("packages")).get("torch"),
            "pneumo": report.get("pneumo"),
        }
        facts.append(values)
    machine = {*observed, *MachineSettings.model_fields, "computed on", "computed in", "torch", "pneumo"}
    for name in dict.fromkeys(name for values in facts for name in values):
        several = tuple(values.get(name, ABSENT) for values in facts)
        if any(value != several[0] for value in several[1:]):
            yield name, several, name in machine


def _extensions(report: Mapping[str, Any]) -> dict[str, str]:
    """The extensions of a run, with distribution and version; earlier versions recorded the names alone."""
    recorded = report.get("extensions")
    if isinstance(recorded, Mapping):
        return {text(name): text(version) for name, version in recorded.items()}
    return {text(name): "" for name in sequence(mapping(report.get("environment")).get("extensions"))}


def short_names(
    trainers: Sequence[str], reports: Sequence[Mapping[str, Any]], folders: Sequence[Path]
) -> list[str]:
    """A name for each run: its trainer, and as many of the differing settings as tell the runs apart.

    Runs that no setting tells apart have the end of their folder's name; a run that is given twice has its place.
    """
    names = [text(trainer) for trainer in trainers]
    differing = [
        (name, [text(value_text(value)) for value in values])
        for name, values, machine in settings_that_differ(reports)
        if not machine and name not in _NOT_NAMED
    ]
    # Facts first; after them the seed, which explains itself.
    differing.sort(key=lambda one: (one[0] not in _PLAIN, one[0] != "seed"))
    parts = 0
    for name, values in differing:
        if parts == _PARTS or len(set(names)) == len(names):
            break
        longer = [
            f"{one} {value if name in _PLAIN or len(name) + len(value) > _LONGEST else f'{name} {value}'}"
            if names.count(one) > 1 and value != ABSENT
            else one
            for one, value in zip(names, values, strict=True)
        ]
        if len(set(longer)) > len(set(names)):
            names, parts = longer, parts + 1
    if len(set(names)) < len(names):
        ends = [text(folder.name).rpartition("-")[2] for folder in folders]
        wholes = [text(folder.name) for folder in folders]
        ends = ends if len(set(zip(names, ends, strict=True))) == len(names) else wholes
        names = [
            f"{name} {end}" if names.count(name) > 1 else name for name, end in zip(names, ends, strict=True)
        ]
    return [
        f"{name} ({place})" if names.count(name) > 1 else name for place, name in enumerate(names, start=1)
    ]
