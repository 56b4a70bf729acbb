"""Settings that had another name: flags, variables, files and plugins of earlier versions still say it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

from pneumo_cli.errors import UsageError

RENAMED: Mapping[str, str] = {
    "flip_test": "flip_tta",
    "judge_test": "evaluate_test",
    "judged": "fidelity_images",
}
"""The former name of a setting to its name."""

_log = logging.getLogger("pneumo")


def recorded(values: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a run, as any version recorded them, under the names of this version."""
    if "evaluate_test" in values:
        return dict(values)
    return {RENAMED.get(name, name): value for name, value in values.items()}


def with_current_names(values: Mapping[str, Any], known: Collection[str], where: str = "") -> dict[str, Any]:
    """The same values under the names of this version.

    Args:
        values: by setting.
        known: the settings that there are; a plugin may have one of a former name.
        where: what said them, for a remark in the log; empty: nobody needs to know.

    Raises:
        UsageError: a setting is there under both of its names.
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        new = RENAMED.get(name, name) if name not in known else name
        if new != name and new not in known:
            new = name
        if new in found or (new != name and new in values):
            raise UsageError(f"{name} is the former name of {new}: say one of them")
        if new != name and where:
            _log.warning("%s is called %s now (%s)", name, new, where)
        found[new] = value
    return found
