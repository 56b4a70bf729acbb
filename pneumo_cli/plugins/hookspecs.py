"""The whole contract between pneumo and its plugins.

Three groups of hooks, each with an example that runs:

- *Registration* hooks say what a plugin brings. They return values and have no side effects.
- *Task* hooks do the work of one run. Exactly one trainer implements them; extensions wrap them.
- *Lifecycle* hooks tell observers how a run goes. They cannot change it: an observer that raises is
  logged once and dropped for that run.

All are called through pluggy: wrappers, ``tryfirst`` and ``trylast``, ``specname`` and ``optionalhook`` do what
pluggy documents. An implementation may take fewer arguments than its spec, so a later argument breaks nobody. One
that raises is named with its distribution and version, and the others go on; but what a trainer or an extension
raises in a task hook ends the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from pneumo_cli.specs import DatasetSpec, DecoderSpec, HealthCheck, ModelSpec, TrainerSpec

if TYPE_CHECKING:
    import torch
    import typer

    from pneumo_cli.data.loader import Batch, Loader
    from pneumo_cli.evaluation.result import Evaluation, ReportSection
    from pneumo_cli.plugins.requests import PredictorRequest
    from pneumo_cli.runs.run import Run

hookspec = pluggy.HookspecMarker("pneumo")


class RegistrationHooks:
    """What a plugin brings. Called once, after discovery."""

    @hookspec
    def register_trainers(self) -> Iterable[TrainerSpec]:
        """Trainers that ``pneumo run`` offers.

        Example::

            @hookimpl
            def register_trainers():
                yield TrainerSpec(
                    name="probe", summary="Linear probe", kind="classifier", model="cnn",
                    trainer="pneumo_probe.trainer:Probe", settings="pneumo_probe.settings:ProbeSettings",
                    presets=(Preset(name="source", summary="As published"),),
                )
        """
        raise NotImplementedError

    @hookspec
    def register_models(self) -> Iterable[ModelSpec]:
        """Models that ``--model`` accepts.

        Example::

            @hookimpl
            def register_models():
                yield ModelSpec(
                    name="tiny", kind="classifier", summary="Two layers", factory="pneumo_tiny.model:build"
                )
        """
        raise NotImplementedError

    @hookspec
    def register_datasets(self) -> Iterable[DatasetSpec]:
        """Datasets that ``--dataset`` accepts.

        Example::

            @hookimpl
            def register_datasets():
                yield DatasetSpec(
                    name="clinic", summary="Our films", factory="pneumo_clinic.data:open", needs_root=True
                )
        """
        raise NotImplementedError

    @hookspec
    def register_decoders(self) -> Iterable[DecoderSpec]:
        """Image formats that ``pneumo predict`` reads beside JPEG, PNG and TIFF.

        Example::

            @hookimpl
            def register_decoders():
                yield DecoderSpec(
                    name="nifti", summary="NIfTI images", suffixes=(".nii",), magic=(((344, b"n+1"),),),
                    decode="pneumo_nifti.decode:decode",
                )
        """
        raise NotImplementedError

    @hookspec
    def register_commands(self, app: typer.Typer) -> None:
        """Further commands of ``pneumo``, and of its groups (``data``). A name that exists already is refused.

        Each implementation is given an app of its own. A group that it adds under the name of one that is there
        (``app.add_typer(group, name="data")``) adds its commands to that one.

        Example::

            @hookimpl
            def register_commands(app):
                @app.command()
                def hello():
                    "Say hello."
                    print("hello")
        """
        raise NotImplementedError

    @hookspec
    def plugins_for_run(self, run: Run) -> Iterable[object]:
        """Objects whose hook implementations take part in this one run, made anew for each run.

        For observers and extensions that keep state. Called when the run has settings, device and data, before
        its model is built; its folder stands from ``run_started`` on.

        Example::

            class Stopwatch:
                @hookimpl
                def epoch_finished(self, run, metrics):
                    print(run.epoch, time.monotonic())

            @hookimpl
            def plugins_for_run(run):
                yield Stopwatch()
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def open_predictor(self, path: Path, request: PredictorRequest) -> Any:
        """Take a trained model of a format of one's own, for ``pneumo predict``.

        Called for what is no run's folder and no group's, and first for what might be either.

        Returns:
            a :class:`pneumo_cli.inference.predictor.Predictor`; None where the path is of another format.

        Raises:
            PneumoError: it is of this format, and cannot be taken: that is the answer, and no other plugin is
                asked.

        Example::

            @hookimpl
            def open_predictor(path, request):
                if path.suffix == ".joblib":
                    from pneumo_forest.predictor import ForestPredictor

                    return ForestPredictor(path)
                return None
        """
        raise NotImplementedError

    @hookspec
    def health_checks(self) -> Iterable[HealthCheck]:
        """What ``pneumo doctor`` looks at beside versions, devices and folders.

        Example::

            @hookimpl
            def health_checks():
                yield HealthCheck(
                    name="archive", summary="Is the archive mounted?", check="pneumo_clinic.health:check"
                )
        """
        raise NotImplementedError


