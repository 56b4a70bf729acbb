"""What a run's model needs to be installed: the plugins of its trainer and its model, by distribution and version.

A run folder or bundle that was copied to another machine works there with the same plugins. Where one is missing,
a person is told which distribution and version to install, not that a name is unknown.
"""

from __future__ import annotations

import logging

from pneumo_cli.errors import UsageError
from pneumo_cli.registry import Registries, current_name
from pneumo_cli.runs.folder import RunFolder, read_json
from pneumo_cli.runs.record import recorded_facts

_log = logging.getLogger("pneumo")


def check_plugins(registries: Registries, folder: RunFolder) -> None:
    """Find out whether the parts that a run's model is made of are here; its dataset is not one of them.

    Another version than the run's is used, and that is said in the log: whether its weights fit is checked where
    they are loaded.

    Raises:
        UsageError: one is not; the message names it, its distribution and version.
    """
    facts = recorded_facts(folder.settings)
    versions = _recorded_versions(folder)
    different = set()
    for part, registry in (("trainer", registries.trainers), ("model", registries.models)):
        distribution, _, name = current_name(part, str(facts.get(part, ""))).rpartition(":")
        if not distribution:  # nothing is recorded: looking it up by its name says what is wrong
            continue
        here = [entry for entry in registry.entries() if entry.provenance.distribution == distribution]
        wanted = versions.get(distribution, "")
        if not any(entry.spec.name == name for entry in here):
            raise UsageError(
                f"{folder.path} needs the {part} {name} of {distribution} {wanted}".rstrip()
                + f", which {_absence(registries, distribution, wanted)}"
            )
        installed = here[0].provenance.version
        if wanted and installed != wanted:
            different.add(f"{distribution} {wanted} ({installed} is installed)")
    if different:
        _log.warning("%s was made with %s", folder.path, ", ".join(sorted(different)))


def _absence(registries: Registries, distribution: str, version: str) -> str:
    """Why a distribution's part is not there, and what to do; completes "which …"."""
    install = f"pip install '{distribution}{f'=={version}' if version else ''}'"
    return registries.why_absent(distribution) or f"is not installed here: {install}"


def _recorded_versions(folder: RunFolder) -> dict[str, str]:
    """Distribution to version, as the run noted them; what is missing or damaged is left out."""
    versions: dict[str, str] = {}
    plugins = read_json(folder.environment).get("plugins")
    for text in plugins.values() if isinstance(plugins, dict) else ():
        distribution, _, version = str(text).partition(" ")
        versions[distribution] = version
    for part in ("trainer", "model"):
        noted = read_json(folder.report_json).get(part)
        if isinstance(noted, dict) and noted.get("distribution") and noted.get("version"):
            versions[str(noted["distribution"])] = str(noted["version"])
    return versions
