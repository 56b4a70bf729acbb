"""What can be exported: told from a run's settings, before torch is imported and anything is loaded."""

from __future__ import annotations

import shlex
from pathlib import Path

from pneumo_cli.errors import UsageError
from pneumo_cli.registry import Registries
from pneumo_cli.runs.folder import RunFolder, is_group
from pneumo_cli.runtime.json_values import mapping
from pneumo_cli.settings.classes import settings_class
from pneumo_cli.settings.resolve import read_toml
from pneumo_cli.settings.schema import GenerativeSettings


def check_exportable(registries: Registries, run: Path) -> None:
    """Refuse a group, and a run of a generative trainer. Others of unknown trainers are checked later.

    Raises:
        UsageError: it cannot be exported, or is no run.
    """
    if is_group(run):
        raise UsageError(
            f"{run} is a group of runs: export its members one by one (pneumo predict averages them)"
        )
    facts = mapping(read_toml(RunFolder.open(run).settings).get("run"))
    for entry in registries.trainers.find(str(facts.get("trainer"))):
        if issubclass(settings_class(entry), GenerativeSettings):
            raise not_exportable(
                run, entry.spec.name, f"for its images: pneumo generate {shlex.quote(str(run))} --out DIR"
            )


def not_exportable(run: Path, trainer: str, instead: str = "") -> UsageError:
    """The error about a run whose model predicts nothing.

    Args:
        instead: what to do.
    """
    return UsageError(
        f"{run} is a run of {trainer}, which classifies no images and predicts no numbers or masks, and only such "
        f"models are exported{'; ' if instead else ''}{instead}"
    )
