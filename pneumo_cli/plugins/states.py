"""The state of trainers, extensions and observers in the checkpoint ``last``.

Whatever has ``state_dict()`` and ``load_state_dict(state)`` takes part. A state holds tensors and plain values, as
every checkpoint does. It is the first rank's, and each rank loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pneumo_cli.errors import EXITS, PneumoError, UsageError, named_type
from pneumo_cli.plugins.failures import failure, passes
from pneumo_cli.runs.checkpoints import check_plain


def has_state(plugin: object) -> bool:
    """Whether an object has a state to be saved."""
    return callable(getattr(plugin, "state_dict", None)) and callable(
        getattr(plugin, "load_state_dict", None)
    )


def state_of(who: str, plugin: Any) -> dict[str, Any]:
    """The state of an object.

    Args:
        who: its name, for errors.

    Raises:
        PneumoError: it fails, or is not a dictionary of tensors and plain values.
    """
    try:
        state = plugin.state_dict()
        if not isinstance(state, Mapping):
            raise TypeError(f"it returned {named_type(state)}, not a dictionary")
        check_plain(state)
    except (Exception, *EXITS) as error:
        if passes(error):
            raise
        raise failure(who, "state_dict", error, plugin) from error
    return dict(state)


def load_state(who: str, plugin: Any, state: Mapping[str, Any]) -> None:
    """Give a saved state back to an object.

    Raises:
        UsageError: it does not take it.
    """
    try:
        plugin.load_state_dict(state)
    except (Exception, *EXITS) as error:
        if isinstance(error, PneumoError):
            raise
        raise UsageError(
            f"the checkpoint does not fit the installed plugin: {failure(who, 'load_state_dict', error, plugin)}"
        ) from error
