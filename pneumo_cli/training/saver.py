"""When a run is saved, and which epoch is kept as the best. What a checkpoint holds is in ``state.py``.

Quick saves happen after every epoch. Slow ones take at most a tenth of the time: saving a large state after each
short epoch would cost more time than it can save, and what is lost is recomputed to the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.run import Best, Run
from pneumo_cli.training.epoch_outputs import EpochOutputs
from pneumo_cli.training.state import best_state, training_state

QUICK = 0.2
"""Seconds of a save that each epoch has."""
SHARE = 0.1
"""Of the time, for slower saves."""


class Saver:
    """Writes the checkpoints ``last`` and ``best`` of one run. Every rank calls its methods, the first one writes.

    Args:
        on_saved: called with a checkpoint's path when it is written.
        states: the states that belong to ``last`` beside the run's own (:meth:`RunHooks.states`).
    """

    def __init__(
        self, run: Run, on_saved: Callable[[Path], None], states: Callable[[], Mapping[str, Any]] = dict
    ) -> None:
        self.checkpoints = Checkpoints(run.folder.checkpoints)
        self._run = run
        self._on_saved = on_saved
        self._states = states
        self._saved_at = time.monotonic()
        self._took = 0.0

    def load(self, name: str) -> dict[str, Any]:
        """Read a checkpoint onto the run's device; raises as :meth:`Checkpoints.load`."""
        return self.checkpoints.load(name, self._run.device.torch)

    def save(self, outputs: EpochOutputs) -> None:
        """Write ``last``, with the current epoch's outputs: all that is needed to go on to the same bits."""
        collected = outputs.state()
        began = time.monotonic()
        if self._run.ranks.first:
            self._write("last", training_state(self._run, collected, self._states()))
        self._saved_at = time.monotonic()
        self._took = self._saved_at - began

    def save_epoch(self) -> None:
        """Write ``last`` between two epochs, if that is worth its time."""
        run = self._run
        worth = self._took < max(QUICK, SHARE * self._unsaved)
        if len(run.history) - 1 in (0, run.settings.epochs) or run.ranks.largest(int(worth)):
            self.save(EpochOutputs(run.ranks))

    def save_stopped(self) -> None:
        """Write ``last`` after an epoch that ends the training early, and ``best`` if it is the last epoch's."""
        if not self._run.monitor.metric:
            self._write("best", best_state(self._run))
        self.save(EpochOutputs(self._run.ranks))

    def save_if_overdue(self, outputs: EpochOutputs) -> None:
        """Write ``last`` within an epoch that takes longer than the setting ``checkpoint_minutes``."""
        run = self._run
        if run.ranks.largest(int(self._unsaved > 60 * run.machine.checkpoint_minutes)):
            self.save(outputs)

    def keep_if_best(self, metrics: Mapping[str, float]) -> None:
        """Write ``best`` if the monitored metric has improved; after the last epoch if none is monitored.

        Args:
            metrics: of the monitor's side, that metric among them and finite.
        """
        run, monitor = self._run, self._run.monitor
        if not monitor.metric:
            run.best = Best(run.epoch)
            if run.epoch == run.settings.epochs:
                self._write("best", best_state(run))
            return
        value = float(metrics[monitor.metric])
        if monitor.improves(value, run.best.value):
            run.best = Best(run.epoch, value)
            self._write("best", best_state(run))

    def add_to_best(self, best: Mapping[str, Any], **values: Any) -> None:
        """Add values to the content of the checkpoint ``best``, in place of earlier ones of the same name."""
        self._write("best", {**best, **values})

    def _write(self, name: str, state: Mapping[str, Any]) -> None:
        if self._run.ranks.first:
            self._on_saved(self.checkpoints.save(name, state))

    @property
    def _unsaved(self) -> float:
        """Seconds since ``last`` was written."""
        return time.monotonic() - self._saved_at
