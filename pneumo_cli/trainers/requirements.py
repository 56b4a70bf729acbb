"""The plugins that a run's model needs: those of its trainer and its model, by distribution and version.

A run folder or bundle can be copied to any machine with the same plugins. If one is missing there, the error names
the distribution and version to install, instead of an unknown name.
"""

from __future__ import annotations

import logging

from pneumo_cli.errors import UsageError
from pneumo_cli.installation import current_name, pip_install
from pneumo_cli.registry import REGISTERED, Registries
from pneumo_cli.runs.folder import RunFolder, read_json
from pneumo_cli.runs.record import recorded_facts
from pneumo_cli.runtime.json_values import mapping

_log = logging.getLogger("pneumo")


def check_plugins(registries: Registries, folder: RunFolder) -> None:
    """Check that the plugins of a run's trainer and model are installed. Its dataset is not needed.

    Another version than the run's is used with a warning; whether its weights fit is checked when they are loaded.

    Raises:
        UsageError: one is missing; the message names it, its distribution and version.
    """
    facts = recorded_facts(folder.settings)
    versions = _recorded_versions(folder)
    different = set()
    for kind, registry in (("trainer", registries.trainers), ("model", registries.models)):
        distribution, _, name = current_name(kind, str(facts.get(kind, ""))).rpartition(":")
        if not distribution:  # nothing is recorded; the lookup by name raises the error
            continue
        found = registry.find(f"{distribution}:{name}")
        wanted = versions.get(distribution, "")
        if not found:
            version = f"=={wanted}" if wanted else ""
            install = f"is not installed here: {pip_install(distribution + version)}"
            of = "" if distribution == REGISTERED else f" of {distribution} {wanted}"
            raise UsageError(
                f"{folder.path} needs the {kind} {name}{of}".rstrip()
                + f", which {registries.why_absent(distribution) or install}"
            )
        installed = found[0].provenance.version
        if wanted and installed != wanted:
            different.add(f"{distribution} {wanted} ({installed} is installed)")
    if different:
        _log.warning("%s was made with %s", folder.path, ", ".join(sorted(different)))


def _recorded_versions(folder: RunFolder) -> dict[str, str]:
    """Distribution to version, as recorded by the run; missing or damaged entries are left out."""
    versions: dict[str, str] = {}
    for text in mapping(read_json(folder.environment).get("plugins")).values():
        distribution, _, version = str(text).rpartition(" ")
        versions[distribution] = version
    report = read_json(folder.report_json)
    for recorded in (mapping(report.get("trainer")), mapping(report.get("model"))):
        if recorded.get("distribution") and recorded.get("version"):
            versions[str(recorded["distribution"])] = str(recorded["version"])
    return versions
