"""The loop: what happens to a run, in order. Reads as an outline, top to bottom.

Knows no task: everything specific happens in the hooks ``build_model``, ``train_step`` and ``evaluate``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pneumo_cli.data.loader import Loader
from pneumo_cli.errors import Interrupted, PneumoError
from pneumo_cli.evaluation.result import Evaluation, ReportSection, plain
from pneumo_cli.plugins.run_hooks import RunHooks
from pneumo_cli.runs.ema import WeightAverage
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.record import facts_of, record_settings, recorded_facts
from pneumo_cli.runs.run import Run
from pneumo_cli.runs.test_access import record_test_access
from pneumo_cli.runs.updates import Updates
from pneumo_cli.runs.weights import load_weights
from pneumo_cli.runtime.distributed import Ranks
from pneumo_cli.runtime.progress import Progress, WatchedProgress
from pneumo_cli.runtime.seeding import seed_all
from pneumo_cli.runtime.signals import Interruption, interruption
from pneumo_cli.trainers.base import Trainer
from pneumo_cli.trainers.session import Setup, open_run
from pneumo_cli.training.epoch_outputs import EpochOutputs
from pneumo_cli.training.evaluation import describe_evaluation, evaluation_model, summarize
from pneumo_cli.training.loaders import Loaders
from pneumo_cli.training.saver import Saver
from pneumo_cli.training.state import restore_training

# How many steps pass between two looks at the losses of an accelerator: a look waits for the device.
_STEPS_BETWEEN_CHECKS = 20


class Runner:
    """Carries out one run, new or taken up again.

    Args:
        run: with settings, data and device; see :mod:`pneumo_cli.trainers.session`.
        trainer: the object whose methods are the task hooks.
        plugins: what takes part beside the trainer, as (name, module or object).
        command: the command line, for the record.
    """

    def __init__(
        self, run: Run, trainer: Trainer, plugins: Iterable[tuple[Any, ...]], command: Sequence[str]
    ) -> None:
        self.run = run
        self.command = list(command)
        self.trainer = trainer
        self.hooks = RunHooks(trainer, plugins)
        self.loaders = Loaders(run)
        self._signal = Interruption()

    @property
    def told(self) -> int:
        """The number of the signal that came while the run was carried out; 0: none."""
        return self._signal.number

    def start(self, make_folder: Callable[[], RunFolder] | None = None) -> dict[str, Any]:
        """Carry out a new run, from the untrained model to the report.

        Args:
            make_folder: makes the run's folder, on the first rank, when all that could be refused has been looked
                at; None: a new one below the output folder.

        Returns:
            the content of ``report.json``.
        """
        self.build()
        self.load_pretrained()
        self.average_weights()
        self.run.sources = self.trainer.cache_sources(self.run)
        make_folder = make_folder or partial(RunFolder.create, self.run.machine.output, self.run.spec.name)
        folder = make_folder() if self.run.ranks.first else None
        self.run.folder = self.run.ranks.broadcast(folder)
        self.saver = Saver(self.run, self.notify_saved)
        with self.sole_writer():
            self.record(facts_of(self.run))
            return self.carry_out(EpochOutputs(self.run.ranks))

    def resume(self, folder: RunFolder) -> dict[str, Any]:
        """Take a run up where its last checkpoint left it, and carry out the rest.

        Returns:
            the content of ``report.json``.
        """
        self.build()
        self.average_weights()
        self.run.folder = folder
        self.saver = Saver(self.run, self.notify_saved)
        with self.sole_writer():
            outputs = restore_training(self.run, self.saver.load("last"))
            self.run.sources = self.trainer.cache_sources(self.run)
            self.record(recorded_facts(folder.settings))
            return self.carry_out(outputs)

    def carry_out(self, outputs: EpochOutputs) -> dict[str, Any]:
        """Train what is left to train, judge once, report.

        Args:
            outputs: of the epoch that is under way.
        """
        run = self.run
        with interruption() as self._signal:
            try:
                self.notify("run_started")
                if not run.history:
                    self.saver.save(outputs)
                    self.evaluate_untrained()
                while len(run.history) <= run.settings.epochs:
                    self.train_epoch(outputs)
                    self.validate_epoch(outputs)
                    outputs = EpochOutputs(run.ranks)
                report = self.finish()
            except BaseException as error:
                self.notify("run_failed", error=error)
                raise
        return report

    @contextmanager
    def sole_writer(self) -> Iterator[None]:
        """Keep other processes from the run's folder, from before its checkpoint is read to the report."""
        lock = self.run.folder.lock() if self.run.ranks.first else None
        try:
            yield
        finally:
            if lock is not None:
                lock.close()

    def build(self) -> None:
        """Make model, optimizers, schedulers and transforms, all seeded, nothing written."""
        run = self.run
        self.hooks.add_made_for(run)
        run.participants, run.extensions = self.hooks.participants(), self.hooks.extensions()
        run.transforms = self.trainer.build_transforms(run)
        seed_all(run.settings.seed, "model")
        model = self.hooks.tasks.build_model(run=run)
        if not isinstance(model, torch.nn.Module):
            raise PneumoError(f"build_model returned {type(model).__name__}, not a torch.nn.Module")
        run.model = model.to(device=run.device.torch).to(memory_format=run.device.memory_format)
        run.sources = self.trainer.build_sources(run)
        run.optimizers = self.trainer.build_optimizers(run)
        run.schedulers = self.trainer.build_schedulers(run)
        unknown = run.schedulers.keys() - run.optimizers.keys()
        if unknown:
            raise PneumoError(f"build_schedulers names {sorted(unknown)}, which build_optimizers does not")
        device = run.device.torch.type
        run.updates = Updates(
            run.optimizers,
            device_type=device,
            scaler=torch.amp.GradScaler(device, enabled=run.device.precision == "fp16"),
            ranks=run.ranks,
            accumulate=run.settings.accumulate,
            clip_norm=run.settings.clip_norm,
        )

    def load_pretrained(self) -> None:
        """Put weights from elsewhere into a new model; the first rank first, for it may have to fetch them."""
        run = self.run
        if run.ranks.first:
            loaded = self.trainer.load_pretrained(run)
            if loaded:
                run.note(loaded)
        run.ranks.barrier()
        if not run.ranks.first:
            self.trainer.load_pretrained(run)

    def average_weights(self) -> None:
        """Keep an average of the weights from here on, if the settings ask for it."""
        run = self.run
        run.average = WeightAverage(run.model, run.settings.ema) if run.settings.ema else None

    def record(self, facts: Mapping[str, Any]) -> None:
        """Write the settings in force, and what they are applied with."""
        if self.run.ranks.first:
            record_settings(self.run, facts, self.command)

    def evaluate_untrained(self) -> None:
        """Epoch 0: what the untrained model does on the training and validation images (SOURCE 4)."""
        began = time.monotonic()
        train = self.evaluate("train", "epoch 0, training images")
        validation = self.validate("epoch 0, validation images")
        self.finish_epoch(train.metrics, validation.metrics, began, self.learning_rate)

    def train_epoch(self, outputs: EpochOutputs) -> None:
        """Train one epoch, or what is left of it."""
        run = self.run
        run.epoch = len(run.history)
        self._epoch_began = time.monotonic()
        loader = self.loaders.training(run.epoch)
        self.notify("epoch_started", epoch=run.epoch)
        self.trainer.train_mode(run)
        steps = len(loader)
        name = f"epoch {run.epoch}/{run.settings.epochs}"
        with run.progress.stage(name, loader.samples) as loader.advance:
            loader.advance(sum(loader.batch_sizes(step)[0] for step in range(run.step)))
            for batch in loader.iterate(run.step):
                seed_all(run.settings.seed, run.epoch, run.step, run.ranks.rank)
                run.updates.batch_share = self.batch_share(loader)
                run.updates.last_step = run.step + 1 == steps
                with run.device.autocast():
                    metrics = self.hooks.tasks.train_step(run=run, batch=batch)
                outputs.add(metrics, batch.index)
                run.step += 1
                self.after_update()
                self.notify("step_finished", metrics=metrics)
                self.look(outputs)
        run.ranks.average_buffers(run.model)
        if run.average is not None:
            run.ranks.average_buffers(run.average.module)

    def after_update(self) -> None:
        """What follows each change of the weights; not each step, where gradients are accumulated."""
        run = self.run
        if not run.updates.complete:
            return
        if run.average is not None:
            run.average.update_parameters(run.model)
        if self.trainer.scheduler_interval == "update":
            for scheduler in run.schedulers.values():
                scheduler.step()

    def batch_share(self, loader: Loader) -> float:
        """This rank's images of the current batch, as a share of all images of the update it is part of."""
        group = self.run.settings.accumulate
        first = self.run.step // group * group
        images = sum(loader.batch_sizes(step)[1] for step in range(first, min(first + group, len(loader))))
        return loader.batch_sizes(self.run.step)[0] / images

    def look(self, outputs: EpochOutputs) -> None:
        """Between steps: has the loss gone wrong, has somebody asked to stop, is it time to save?"""
        run = self.run
        alone_on_cpu = run.device.torch.type == "cpu" and run.ranks.world == 1
        if not (alone_on_cpu or run.updates.last_step or run.step % _STEPS_BETWEEN_CHECKS == 0):
            return
        self.check_finite(outputs)
        if not run.updates.complete:
            return
        self.stop_if_interrupted(outputs)
        self.saver.save_if_overdue(outputs)

    def check_finite(self, outputs: EpochOutputs) -> None:
        """Stop a run whose loss is NaN or infinite, before it could be saved."""
        try:
            outputs.check_finite()
        except PneumoError as error:
            last = self.saver.checkpoints.path("last")
            raise PneumoError(
                f"epoch {self.run.epoch}: {error}; the last good checkpoint is {last} "
                "(a lower learning rate, --clip-norm 1 or --precision fp32 may help)"
            ) from None

    def stop_if_interrupted(self, outputs: EpochOutputs | None) -> None:
        """Save and leave, if a signal came.

        Args:
            outputs: of the epoch under way; None where ``last`` on the disk is already all there is to save.
        """
        number = self.run.ranks.largest(self._signal.number)
        if number:
            if outputs is not None:
                self.saver.save(outputs)
            trained = len(self.run.history) > self.run.settings.epochs
            raise Interrupted(
                (
                    "stopped after the last epoch, before the report was written; "
                    if trained
                    else f"stopped and saved in epoch {self.run.epoch} after step {self.run.step}; "
                )
                + f"go on with: pneumo resume {self.run.folder.path}",
                128 + number,
            )

    def validate_epoch(self, outputs: EpochOutputs) -> None:
        """Validate, keep the checkpoint if it is the best, and save the epoch."""
        run = self.run
        means, per_image = outputs.results()
        train = self.trainer.training_metrics(run, means, per_image)
        seconds = time.monotonic() - self._epoch_began
        validation = self.validate(f"epoch {run.epoch}, validation", outputs)
        rate = self.learning_rate
        if self.trainer.scheduler_interval == "epoch":
            for scheduler in run.schedulers.values():
                scheduler.step()
        self.saver.keep_if_best(validation.metrics if run.monitor.side == "validation" else train)
        speed = len(per_image["index"]) / seconds
        self.finish_epoch(train, validation.metrics, self._epoch_began, rate, speed)

    def finish_epoch(
        self,
        train: Mapping[str, float],
        validation: Mapping[str, float],
        began: float,
        learning_rate: float,
        images_per_second: float | None = None,
    ) -> None:
        """Add the epoch to the history, save, and tell the observers."""
        run = self.run
        row: dict[str, Any] = {
            "epoch": len(run.history),
            "train": plain(train),
            "validation": plain(validation),
            "learning_rate": learning_rate,
            "seconds": round(time.monotonic() - began, 3),
        }
        if images_per_second is not None:
            row["images_per_second"] = round(images_per_second, 2)
        run.history.append(row)
        run.step = 0
        self.keep_images()
        self.saver.save_epoch()
        self.notify("epoch_finished", metrics=row)

    def keep_images(self) -> None:
        """Write down what the trainer wants to be seen of each epoch."""
        run = self.run
        with evaluation_model(run), torch.no_grad(), run.device.autocast():
            images = self.trainer.epoch_images(run)
        if images is not None and run.ranks.first:
            from pneumo_cli.reports.figures.animation import write_grid

            write_grid(images.cpu(), run.folder.epoch_images(len(run.history) - 1))

    def validate(self, name: str, outputs: EpochOutputs | None = None) -> Evaluation:
        """Judge the validation images, if the split keeps any."""
        if not len(self.run.data.split.validation):
            return Evaluation({})
        return self.evaluate("validation", name, outputs)

    @property
    def learning_rate(self) -> float:
        """The first optimizer's current learning rate."""
        first = next(iter(self.run.optimizers.values()))
        return float(first.param_groups[0]["lr"])

    def evaluate(self, split: str, name: str, outputs: EpochOutputs | None = None) -> Evaluation:
        """One pass over one split, in order, exact under any number of ranks.

        Args:
            outputs: of the epoch under way, saved if the pass is interrupted.
        """
        run = self.run
        loader = self.loaders.evaluation(split)
        seed_all(run.settings.seed, "evaluation", split, len(run.history))
        with run.progress.stage(name, loader.samples) as advance:

            def watch(count: int) -> None:
                advance(count)
                if run.ranks.world == 1 and self._signal.number:
                    self.stop_if_interrupted(outputs)

            loader.advance = watch
            with evaluation_model(run), torch.no_grad(), run.device.autocast():
                evaluation = self.hooks.tasks.evaluate(run=run, loader=loader)
        if not isinstance(evaluation, Evaluation):
            raise PneumoError(f"evaluate returned {type(evaluation).__name__}, not an Evaluation")
        for metric, value in evaluation.metrics.items():
            if not math.isfinite(value):
                raise PneumoError(
                    f"{split} {metric} is {value} after epoch {run.epoch}: the run has diverged"
                )
        self.stop_if_interrupted(outputs)
        return evaluation

    def finish(self) -> dict[str, Any]:
        """Judge the best checkpoint, on the test images last of all and once, and write the report."""
        run = self.run
        run.ranks.barrier()
        best = self.saver.load("best")
        load_weights(run.model, best["model"])
        run.average = None  # the best checkpoint holds the average that was best
        evaluations = {}
        if len(run.data.split.validation):
            evaluations["validation"] = self.evaluate("validation", "best checkpoint, validation")
            self.calibrate(evaluations["validation"], best)
        # Opened only now: nothing is fitted or chosen any more.
        if len(run.data.split.test) and run.settings.evaluate_test:
            record_test_access(run, "best", by="run")
            evaluations["test"] = self.evaluate("test", "best checkpoint, test")
        report = self.report(evaluations) if run.ranks.first else {}
        run.ranks.barrier()
        self.notify("run_finished", report=report)
        return report

    def report(self, evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
        """Say what was found, on the first rank; told to stop, leave: a resumed run writes its report anew."""
        from pneumo_cli.reports.run_report import write_report

        run, shown = self.run, self.run.progress
        if run.ranks.world == 1:  # others would wait for ever
            run.progress = WatchedProgress(shown, partial(self.stop_if_interrupted, None))
        try:
            described = {
                split: describe_evaluation(run, self.trainer, split, found)
                for split, found in evaluations.items()
            }
            return write_report(
                run,
                described,
                command=self.command,
                sample_loaders=self.loaders.samples(),
                summary=summarize(run, self.trainer, described),
                sections=self.added_sections(described),
            )
        finally:
            run.progress = shown

    def added_sections(self, evaluations: Mapping[str, Evaluation]) -> list[tuple[str, ReportSection]]:
        """What plugins add to the report."""
        run = self.run
        seed_all(run.settings.seed, "report")
        with evaluation_model(run), torch.no_grad(), run.device.autocast():
            return self.hooks.report_sections(run, evaluations)

    def calibrate(self, validation: Evaluation, best: Mapping[str, Any]) -> None:
        """Fit what is fitted when training is over, and keep it with the weights that it belongs to.

        Args:
            best: what the best checkpoint holds.
        """
        run = self.run
        seed_all(run.settings.seed, "calibration")
        run.calibration = self.trainer.calibrate(run, validation)
        if run.calibration:
            self.saver.add_to_best(best, calibration=run.calibration)

    def notify_saved(self, path: Path) -> None:
        """Tell the observers of a checkpoint."""
        self.notify("checkpoint_saved", path=path)

    def notify(self, hook: str, **arguments: Any) -> None:
        """Tell the observers, on the first rank only."""
        if self.run.ranks.first:
            self.hooks.notify(hook, run=self.run, **arguments)


def open_runner(
    setup: Setup,
    plugins: Iterable[tuple[Any, ...]] = (),
    *,
    progress: Progress | None = None,
    ranks: Ranks | None = None,
    command: Sequence[str] = (),
) -> Runner:
    """Open a run: everything but its start.

    Args:
        setup: what its settings ask for.
        plugins: what takes part beside the trainer (:meth:`pneumo_cli.plugins.discovery.Plugins.observing`).
        progress: where long steps are shown; None: nowhere.
        ranks: the processes that share each batch; None: this one alone.
        command: the command line, for the record.

    Raises:
        UsageError: something that was asked for cannot be had.
    """
    run = open_run(setup, progress or Progress(), ranks or Ranks())
    return Runner(run, setup.trainer, plugins, command)
