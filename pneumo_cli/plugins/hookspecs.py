"""The contract between pneumo and its plugins: every hook, each with an example that runs.

- *Registration* hooks return what a plugin adds. They have no side effects.
- *Task* hooks do the work of one run. Its trainer implements them; extensions wrap them.
- *Lifecycle* hooks tell observers how a run proceeds. They cannot change it.

All are called through pluggy: wrappers, ``tryfirst``, ``trylast``, ``specname`` and ``optionalhook`` work as pluggy
documents. An implementation may take fewer arguments than its specification, so later arguments break no plugin.

When an implementation raises, the plugin is named with its distribution and version, and the others go on. In a
registration hook it becomes a problem in ``pneumo list-plugins``, and what it has yielded before counts; in a
lifecycle hook it is logged once, and the plugin is dropped for the run. A trainer's own exceptions end the run, in
its lifecycle hooks too, and so do those of an extension in a task hook, which is named. In one respect a wrapper
sees less than with plain pluggy: exceptions of implementations that are left out or dropped do not reach it.
"""

# mypy: disable-error-code="empty-body"

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from pneumo_cli.specs import DatasetSpec, DecoderSpec, HealthCheck, ModelFamily, ModelSpec, TrainerSpec

if TYPE_CHECKING:
    import torch
    import typer

    from pneumo_cli.data.loader import Batch, Loader
    from pneumo_cli.evaluation.result import Evaluation, ReportSection
    from pneumo_cli.plugins.requests import PredictorRequest
    from pneumo_cli.runs.run import Run

hookspec = pluggy.HookspecMarker("pneumo")


class RegistrationHooks:
    """What a plugin adds. The ``register_`` hooks are called at every start of pneumo, on every rank."""

    @hookspec
    def register_trainers(self) -> Iterable[TrainerSpec]:
        """Return trainers for ``pneumo run``.

        Example::

            @hookimpl
            def register_trainers():
                yield TrainerSpec(
                    name="probe", summary="Linear probe", kind="classifier", model="cnn",
                    trainer="pneumo_probe.trainer:Probe", settings="pneumo_probe.settings:ProbeSettings",
                    presets=(Preset(name="source", summary="As published"),),
                )
        """

    @hookspec
    def register_models(self) -> Iterable[ModelSpec | ModelFamily]:
        """Return models for ``--model``, or a family of models that are looked up when one is named.

        Example::

            @hookimpl
            def register_models():
                yield ModelSpec(
                    name="tiny", kind="classifier", summary="Two layers", factory="pneumo_tiny.model:build"
                )
                yield ModelFamily(  # zoo/small, zoo/large, …
                    name="zoo", kind="classifier", summary="Our zoo", members="pneumo_tiny.zoo:members"
                )
        """

    @hookspec
    def register_datasets(self) -> Iterable[DatasetSpec]:
        """Return datasets for ``--dataset``.

        Example::

            @hookimpl
            def register_datasets():
                yield DatasetSpec(
                    name="clinic", summary="Our radiographs", factory="pneumo_clinic.data:open", needs_root=True
                )
        """

    @hookspec
    def register_decoders(self) -> Iterable[DecoderSpec]:
        """Return image formats that ``pneumo predict`` reads in addition to JPEG, PNG and TIFF.

        Example::

            @hookimpl
            def register_decoders():
                yield DecoderSpec(
                    name="nifti", summary="NIfTI images", suffixes=(".nii",), magic=(((344, b"n+1"),),),
                    decode="pneumo_nifti.decode:decode",
                )
        """

    @hookspec
    def register_commands(self, app: typer.Typer) -> None:
        """Add commands to ``pneumo``, or to one of its groups (``data``).

        Each implementation gets an app of its own. A group that it adds under the name of an existing one
        (``app.add_typer(group, name="data")``) extends that group. A command whose name is taken is refused.

        Example::

            @hookimpl
            def register_commands(app):
                @app.command()
                def hello():
                    "Say hello."
                    print("hello")
        """

    @hookspec
    def plugins_for_run(self, run: Run) -> Iterable[object]:
        """Return objects whose hook implementations take part in this run: observers or extensions with state.

        Called once per run, on every rank, before the model is built: ``run`` has its settings, device and data;
        its folder exists from ``run_started`` on. A plugin that raises is logged and left out of the run.

        Example::

            class Stopwatch:
                @hookimpl
                def epoch_finished(self, run, metrics):
                    print(run.epoch, time.monotonic())

            @hookimpl
            def plugins_for_run(run):
                yield Stopwatch()
        """

    @hookspec(firstresult=True)
    def open_predictor(self, path: Path, request: PredictorRequest) -> Any:
        """Open a trained model of the plugin's own format, for ``pneumo predict``.

        Called with each path (for a group of runs, each member's), before pneumo opens it as a run folder.

        Returns:
            a :class:`pneumo_cli.inference.predictor.Predictor`, which defines ``logits`` and ``maps``; None for a
            path of another format.

        Raises:
            PneumoError: the path is of this format and cannot be opened. The error is shown, and no other plugin is
                asked. Any other exception is logged with the plugin's name, and the next plugin is asked.

        Example::

            @hookimpl
            def open_predictor(path, request):
                if path.suffix == ".joblib":
                    from pneumo_forest.predictor import ForestPredictor

                    return ForestPredictor(path)
                return None
        """

    @hookspec
    def health_checks(self) -> Iterable[HealthCheck]:
        """Return checks that ``pneumo doctor`` runs in addition to its own.

        Example::

            @hookimpl
            def health_checks():
                yield HealthCheck(
                    name="archive", summary="Is the archive mounted?", check="pneumo_clinic.health:check"
                )
        """


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
        """An epoch, epoch 0 included, is trained, evaluated and saved. ``metrics`` is its row of ``run.history``.

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


HOOKS = (RegistrationHooks, TaskHooks, LifecycleHooks)


def _names(group: type) -> tuple[str, ...]:
    return tuple(name for name in vars(group) if not name.startswith("_"))


TASK_HOOKS = _names(TaskHooks)
LIFECYCLE_HOOKS = _names(LifecycleHooks)
KNOWN_HOOKS = tuple(name for group in HOOKS for name in _names(group))
