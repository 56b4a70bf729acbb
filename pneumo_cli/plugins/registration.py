"""The registration hooks: what a plugin adds. A part of the contract, see :mod:`pneumo_cli.plugins.hookspecs`."""

# mypy: disable-error-code="empty-body"

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from pneumo_cli.specs import (
    DatasetSpec,
    DecoderSpec,
    ExtensionSpec,
    ExtractorSpec,
    FunctionSpec,
    HealthCheck,
    ModelFamily,
    ModelSpec,
    ObserverSpec,
    SamplerSpec,
    SplitSpec,
    TrainerSpec,
)

if TYPE_CHECKING:
    import typer

    from pneumo_cli.plugins.requests import PredictorRequest
    from pneumo_cli.runs.run import Run

hookspec = pluggy.HookspecMarker("pneumo")

SPECS: Mapping[str, tuple[type, ...]] = {
    "trainers": (TrainerSpec,),
    "models": (ModelSpec, ModelFamily),
    "datasets": (DatasetSpec,),
    "extensions": (ExtensionSpec,),
    "observers": (ObserverSpec,),
    "splits": (SplitSpec,),
    "samplers": (SamplerSpec,),
    "extractors": (ExtractorSpec,),
    "functions": (FunctionSpec,),
}
"""What the registries hold, each by its name: the hook ``register_trainers`` fills ``trainers``."""


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
    def register_extensions(self) -> Iterable[ExtensionSpec]:
        """Return extensions, which change how any trainer's model is trained, for ``--with NAME``.

        Example::

            @hookimpl
            def register_extensions():
                yield ExtensionSpec(
                    name="sam", summary="Sharpness-aware minimisation", factory="pneumo_sam.sam:SAM",
                    settings="pneumo_sam.settings:SAMSettings",
                )
        """

    @hookspec
    def register_observers(self) -> Iterable[ObserverSpec]:
        """Return observers, which follow a run and cannot change it, for ``--with NAME``.

        Example::

            @hookimpl
            def register_observers():
                yield ObserverSpec(
                    name="notebook", summary="Writes a lab notebook", factory="pneumo_notebook.observer:Notebook"
                )
        """

    @hookspec
    def register_splits(self) -> Iterable[SplitSpec]:
        """Return policies that divide the training pool, for ``--split NAME``.

        Example::

            @hookimpl
            def register_splits():
                yield SplitSpec(
                    name="by-year", summary="The last year validates", split="pneumo_clinic.splits:by_year"
                )
        """

    @hookspec
    def register_samplers(self) -> Iterable[SamplerSpec]:
        """Return choices of the training images of each epoch, for ``--sampling NAME``.

        Example::

            @hookimpl
            def register_samplers():
                yield SamplerSpec(
                    name="one-per-patient", summary="One image of each patient",
                    sample="pneumo_clinic.samplers:one_per_patient",
                )
        """

    @hookspec
    def register_extractors(self) -> Iterable[ExtractorSpec]:
        """Return features in which images are compared, for ``--extractor NAME``.

        Example::

            @hookimpl
            def register_extractors():
                yield ExtractorSpec(
                    name="radimagenet", summary="RadImageNet features", factory="pneumo_rad.features:extractor"
                )
        """

    @hookspec
    def register_functions(self) -> Iterable[FunctionSpec]:
        """Return functions for notebooks and scripts, found as ``pneumo_cli.NAME``.

        Example::

            @hookimpl
            def register_functions():
                yield FunctionSpec(
                    name="count_runs", summary="Counts runs", function="pneumo_count.functions:count_runs"
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
        its folder exists from ``run_started`` on. An error ends the run: an extension may be what was to be added.
        Prefer :meth:`register_extensions` and :meth:`register_observers`, which are off unless asked for.

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
