"""Early stopping: training ends when the metric that selects the best checkpoint has stopped improving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pneumo_cli import UsageError
from pneumo_cli.api import hookimpl
from pneumo_cli.runs import Run
from pneumo_extensions.settings import EarlyStoppingSettings


class EarlyStopping:
    """Looks at the run's history alone, so there is nothing to save: a resumed run stops at the same epoch."""

    def __init__(self, settings: EarlyStoppingSettings) -> None:
        self._settings = settings

    @hookimpl
    def around_train_step(self, run: Run) -> None:
        """Change no step; raise UsageError, before anything is written, if the run monitors no metric."""
        if not run.monitor.metric:
            raise UsageError(
                f"{run.spec.name} monitors no metric, so nothing tells early-stopping when to stop"
            )

    @hookimpl
    def epoch_finished(self, run: Run, metrics: Mapping[str, Any]) -> None:
        """Stop if none of the last epochs was better than the best one before them."""
        name, side = run.monitor.metric, run.monitor.side
        values = [row[side][name] for row in run.history[1:]]
        best, since = None, 0
        for value in values:
            if best is None or run.monitor.improves(value, self._threshold(run, best)):
                best, since = value, 0
            else:
                since += 1
        if since >= self._settings.patience:
            run.stop(f"{side} {name} has not improved for {since} epoch{'' if since == 1 else 's'}")

    def _threshold(self, run: Run, best: float) -> float:
        """What a value has to exceed (or to be below, of a metric that is to be small)."""
        delta = self._settings.min_delta
        return best + delta if run.monitor.mode == "max" else best - delta
