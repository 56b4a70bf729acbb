"""Training steps: the update of one batch, and what belongs to it.

The first step of a process is watched: a trainer that forgets ``run.optimize``, or calls ``backward`` or an
optimizer itself, would train nothing, or without the scale of fp16, accumulation, clipping and the other ranks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from pneumo_cli.data.loader import Batch, Loader
from pneumo_cli.errors import PneumoError
from pneumo_cli.plugins.run_hooks import RunHooks
from pneumo_cli.runs.run import Run
from pneumo_cli.trainers.base import Trainer
from pneumo_cli.training.breaches import method


class Steps:
    """Makes the training steps of one run."""

    def __init__(self, run: Run, trainer: Trainer, hooks: RunHooks) -> None:
        self._run = run
        self._trainer = trainer
        self._hooks = hooks
        self._train_step: Callable[[Batch], Mapping[str, torch.Tensor]] = self._first
        self._whole_epoch = False

    def make(self, loader: Loader, batch: Batch) -> Mapping[str, torch.Tensor]:
        """Train on the batch of the current step; return the results of ``train_step``.

        Raises:
            PneumoError: the trainer or an extension failed; in the first step also if it trains past the run.
        """
        run = self._run
        updates = run.updates
        own, everybodys = loader.batch_sizes(run.step)
        updates.rank_share = updates.batch_share = own / everybodys
        if run.settings.accumulate > 1:
            updates.batch_share = self._batch_share(loader, own)
        updates.last_step = run.step + 1 == len(loader)
        with run.device.autocast():
            return self._train_step(batch)

    def _batch_share(self, loader: Loader, own: int) -> float:
        """This rank's images of the current batch, as a share of all images of the update it is part of."""
        group = self._run.settings.accumulate
        first = self._run.step // group * group
        images = sum(loader.batch_sizes(step)[1] for step in range(first, min(first + group, len(loader))))
        return own / images

    def finish(self) -> None:
        """Update average and schedulers, if the step has changed the weights (accumulated gradients have not)."""
        run = self._run
        if not run.updates.complete:
            return
        if run.average is not None:
            run.average.update_parameters(run.model)
        self.schedule("update")

    def schedule(self, interval: str) -> None:
        """Step the schedulers, if the trainer wants it at this interval."""
        run = self._run
        if self._trainer.scheduler_interval == interval:
            for name, scheduler in run.schedulers.items():
                with method(run, f"the scheduler {name!r} of build_schedulers", self._trainer):
                    scheduler.step()

    def finish_epoch(self) -> None:
        """Note optimizers without an update in the first whole epoch of this process."""
        run = self._run
        if self._whole_epoch and self._trainer.updates_each_step:
            for name in run.optimizers.keys() - run.updates.counts.keys():
                run.note(
                    f"the optimizer {name!r} made no update in epoch {run.epoch}: {self._hooks.trainer_name} never "
                    f"called run.optimize(loss, {name!r})"
                )
        self._whole_epoch = False

    def _first(self, batch: Batch) -> Mapping[str, torch.Tensor]:
        """The first step of this process, watched."""
        run, updates = self._run, self._run.updates
        self._whole_epoch = run.step == 0
        self._train_step = run.functions.train_step
        past: set[str] = set()
        thread = threading.get_ident()

        def stepped(*_: Any) -> None:  # called for the optimizers of all threads
            if not updates.running and threading.get_ident() == thread:
                past.add("calls the step() of an optimizer itself")

        def accumulated(_: torch.Tensor) -> None:
            if not updates.running:
                past.add("calls backward() itself")

        with ExitStack() as watch:
            watch.callback(register_optimizer_step_pre_hook(stepped).remove)
            for parameter in run.model.parameters():
                if parameter.requires_grad and parameter.is_leaf:
                    watch.callback(parameter.register_post_accumulate_grad_hook(accumulated).remove)
            metrics = run.functions.train_step(batch)
        who = self._hooks.step_authors
        if past:
            raise PneumoError(
                f"{who}: train_step {' and '.join(sorted(past))}; updates go through run.optimize(loss), which "
                "scales, accumulates, sums over ranks and clips"
            )
        if self._trainer.updates_each_step and not updates.counts:
            raise PneumoError(
                f"{who}: the first train_step made no update, so nothing would be trained: it has to call "
                "run.optimize(loss) (a trainer that does not in every step sets updates_each_step = False)"
            )
        if self._hooks.loss_ignored_by:
            raise PneumoError(
                f"{self._hooks.loss_ignored_by} cannot change the loss of {self._hooks.trainer_name}, whose "
                "train_step does not get it from run.loss(outputs, batch)"
            )
        return metrics
