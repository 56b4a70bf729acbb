"""The contract between pneumo and its plugins: every hook, each with an example that runs.

- *Registration* hooks (:mod:`pneumo_cli.plugins.registration`) return what a plugin adds, without side effects.
- *Task* hooks do the work of one run. Its trainer implements them; extensions wrap them.
- *Around* hooks return functions that an extension puts around those of any trainer.
- *Lifecycle* hooks tell observers, which cannot change it, and extensions how a run proceeds.
- *Program* hooks tell plugins what other commands have done.

All are called through pluggy: wrappers, ``tryfirst``, ``trylast``, ``specname`` and ``optionalhook`` work as pluggy
documents. ``@hookimpl`` marks them; a trainer's task hooks and an object's lifecycle hooks need no mark. They may
take fewer arguments than specified. Whoever raises is named with distribution, version and hook. In a registration
hook it becomes a problem in ``pneumo list-plugins``, and what was yielded before counts. In a run, errors of its
trainer and of *extensions* (what wraps a task hook, implements an around hook, or is an ``ExtensionSpec``) end it,
in lifecycle hooks too; an observer that raises is logged once and dropped. Errors of observers reach no wrappers.

Extensions are part of the recipe: ``run.toml`` records them, and a run is resumed and evaluated with the same ones.
Objects of a run, and trainers, with ``state_dict()`` and ``load_state_dict(state)`` are in its checkpoint ``last``.
"""

# mypy: disable-error-code="empty-body"

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from pneumo_cli.plugins.registration import RegistrationHooks

if TYPE_CHECKING:
    import torch

    from pneumo_cli.data.batch_inputs import Sources, Transforms
    from pneumo_cli.data.loader import Batch, Loader
    from pneumo_cli.evaluation.result import Evaluation, ReportSection
    from pneumo_cli.runs.run import Run

hookspec = pluggy.HookspecMarker("pneumo")


class TaskHooks:
    """The work of one run, on every rank. Methods of a :class:`~pneumo_cli.trainers.base.Trainer` implement it."""

    @hookspec(firstresult=True)
    def build_model(self, run: Run) -> torch.nn.Module:
        """Return the one module that is trained and saved; a GAN's has ``.generator`` and ``.discriminator``.

        Called once per run, before optimizers and schedulers are built.

        Example::

            class Probe(Trainer):
                def build_model(self, run):
                    return run.create_model(channels=3, outputs=1)
        """

    @hookspec(firstresult=True)
    def train_step(self, run: Run, batch: Batch) -> Mapping[str, torch.Tensor]:
        """Make the complete update of one batch, through ``run.optimize``, and return detached tensors.

        0-d tensors, ``loss`` among them, are averaged over the epoch by batch size. 1-d tensors of the batch's
        length are collected and passed to ``Trainer.training_metrics`` after the epoch. None is read per step.

        Example (an extension that wraps the step of any trainer)::

            class Doubling:
                @hookimpl(wrapper=True)
                def train_step(self, run, batch):
                    metrics = yield
                    return {**metrics, "twice": 2 * metrics["loss"]}
        """

    @hookspec(firstresult=True)
    def evaluate(self, run: Run, loader: Loader) -> Evaluation:
        """Return the metrics of ``run.model`` on one split, whose images ``loader`` yields once and in order.

        Called in eval mode without gradients: before the first epoch, after each, and for the best checkpoint.

        Example::

            class Probe(Trainer):
                def evaluate(self, run, loader):
                    parts = []
                    for batch in loader.iterate():
                        logits = run.model(batch.images).flatten()
                        parts.append({"index": batch.index, "label": batch.labels, "logit": logits})
                    outputs = run.gather({name: torch.cat([p[name] for p in parts]) for name in parts[0]})
                    accuracy = ((outputs["logit"] >= 0) == outputs["label"]).mean()
                    return Evaluation(metrics={"accuracy": float(accuracy)}, outputs=outputs)
        """

    @hookspec(firstresult=True)
    def build_optimizers(self, run: Run) -> dict[str, torch.optim.Optimizer]:
        """Return the optimizers by the name that ``run.optimize`` is called with. The model is built.

        Example (an extension that gives any trainer another optimizer)::

            class Lion:
                @hookimpl(wrapper=True)
                def build_optimizers(self, run):
                    optimizers = yield
                    return {name: torch.optim.NAdam(one.param_groups) for name, one in optimizers.items()}
        """

    @hookspec(firstresult=True)
    def build_schedulers(self, run: Run) -> dict[str, torch.optim.lr_scheduler.LRScheduler]:
        """Return the schedulers by optimizer name; those without one keep their learning rate.

        Example::

            class Constant:
                @hookimpl(wrapper=True)
                def build_schedulers(self, run):
                    yield
                    return {}
        """

    @hookspec(firstresult=True)
    def build_transforms(self, run: Run) -> Transforms:
        """Return the transforms from stored images to the model's input. Called before the model is built.

        Example::

            class Plain:
                @hookimpl(wrapper=True)
                def build_transforms(self, run):
                    transforms = yield
                    return transforms._replace(train=transforms.evaluation)
        """

    @hookspec(firstresult=True)
    def build_sources(self, run: Run) -> Sources:
        """Return the sources of the loaders' batches. The model is built.

        Example::

            class Unaugmented:
                @hookimpl(wrapper=True)
                def build_sources(self, run):
                    sources = yield
                    return sources._replace(train=sources.evaluation)
        """


