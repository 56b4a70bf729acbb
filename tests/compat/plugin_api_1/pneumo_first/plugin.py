"""Everything that a plugin of API 1 could register, and hooks of the module itself."""

from pneumo_cli.api import (
    API_VERSION,
    DatasetSpec,
    DecoderSpec,
    HealthCheck,
    ModelFamily,
    ModelSpec,
    Preset,
    TrainerSpec,
    hookimpl,
)

api_version = 1
assert API_VERSION == 1
seen = []
"""What the hooks of this module were called with."""


@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="first-probe",
        summary="A classifier that overrides every method",
        trainer="pneumo_first.trainer:FirstProbe",
        settings="pneumo_first.settings:FirstSettings",
        kind="classifier",
        model="first-net",
        presets=(
            Preset(name="source", summary="As it is"),
            Preset(
                name="quick", summary="One epoch", values={"epochs": 1, "model": "first-zoo/wide"},
                fallback={"model": "first-net"}, hint="pip install pneumo-first",
            ),
        ),
    )  # fmt: skip


@hookimpl
def register_models():
    return [
        ModelSpec(
            name="first-net", kind="classifier", summary="Two layers", factory="pneumo_first.model:build",
            stages="pneumo_first.model:stages", weights="pneumo_first.model:weights", trained_on="discs", size=0,
            mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25),
        ),
        ModelFamily(
            name="first-zoo", kind="classifier", summary="Looked up", members="pneumo_first.model:members"
        ),
    ]  # fmt: skip


@hookimpl(tryfirst=True)
def register_datasets():
    yield DatasetSpec(
        name="first-discs", summary="Noise and discs", factory="pneumo_first.data:open_discs", synthetic=True,
        settings="pneumo_first.settings:DiscOptions",
    )  # fmt: skip
    yield DatasetSpec(
        name="first-files", summary="Files of the format FST", factory="pneumo_first.data:open_files",
        needs_root=True, download="pneumo_first.data:download", instructions="Ask the author.",
        recognize="pneumo_first.data:recognize",
    )  # fmt: skip


@hookimpl
def register_decoders():
    yield DecoderSpec(
        name="fst", summary="Side and pixels", suffixes=(".fst",), magic=(((0, b"FST1"),),),
        decode="pneumo_first.data:decode_fst", recognize="pneumo_first.data:is_fst",
        body_part="pneumo_first.data:body_part",
    )  # fmt: skip


@hookimpl
def register_commands(app):
    import typer

    @app.command()
    def first_hello(ctx: typer.Context, name: str = "nobody"):
        "Greet, and count the trainers."
        print("hello", name, len(ctx.obj.trainers.names()) > 0)

    group = typer.Typer()
    app.add_typer(group, name="data")

    @group.command("first-count")
    def count():
        "Count."
        print("counted")


@hookimpl
def health_checks():
    yield HealthCheck(name="first", summary="Is it there?", check="pneumo_first.data:healthy")


@hookimpl
def plugins_for_run(run):
    from pneumo_first.participants import Doubling, Notebook

    return [Notebook(run.settings.epochs), Doubling()]


@hookimpl
def open_predictor(path, request):
    if path.suffix != ".first":
        return None
    from pneumo_first.predictor import Brightness

    return Brightness(path, request)


@hookimpl
def add_to_report(run, evaluations):
    from pneumo_cli.evaluation import NamedTable, ReportSection

    rows = tuple((split, f"{one.metrics['loss']:.3f}") for split, one in evaluations.items())
    table = NamedTable("Losses", ("", "loss"), rows)
    yield ReportSection(title="First words", text="A paragraph.", tables=(table,))


# An extension and an observer that are the module itself, so that they take part in every run.


@hookimpl(wrapper=True, trylast=True)
def build_model(run):
    model = yield
    seen.append(("build_model", type(model).__name__))
    return model


@hookimpl(hookwrapper=True)
def evaluate(run, loader):
    outcome = yield
    seen.append(("evaluate", outcome.get_result().metrics["loss"]))


@hookimpl
def run_started(run):
    seen.append(("run_started", run.folder.path.name, len(run.history)))


@hookimpl
def epoch_started(epoch):
    seen.append(("epoch_started", epoch))


@hookimpl
def step_finished(metrics):
    seen.append(("step_finished", sorted(metrics)))


@hookimpl(specname="epoch_finished")
def after_epoch(run, metrics):
    seen.append(("epoch_finished", metrics["epoch"]))


@hookimpl
def checkpoint_saved(path):
    seen.append(("checkpoint_saved", path.name))


@hookimpl
def run_finished(run, report):
    seen.append(("run_finished", report["trainer"]["name"], sorted(report["evaluations"])))


@hookimpl
def run_failed(run, error):
    seen.append(("run_failed", type(error).__name__))


@hookimpl(optionalhook=True)
def some_later_hook():
    raise AssertionError
