"""The training loop: what happens to a run, in order.

Knows no task: everything specific happens in the hooks ``build_model``, ``train_step`` and ``evaluate``.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from pneumo_cli.data.examination import unused_images
from pneumo_cli.errors import Interrupted, PneumoError
from pneumo_cli.evaluation.result import Evaluation, plain
from pneumo_cli.plugins.parts import refuse_unusable
from pneumo_cli.plugins.run_hooks import RunHooks
from pneumo_cli.runs.ema import WeightAverage
from pneumo_cli.runs.extensions import check_extensions, extensions_of
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.record import facts_of, record_settings, recorded_facts
from pneumo_cli.runs.run import Run
from pneumo_cli.runs.test_access import record_test_access
from pneumo_cli.runs.weights import load_weights
from pneumo_cli.runtime.distributed import Ranks
from pneumo_cli.runtime.progress import NOTICE, Progress, WatchedProgress
from pneumo_cli.runtime.seeding import seed_all
from pneumo_cli.runtime.signals import Interruption, interruption
from pneumo_cli.trainers.base import Trainer
from pneumo_cli.trainers.session import Setup, open_run
from pneumo_cli.training.batch_size import check_batch_size
from pneumo_cli.training.breaches import Breach, broken, method, produced
from pneumo_cli.training.build import build_run, cache_sources, load_pretrained
from pneumo_cli.training.contract import check_epoch, check_history, checked_metrics
from pneumo_cli.training.epoch_outputs import EpochOutputs
from pneumo_cli.training.evaluation import calibrate, evaluate_split, report_run, save_epoch_images
from pneumo_cli.training.loaders import Loaders
from pneumo_cli.training.rehearsal import rehearse
from pneumo_cli.training.saver import Saver
from pneumo_cli.training.state import restore_training
from pneumo_cli.training.steps import Steps

_log = logging.getLogger("pneumo")

_STEPS_BETWEEN_CHECKS = 20  # on an accelerator, where reading the losses waits for the device


class Runner:
    """Carries out one run, new or resumed.

    Args:
        run: with settings, data and device; see :mod:`pneumo_cli.trainers.session`.
        trainer: the object whose methods are the task hooks.
        plugins: the other plugins that take part, as (name, module or object).
        command: the command line, for the record.
    """

    def __init__(
        self, run: Run, trainer: Trainer, plugins: Iterable[tuple[Any, ...]], command: Sequence[str]
    ) -> None:
        self.run = run
        self.command = list(command)
        self.trainer = trainer
        refuse_unusable(run.registries)
        entry = run.resolved.entry
        self.hooks = RunHooks(
            trainer, plugins, run.resolved.parts, name=entry.spec.name, provenance=entry.provenance
        )
        self.steps = Steps(run, trainer, self.hooks)
        self.loaders = Loaders(run)
        self._signal = Interruption()
        self._rehearsed = False
        self._finished = 0  # epochs, the untrained model's among them

    @property
    def interrupted(self) -> int:
        """The number of the signal that was received during the run; 0: none."""
        return self._signal.number

    def start(self, make_folder: Callable[[], RunFolder] | None = None) -> dict[str, Any]:
        """Carry out a new run, from the untrained model to the report; return the content of ``report.json``.

        Args:
            make_folder: makes the run's folder, on the first rank, after everything that can be refused has been
                checked; None: a new one below the output folder.
        """
        run = self.run
        self.build()
        check_batch_size(run)
        load_pretrained(run, self.trainer)
        self.average_weights()
        cache_sources(run, self.trainer)
        with method(run, "model_options", self.trainer):
            facts = facts_of(run, self.trainer.model_options())
        make_folder = make_folder or partial(RunFolder.create, run.machine.output, run.spec.name)
        folder = run.ranks.broadcast(make_folder() if run.ranks.first else None)
        with self.opened(folder):
            return self.carry_out(EpochOutputs(run.ranks), facts)

    def resume(self, folder: RunFolder) -> dict[str, Any]:
        """Continue a run from its last checkpoint; return the content of ``report.json``."""
        run = self.run
        facts = recorded_facts(folder.settings)
        self.build()
        remarks = check_extensions(run, facts, folder)
        check_batch_size(run)
        self.average_weights()
        with self.opened(folder):
            checkpoint = self.saver.load("last")
            outputs = restore_training(run, checkpoint)
            for remark in (*remarks, *self.hooks.load_states(checkpoint)):
                run.note(remark)
            cache_sources(run, self.trainer)
            return self.carry_out(outputs, {**facts, **extensions_of(run)})

    def carry_out(self, outputs: EpochOutputs, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Record the settings and ``facts``, train the epochs that are left, evaluate the best checkpoint, report.

        Args:
            outputs: of the current epoch so far.
        """
        run = self.run
        self._finished = len(run.history)
        if run.ranks.first:
            for line in unused_images(run.data.dataset):
                _log.log(NOTICE, "%s", line)
            record_settings(run, facts, self.command)
        with interruption() as self._signal:
            try:
                self.notify("run_started")
                if not run.history:
                    self.saver.save(outputs)
                    self.evaluate_untrained()
                while not run.trained:
                    self.train_epoch(outputs)
                    self.validate_epoch(outputs)
                    outputs = EpochOutputs(run.ranks)
                report = self.report(self.evaluate_best())
                self.notify("run_finished", report=report)
            except BaseException as error:
                self.notify("run_failed", error=error)
                raise
        return report

    @contextmanager
    def opened(self, folder: RunFolder) -> Iterator[None]:
        """Use a run folder, locked against other processes from before its checkpoint is read to the report."""
        self.run.folder = folder
        self.saver = Saver(
            self.run, lambda path: self.notify("checkpoint_saved", path=path), self.hooks.states
        )
        lock = folder.lock() if self.run.ranks.first else None
        try:
            yield
        finally:
            if lock is not None:
                lock.close()

    def build(self) -> None:
        """Make model, optimizers, schedulers and transforms, all seeded. Nothing is written."""
        build_run(self.run, self.trainer, self.hooks)

    def average_weights(self) -> None:
        """Start a moving average of the weights, if the settings ask for one."""
        run = self.run
        run.average = WeightAverage(run.model, run.settings.ema) if run.settings.ema else None

    def evaluate_untrained(self) -> None:
        """Epoch 0: the metrics of the untrained model on the training and validation images (SOURCE 4)."""
        run = self.run
        self._epoch_began = time.monotonic()
        train = self.evaluate("train", "epoch 0, training images")
        validation = self.validate("epoch 0, validation images")
        if not len(run.data.split.validation):
            self.rehearse("train", train)
        check_epoch(run, train.metrics, validation.metrics)
        self.finish_epoch(train.metrics, validation.metrics, self.learning_rate)

    def train_epoch(self, outputs: EpochOutputs) -> None:
        """Train one epoch, or the rest of a resumed one."""
        run = self.run
        run.epoch = len(run.history)
        self._epoch_began = time.monotonic()
        loader = self.loaders.training(run.epoch)
        self.notify("epoch_started", epoch=run.epoch)
        with method(run, "train_mode", self.trainer):
            self.trainer.train_mode(run)
        name = f"epoch {run.epoch}/{run.settings.epochs}"
        with run.progress.stage(name, loader.samples) as loader.advance:
            loader.advance(sum(loader.batch_sizes(step)[0] for step in range(run.step)))
            batches = loader.iterate(run.step)
            for batch in produced(
                run, "the inputs of a batch (build_transforms, build_sources)", self.trainer, batches
            ):
                seed_all(run.settings.seed, run.epoch, run.step, run.ranks.rank)
                metrics = self.steps.make(loader, batch)
                try:
                    outputs.add(metrics, batch.index)
                except Breach as error:
                    raise broken(run, "train_step", error) from error
                run.step += 1
                self.steps.finish()
                self.notify("step_finished", metrics=metrics)
                self.check_step(outputs)
        self.steps.finish_epoch()
        run.ranks.average_buffers(run.model)
        if run.average is not None:
            run.ranks.average_buffers(run.average.module)

    def check_step(self, outputs: EpochOutputs) -> None:
        """Between steps: check the loss, stop if interrupted, save if it is time to."""
        run = self.run
        alone_on_cpu = run.device.torch.type == "cpu" and run.ranks.world == 1
        if not (alone_on_cpu or run.updates.last_step or run.step % _STEPS_BETWEEN_CHECKS == 0):
            return
        try:
            outputs.check_finite()
            if not run.updates.losses_are_finite():
                raise PneumoError(f"the loss of an update is not finite (NaN or infinite) by step {run.step}")
        except PneumoError as error:
            last = self.saver.checkpoints.path("last")
            raise PneumoError(
                f"epoch {run.epoch}: {error}; the last good checkpoint is {last} "
                "(a lower learning rate, --clip-norm 1 or --precision fp32 may help)"
            ) from None
        if run.updates.complete:
            self.stop_if_interrupted(outputs)
            self.saver.save_if_overdue(outputs)

    def stop_if_interrupted(self, outputs: EpochOutputs | None = None) -> None:
        """Save and raise ``Interrupted``, if a signal was received.

        Args:
            outputs: of the current epoch; None where the checkpoint ``last`` is up to date.
        """
        run = self.run
        number = run.ranks.largest(self._signal.number)
        if not number:
            return
        if outputs is not None:
            self.saver.save(outputs)
        where = f"stopped and saved in epoch {run.epoch} after step {run.step}"
        if run.trained:
            where = "stopped after the last epoch, before the report was written"
        raise Interrupted(f"{where}; go on with: pneumo resume {run.folder.path}", 128 + number)

    def validate_epoch(self, outputs: EpochOutputs) -> None:
        """Validate, keep the weights if they are the best, and finish the epoch."""
        run = self.run
        means, per_image = outputs.results()
        with method(run, "training_metrics", self.trainer):
            train = checked_metrics(self.trainer.training_metrics(run, means, per_image))
        seconds = time.monotonic() - self._epoch_began
        validation = self.validate(f"epoch {run.epoch}, validation", outputs)
        check_epoch(run, train, validation.metrics)
        rate = self.learning_rate
        self.steps.schedule("epoch")
        self.saver.keep_if_best(validation.metrics if run.monitor.side == "validation" else train)
        computed = len(per_image["index"]) - outputs.restored
        self.finish_epoch(train, validation.metrics, rate, computed / seconds if computed else None)

    def finish_epoch(
        self,
        train: Mapping[str, float],
        validation: Mapping[str, float],
        learning_rate: float,
        images_per_second: float | None = None,
    ) -> None:
        """Add the epoch to the history, save, and notify the observers."""
        run = self.run
        row: dict[str, Any] = {
            "epoch": len(run.history),
            "train": plain(train),
            "validation": plain(validation),
            "learning_rate": learning_rate,
            "seconds": round(time.monotonic() - self._epoch_began, 3),
        }
        if images_per_second is not None:
            row["images_per_second"] = round(images_per_second, 2)
        check_history(run, self._finished)
        run.history.append(row)
        self._finished += 1
        run.step = 0
        save_epoch_images(run, self.trainer)
        if not self.hooks.epoch_end_matters:
            self.saver.save_epoch()
        self.notify("epoch_finished", metrics=copy.deepcopy(row))
        check_history(run, self._finished)
        run.stop_reason = next(filter(None, run.ranks.gather(run.stop_reason)), "")
        if stop := run.stopped:
            run.note(f"stopped after epoch {stop['epoch']} of {stop['of']}: {stop['reason']}")
            self.saver.save_stopped()
        elif self.hooks.epoch_end_matters:
            self.saver.save_epoch()

    @property
    def learning_rate(self) -> float:
        """The first optimizer's current learning rate."""
        first = next(iter(self.run.optimizers.values()))
        return float(first.param_groups[0]["lr"])

    def validate(self, name: str, outputs: EpochOutputs | None = None) -> Evaluation:
        """Evaluate the validation images, if there are any."""
        if not len(self.run.data.split.validation):
            return Evaluation({})
        evaluation = self.evaluate("validation", name, outputs)
        self.rehearse("validation", evaluation)
        return evaluation

    def rehearse(self, split: str, evaluation: Evaluation) -> None:
        """Try the end of the run, once per process, with an evaluation from before it."""
        if not self._rehearsed:
            rehearse(self.run, self.trainer, split, evaluation)
            self._rehearsed = True

    def evaluate(self, split: str, name: str, outputs: EpochOutputs | None = None) -> Evaluation:
        """Evaluate one split, in order; exact under any number of ranks.

        Args:
            name: shown with the progress.
            outputs: of the current epoch, saved if a signal interrupts the evaluation.
        """
        loader = self.loaders.evaluation(split)
        with self.watched_progress(outputs).stage(name, loader.samples) as loader.advance:
            evaluation = evaluate_split(self.run, self.hooks, split, loader)
        self.stop_if_interrupted(outputs)
        return evaluation

    def watched_progress(self, outputs: EpochOutputs | None = None) -> Progress:
        """The run's progress, which stops at a signal; not with several ranks, where the others would wait."""
        if self.run.ranks.world > 1:
            return self.run.progress
        return WatchedProgress(self.run.progress, partial(self.stop_if_interrupted, outputs))

    def evaluate_best(self) -> dict[str, Evaluation]:
        """Evaluate the best checkpoint by split: validation with calibration, then test, last of all and once."""
        run = self.run
        run.ranks.barrier()
        best = self.saver.load("best")
        load_weights(run.model, best["model"])
        run.average = None  # the best checkpoint holds the averaged weights
        evaluations = {}
        if len(run.data.split.validation):
            evaluations["validation"] = self.validate("best checkpoint, validation")
            run.calibration = calibrate(run, self.trainer, evaluations["validation"])
            if run.calibration:
                self.saver.add_to_best(best, calibration=run.calibration)
        # From here on nothing is fitted or chosen.
        if len(run.data.split.test) and run.settings.evaluate_test:
            record_test_access(run, "best", by="run")
            evaluations["test"] = self.evaluate("test", "best checkpoint, test")
        return evaluations

    def report(self, evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
        """Write the report, on the first rank. A run that is interrupted here writes it when it is resumed."""
        run, progress = self.run, self.run.progress
        report: dict[str, Any] = {}
        if run.ranks.first:
            run.progress = self.watched_progress()
            try:
                samples = self.loaders.samples() if run.machine.report else {}
                report = report_run(run, self.trainer, self.hooks, evaluations, samples, self.command)
            finally:
                run.progress = progress
        run.ranks.barrier()
        return report

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call a lifecycle hook, on the first rank only."""
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
    """Open a run with its data, without starting it.

    Args:
        plugins: the other plugins that take part (:meth:`pneumo_cli.plugins.discovery.Plugins.observing`).
        progress: where long steps are shown; None: nowhere.
        ranks: the processes that share each batch; None: this one alone.
        command: the command line, for the record.

    Raises:
        UsageError: something that was asked for is not available.
    """
    run = open_run(setup, progress or Progress(), ranks or Ranks())
    return Runner(run, setup.trainer, plugins, command)