class AroundHooks:
    """What an extension calls around the trainer's own functions, once, several times, or with other arguments.

    Called once per run, on every rank, after the model is built. Each returns a function, which receives the one
    that it is around (the trainer's, or that of an extension nearer to it) and its arguments; or None, for a run
    that the extension does not change.
    """

    @hookspec
    def around_train_step(
        self, run: Run
    ) -> Callable[[Callable[[Batch], Mapping[str, torch.Tensor]], Batch], Mapping[str, torch.Tensor]] | None:
        """Return ``function(train_step, batch)``, called in place of ``train_step(batch)``.

        It may call ``train_step`` with another batch (mixup), or more than once (SAM), and returns its outputs.

        Example::

            class Flipped:
                @hookimpl
                def around_train_step(self, run):
                    def flipped(train_step, batch):
                        return train_step(batch._replace(images=batch.images.flip(-1)))

                    return flipped
        """

    @hookspec
    def around_loss(
        self, run: Run
    ) -> Callable[[Callable[[torch.Tensor, Batch], torch.Tensor], torch.Tensor, Batch], torch.Tensor] | None:
        """Return ``function(loss, outputs, batch)``, called in place of ``run.loss(outputs, batch)``, 0-d.

        An extension that does so cannot take part in a run whose trainer does not call ``run.loss``.

        Example::

            class Squared:
                @hookimpl
                def around_loss(self, run):
                    return lambda loss, outputs, batch: loss(outputs, batch) ** 2
        """

    @hookspec
    def around_optimize(
        self, run: Run
    ) -> Callable[[Callable[[torch.Tensor, str], None], torch.Tensor, str], None] | None:
        """Return ``function(optimize, loss, name)``, called in place of ``run.optimize(loss, name)``.

        ``run.gradients(loss, name)`` computes gradients, ``run.backward(loss, name)`` and ``run.update(name)`` are
        the two halves of ``optimize``.

        Example::

            class Penalised:
                @hookimpl
                def around_optimize(self, run):
                    def penalised(optimize, loss, name):
                        optimize(loss + 1e-4 * sum(p.abs().sum() for p in run.model.parameters()), name)

                    return penalised
        """