class TaskHooks:
    """The work of one run. A :class:`~pneumo_cli.trainers.base.Trainer`'s methods are the implementations."""

    @hookspec(firstresult=True)
    def build_model(self, run: Run) -> torch.nn.Module:
        """Make the one module that is trained and saved; a GAN's has ``.generator`` and ``.discriminator``.

        Example::

            class Probe(Trainer):
                def build_model(self, run):
                    return run.create_model(channels=3, outputs=1)
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def train_step(self, run: Run, batch: Batch) -> Mapping[str, torch.Tensor]:
        """Make the complete update of one batch and return detached tensors.

        0-d tensors (``loss``) are averaged over the epoch by batch size. 1-d tensors of the batch's length are
        collected and handed to ``Trainer.training_metrics`` at the epoch's end. Nothing is read per step.

        Example (an extension that wraps the step of whatever trainer runs)::

            class Doubling:
                @hookimpl(wrapper=True)
                def train_step(self, run, batch):
                    metrics = yield
                    return {**metrics, "twice": 2 * metrics["loss"]}
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def evaluate(self, run: Run, loader: Loader) -> Evaluation:
        """Judge the model on one split. Called in eval mode, without gradients, on every rank.

        Example::

            class Probe(Trainer):
                def evaluate(self, run, loader):
                    outputs = run.predict(loader)
                    return Evaluation(metrics={"loss": mean_loss(outputs)}, outputs=outputs)
        """
        raise NotImplementedError


class LifecycleHooks:
    """How a run goes. Broadcast on the first rank only."""

    @hookspec
    def run_started(self, run: Run) -> None:
        """Model, data and folder stand; training begins, or goes on (``run.history`` is not empty then).

        Example::

            @hookimpl
            def run_started(run):
                print(run.folder.path)
        """

    @hookspec
    def epoch_started(self, run: Run, epoch: int) -> None:
        """An epoch begins; they are counted from 1. Epoch 0 is the evaluation of the untrained model.

        Example::

            @hookimpl
            def epoch_started(epoch):
                print("epoch", epoch)
        """

    @hookspec
    def step_finished(self, run: Run, metrics: Mapping[str, torch.Tensor]) -> None:
        """One training step is done. The tensors may still be computed on the device: do not read them.

        Example::

            @hookimpl
            def step_finished(run):
                count[run.step] += 1
        """

    @hookspec
    def epoch_finished(self, run: Run, metrics: Mapping[str, Any]) -> None:
        """An epoch is trained, judged and saved. ``metrics`` is its row of ``run.history``.

        Example::

            @hookimpl
            def epoch_finished(metrics):
                print(metrics["validation"]["loss"])
        """

    @hookspec
    def checkpoint_saved(self, run: Run, path: Path) -> None:
        """A checkpoint is on the disk, complete.

        Example::

            @hookimpl
            def checkpoint_saved(path):
                print(path.stat().st_size)
        """

    @hookspec
    def add_to_report(self, run: Run, evaluations: Mapping[str, Evaluation]) -> Iterable[ReportSection]:
        """Sections of one's own for the report that is about to be written: text, tables and figures.

        Called with the best checkpoint, in eval mode without gradients, when everything is evaluated.

        Args:
            evaluations: of the best checkpoint, by split.

        Example::

            @hookimpl
            def add_to_report(run, evaluations):
                yield ReportSection(title="Size", text=f"{len(run.history) - 1} epochs.")
        """
        raise NotImplementedError

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
        """The run ends early, by an error or because it was told to stop.

        Example::

            @hookimpl
            def run_failed(error):
                print(error)
        """


HOOKS = (RegistrationHooks, TaskHooks, LifecycleHooks)
"""All of them, by group."""


def _names(group: type) -> tuple[str, ...]:
    return tuple(name for name in vars(group) if not name.startswith("_"))


TASK_HOOKS = _names(TaskHooks)
LIFECYCLE_HOOKS = _names(LifecycleHooks)
KNOWN_HOOKS = tuple(name for group in HOOKS for name in _names(group))
