"""Renamed settings: flags, variables, files and plugins of earlier versions may use the former names."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from pneumo_cli.errors import UsageError

RENAMED: Mapping[str, str] = {
    "flip_test": "flip_tta",
    "judge_test": "evaluate_test",
    "judged": "fidelity_images",
}
"""Former name to present name."""


class Switch(NamedTuple):
    """What replaces a former yes-or-no setting: a setting, and its values for yes and for no."""

    name: str
    on: str
    off: str

    def value(self, given: Any) -> Any:
        """The present value for a former one; what is neither yes nor no is kept, and refused later."""
        text = str(given).lower()
        if text in ("true", "1", "yes", "on", "y", "t"):
            return self.on
        return self.off if text in ("false", "0", "no", "off", "n", "f") else given


SWITCHES: Mapping[str, Switch] = {"weighted_loss": Switch("class_weights", "balanced", "none")}
"""Former yes-or-no settings."""

_log = logging.getLogger("pneumo")


def recorded(values: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a run, recorded by any version, under the present names."""
    if "evaluate_test" not in values:
        values = {RENAMED.get(name, name): value for name, value in values.items()}
    return dict(current_setting(name, value) for name, value in values.items())


def current_setting(name: str, value: Any) -> tuple[str, Any]:
    """The present name and value of a former yes-or-no setting; any other as it is."""
    switch = SWITCHES.get(name)
    return (name, value) if switch is None else (switch.name, switch.value(value))


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
        new = name
        if name not in known and RENAMED.get(name) in known:
            new = RENAMED[name]
        elif name not in known and name in SWITCHES and SWITCHES[name].name in known:
            new, value = current_setting(name, value)
        if new in renamed or (new != name and new in values):
            raise UsageError(f"{name} is the former name of {new}: give only one of them")
        if new != name and where:
            _log.warning("%s is now called %s (%s)", name, new, where)
        renamed[new] = value
    return renamed