class LifecycleHooks:
    """How a run proceeds. Called on the first rank only."""

    @hookspec
    def run_started(self, run: Run) -> None:
        """Model, data and folder are there, and training starts, or resumes if ``run.history`` is not empty.

        Example::

            @hookimpl
            def run_started(run):
                print(run.folder.path)
        """

    @hookspec
    def epoch_started(self, run: Run, epoch: int) -> None:
        """A training epoch starts or resumes. Epochs count from 1; epoch 0 evaluates the untrained model.

        Example::

            @hookimpl
            def epoch_started(epoch):
                print("epoch", epoch)
        """

    @hookspec
    def step_finished(self, run: Run, metrics: Mapping[str, torch.Tensor]) -> None:
        """A training step is finished. Do not read the tensors: that would wait for the device.

        Example::

            @hookimpl
            def step_finished(run):
                count[run.step] += 1
        """

    @hookspec
    def epoch_finished(self, run: Run, metrics: Mapping[str, Any]) -> None:
        """An epoch, epoch 0 included, is over. ``metrics`` is a copy of its row of ``run.history``.

        Example::

            @hookimpl
            def epoch_finished(metrics):
                print(metrics["validation"]["loss"])
        """

    @hookspec
    def checkpoint_saved(self, run: Run, path: Path) -> None:
        """The checkpoint ``best.pt`` or ``last.pt`` is completely written.

        Example::

            @hookimpl
            def checkpoint_saved(path):
                print(path.stat().st_size)
        """

    @hookspec
    def add_to_report(self, run: Run, evaluations: Mapping[str, Evaluation]) -> Iterable[ReportSection]:
        """Return sections for the report: text, tables and figures.

        Called after all evaluations, before the report is written, in eval mode without gradients.

        Args:
            run: with the weights of the best checkpoint.
            evaluations: of the best checkpoint, by split.

        Example::

            @hookimpl
            def add_to_report(run, evaluations):
                yield ReportSection(title="Size", text=f"{len(run.history) - 1} epochs.")
        """

    @hookspec
    def run_finished(self, run: Run, report: Mapping[str, Any]) -> None:
        """The report is written. ``report`` is the content of ``report.json``.

        Example::

            @hookimpl
            def run_finished(report):
                print(report["evaluations"]["test"])
        """

    @hookspec
    def run_failed(self, run: Run, error: BaseException) -> None:
        """The run ends before its report, through an error or a signal (:class:`pneumo_cli.errors.Interrupted`).

        Called after ``run_started`` only.

        Example::

            @hookimpl
            def run_failed(error):
                print(error)
        """


class ProgramHooks:
    """What commands other than a single run have done. Called on the installed plugins, on the first rank only.

    Arguments are plain values and paths. An implementation that raises is named; the command goes on. What it
    prints goes to stderr. A plugin's own command calls them with ``ctx.obj.notify(hook, **arguments)``.
    """

    @hookspec
    def group_started(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """A group of runs (``--folds``, ``--seeds``) starts or resumes.

        ``settings`` are plain values by name, those of extensions and observers as ``mixup.alpha``.

        Example::

            @hookimpl
            def group_started(folder):
                print(folder)
        """

    @hookspec
    def group_finished(self, folder: Path, report: Mapping[str, Any]) -> None:
        """The report of a group is written. ``report`` is the content of its ``report.json``.

        Example::

            @hookimpl
            def group_finished(folder, report):
                print(folder, report["spread"])
        """

    @hookspec
    def run_evaluated(self, folder: Path, result: Mapping[str, Any]) -> None:
        """``pneumo evaluate`` has evaluated a run. ``result`` is what ``--json`` prints.

        Example::

            @hookimpl
            def run_evaluated(folder, result):
                print(folder, result["metrics"])
        """

    @hookspec
    def images_predicted(self, paths: Sequence[Path], predictions: Sequence[Mapping[str, Any]]) -> None:
        """``pneumo predict`` has predicted images with the models at ``paths``.

        ``predictions`` are its rows as ``--json`` prints them: a thousand at once, until the rest.

        Example::

            @hookimpl
            def images_predicted(predictions):
                print(len(predictions), "images")
        """

    @hookspec
    def images_generated(self, path: Path, folder: Path, images: int) -> None:
        """``pneumo generate`` has written a number of images, of the model at ``path``, into ``folder``.

        Example::

            @hookimpl
            def images_generated(folder, images):
                print(images, "images in", folder)
        """

    @hookspec
    def model_exported(self, path: Path, target: Path) -> None:
        """``pneumo export`` has exported the model at ``path`` to ``target``.

        Example::

            @hookimpl
            def model_exported(path, target):
                print(path, "->", target)
        """


HOOKS = (RegistrationHooks, TaskHooks, AroundHooks, LifecycleHooks, ProgramHooks)


def _names(group: type) -> tuple[str, ...]:
    return tuple(name for name in vars(group) if not name.startswith("_"))


TASK_HOOKS = _names(TaskHooks)
AROUND_HOOKS = _names(AroundHooks)
LIFECYCLE_HOOKS = _names(LifecycleHooks)
PROGRAM_HOOKS = _names(ProgramHooks)
KNOWN_HOOKS = tuple(name for group in HOOKS for name in _names(group))
