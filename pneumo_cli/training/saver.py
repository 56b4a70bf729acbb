"""When a run is saved, and which state of it is kept as the best. What a checkpoint holds is in ``state.py``.

Saving takes at most a tenth of the time where it takes long: a large state after each short epoch would take more
time than it could ever save, and what is lost is done again, to the same bits. What is quickly saved is saved after
every epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pneumo_cli.errors import PneumoError
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.run import Best, Run
from pneumo_cli.training.epoch_outputs import EpochOutputs
from pneumo_cli.training.state import best_state, training_state

_QUICK = 0.2  # seconds
_SHARE = 0.1  # of the time, for what is not quickly saved


class Saver:
    """Writes the checkpoints ``last`` and ``best`` of one run. Every rank calls its methods, the first one writes.

    Args:
        run: with its folder.
        told: called with each checkpoint's path when it is written.
    """

    def __init__(self, run: Run, told: Callable[[Path], None]) -> None:
        self.checkpoints = Checkpoints(run.folder.checkpoints)
        self._run = run
        self._told = told
        self._when = time.monotonic()
        self._took = 0.0

    def load(self, name: str) -> dict[str, Any]:
        """Read a checkpoint onto the run's device; raises as
        :meth:`pneumo_cli.runs.checkpoints.Checkpoints.load`."""
        return self.checkpoints.load(name, self._run.device.torch)

    def save(self, outputs: EpochOutputs) -> None:
        """Write ``last``: all that is needed to go on to the same bits.

        Args:
            outputs: of the epoch under way.
        """
        collected = outputs.state()
        began = time.monotonic()
        if self._run.ranks.first:
            self._told(self.checkpoints.save("last", training_state(self._run, collected)))
        self._when = time.monotonic()
        self._took = self._when - began

    def save_epoch(self) -> None:
        """Write ``last`` between two epochs, if that is worth its time."""
        run = self._run
        worth = self._took < max(_QUICK, _SHARE * self._unsaved)
        if len(run.history) - 1 in (0, run.settings.epochs) or run.ranks.largest(int(worth)):
            self.save(EpochOutputs(run.ranks))

    def save_if_overdue(self, outputs: EpochOutputs) -> None:
        """Write ``last`` within an epoch that takes longer than the setting ``checkpoint_minutes``."""
        run = self._run
        if run.ranks.largest(int(self._unsaved > 60 * run.machine.checkpoint_minutes)):
            self.save(outputs)

    def keep_if_best(self, measured: Mapping[str, float]) -> None:
        """Write ``best``, if the monitored metric says so; or after the last epoch, if none is monitored.

        Args:
            measured: metrics of the side that is monitored.

        Raises:
            PneumoError: the monitored one is not among them.
        """
        run = self._run
        monitor = run.monitor
        if not monitor.metric:
            run.best = Best(run.epoch)
            if run.epoch == run.settings.epochs:
                self._keep()
            return
        if monitor.metric not in measured:
            raise PneumoError(
                f"there is no {monitor.side} {monitor.metric!r}, by which the best checkpoint is chosen; "
                f"there is {', '.join(sorted(measured)) or 'nothing'}"
            )
        value = float(measured[monitor.metric])
        if monitor.improves(value, run.best.value):
            run.best = Best(run.epoch, value)
            self._keep()

    def add_to_best(self, best: Mapping[str, Any], **found: Any) -> None:
        """Add to ``best`` what was found out about its weights, in place of what was found before.

        Args:
            best: what the checkpoint holds.
        """
        if self._run.ranks.first:
            self._told(self.checkpoints.save("best", {**best, **found}))

    def _keep(self) -> None:
        if self._run.ranks.first:
            self._told(self.checkpoints.save("best", best_state(self._run)))

    @property
    def _unsaved(self) -> float:
        """Seconds since ``last`` was written."""
        return time.monotonic() - self._when
