"""The rows of ``pneumo predict`` for plugins (``images_predicted``), in blocks: there may be a million files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pneumo_cli.inference.predictor import Prediction
    from pneumo_cli.plugins.discovery import Plugins

BLOCK = 1000
"""How many rows plugins get at once."""


class RowsForPlugins:
    """Collects predictions and passes them on. Costs nothing if no plugin listens.

    Args:
        paths: of the models.
        row: makes a prediction's row, as ``--json`` prints it.
    """

    def __init__(
        self, plugins: Plugins, paths: Sequence[Path], row: Callable[[Prediction], dict[str, Any]]
    ) -> None:
        self._plugins, self._paths, self._row = plugins, list(paths), row
        self._listens = plugins.listens("images_predicted")
        self._rows: list[dict[str, Any]] = []

    def add(self, prediction: Prediction) -> None:
        """Add one prediction, after it was printed."""
        if self._listens:
            self._rows.append(self._row(prediction))
            if len(self._rows) == BLOCK:
                self.pass_on()

    def pass_on(self) -> None:
        """Pass on what has been collected; to be called at the end, too."""
        if self._rows:
            self._plugins.notify("images_predicted", paths=self._paths, predictions=self._rows)
            self._rows = []
