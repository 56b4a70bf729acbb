"""Who may take part in a run: plugins that work, and the extensions and observers that ``--with`` asks for."""

from __future__ import annotations

import re
from typing import Any

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.plugins.hookspecs import AROUND_HOOKS, TASK_HOOKS
from pneumo_cli.plugins.isolation import check_participant
from pneumo_cli.registry import Registries
from pneumo_cli.runtime.plugin_errors import plugin_errors
from pneumo_cli.settings.resolve import Part
from pneumo_cli.specs import load_reference

_CHANGING = re.compile(rf"\b({'|'.join((*TASK_HOOKS, *AROUND_HOOKS, 'plugins_for_run'))})\b")


def refuse_unusable(registries: Registries) -> None:
    """Refuse a run where an installed plugin would change it, but cannot be used. It must not train without.

    Raises:
        UsageError: there is one, and it is not disabled.
    """
    for problem in registries.problems if isinstance(registries, Plugins) else ():
        if problem.stage == "hooks" and (hook := _CHANGING.search(problem.error)):
            raise UsageError(
                f"{problem}; its hook {hook[0]} would change this run: mend it, or leave it out with "
                f"PNEUMO_DISABLE_PLUGINS={problem.plugin}"
            )


def make_part(part: Part) -> Any:
    """Call the factory of a part with its settings.

    Raises:
        UsageError: it cannot be imported, fails, or returns no object with hooks; or it is an observer that would
            change the run.
    """
    spec = part.entry.spec
    noun = "extension" if part.is_extension else "observer"
    who = f"the {noun} {spec.name} ({part.entry.provenance})"
    with plugin_errors(f"{who} cannot be imported from {spec.factory}"):
        factory = load_reference(spec.factory)
    with plugin_errors(f"{who} cannot be made from {spec.factory}", passing=(PneumoError,)):
        plugin = factory(part.settings)
    try:
        hooks = check_participant(plugin)
    except ValueError as error:
        raise UsageError(f"{who} cannot take part in a run: {error}") from error
    changing = sorted({*TASK_HOOKS, *AROUND_HOOKS} & set(hooks))
    if changing and not part.is_extension:
        raise UsageError(
            f"{who} implements {changing[0]}, and an observer cannot change a run: register it with "
            "register_extensions and an ExtensionSpec"
        )
    return plugin
