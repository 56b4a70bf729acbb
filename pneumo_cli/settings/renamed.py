"""Renamed settings: flags, variables, files and plugins of earlier versions may use the former names."""

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
"""Former name to present name."""

_log = logging.getLogger("pneumo")


def recorded(values: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a run, recorded by any version, under the present names."""
    if "evaluate_test" in values:
        return dict(values)
    return {RENAMED.get(name, name): value for name, value in values.items()}


def with_current_names(values: Mapping[str, Any], known: Collection[str], where: str = "") -> dict[str, Any]:
    """The same values under the present names.

    Args:
        values: by setting.
        known: the settings that exist; a plugin may have one with a former name.
        where: the origin of the values, for a warning about former names; empty: no warning.

    Raises:
        UsageError: a setting is given under both of its names.
    """
    renamed: dict[str, Any] = {}
    for name, value in values.items():
        new = name if name in known or RENAMED.get(name) not in known else RENAMED[name]
        if new in renamed or (new != name and new in values):
            raise UsageError(f"{name} is the former name of {new}: give only one of them")
        if new != name and where:
            _log.warning("%s is now called %s (%s)", name, new, where)
        renamed[new] = value
    return renamed
