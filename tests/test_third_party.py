"""A stranger's plugin, really pip-installed into a fresh environment: it appears, runs, and can break nothing."""

from __future__ import annotations

import json
import os
import shutil
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.environments import Environment

pytestmark = pytest.mark.slow


EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


NETWORK = {
    "plugin.py": """
        from pneumo_cli.api import DatasetSpec, FunctionSpec, ModelSpec, Preset, TrainerSpec, hookimpl

        api_version = 1

        @hookimpl
        def register_models():
            yield ModelSpec(
                name="stranger", kind="classifier", summary="One layer", factory="pneumo_stranger.model:build"
            )

        @hookimpl
        def register_trainers():
            yield TrainerSpec(
                name="plain", summary="The shared recipe",
                trainer="pneumo_cli.trainers.classification:ClassificationTrainer",
                settings="pneumo_cli.settings.schema:ClassificationSettings", kind="classifier", model="stranger",
                presets=(Preset(name="source", summary="As it is"),),
            )

        @hookimpl
        def register_datasets():
            yield DatasetSpec(
                name="discs", summary="Noise and discs", factory="pneumo_stranger.data:open", synthetic=True
            )

        @hookimpl
        def register_functions():
            yield FunctionSpec(
                name="discs_of", summary="Counts discs", function="pneumo_stranger.data:discs_of"
            )

        @hookimpl
        def epoch_finished(run, metrics):
            with open("observed.txt", "a") as file:
                print(run.spec.name, metrics["epoch"], file=file)
    """,
    "model.py": """
        from torch import nn

        def build(channels, outputs):
            return nn.Sequential(nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Linear(16 * channels, outputs))
    """,
    "data.py": """
        from pneumo_cli.testing import TinyDataset

        def open(request):
            return TinyDataset("discs")

        def discs_of(dataset):
            if dataset != "discs":
                raise SystemExit(f"no {dataset}")
            return sum(record.label for record in open(None).records)
    """,
}
RAISES = {"plugin.py": "raise ImportError('libxray.so.3: cannot open shared object file')"}
FUTURE = {"plugin.py": "api_version = 99"}
RIVAL = {
    "plugin.py": """
        from pneumo_cli.api import Preset, TrainerSpec, hookimpl

        api_version = 1

        @hookimpl
        def register_trainers():
            yield TrainerSpec(
                name="NAME", summary="A rival", trainer="pneumo_cli.trainers.classification:ClassificationTrainer",
                settings="pneumo_cli.settings.schema:ClassificationSettings", kind="classifier", model="stranger",
                presets=(Preset(name="source", summary="As it is"),),
            )
    """,
}


SECTION = {
    "plugin.py": """
        from pneumo_cli.api import hookimpl

        api_version = 1

        @hookimpl
        def add_to_report(run, evaluations):
            from pneumo_cli.evaluation.result import NamedFigure, NamedTable, ReportSection

            def draw():
                from matplotlib.figure import Figure
                figure = Figure()
                figure.add_subplot().plot([row["seconds"] for row in run.history])
                return figure

            rows = tuple((name, str(len(of.outputs["index"]))) for name, of in evaluations.items())
            yield ReportSection(
                title="Time and images", text="How long each epoch took.",
                tables=(NamedTable("Images", ("Split", "Images"), rows),),
                figures=(NamedFigure("seconds", "Seconds of each epoch.", draw),),
            )
    """,
}


@pytest.fixture(scope="module")
def taken_name() -> str:
    """A trainer's name that is in use: ``cnn``, where the bundled plugin is installed."""
    bundled = {point.name for point in entry_points(group="pneumo")}
    return "cnn" if "cnn" in bundled else "plain"


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory, fake_environ: dict[str, str], taken_name: str
) -> Environment:
    environ = {**fake_environ, "PATH": os.environ["PATH"]}
    if taken_name == "cnn":
        del environ["PNEUMO_DISABLE_PLUGINS"]
    made = Environment(tmp_path_factory.mktemp("stranger"), environ)
    made.install("pneumo-stranger", NETWORK, "stranger", "pneumo_stranger.plugin")
    made.install("pneumo-raises", RAISES, "raises", "pneumo_raises.plugin")
    made.install("pneumo-future", FUTURE, "future", "pneumo_future.plugin")
    for name in ("pneumo-count-runs", "pneumo-gray-format"):
        install_example(made, name)
    made.install("pneumo-section", SECTION, "section", "pneumo_section.plugin")
    rival = {name: source.replace("NAME", taken_name) for name, source in RIVAL.items()}
    made.install("pneumo-rival", rival, "rival", "pneumo_rival.plugin")
    return made


def install_example(environment: Environment, name: str) -> Path:
    """``pip install`` a copy of an example; return the copy."""
    project = environment.folder / name
    shutil.copytree(EXAMPLES / name, project, ignore=shutil.ignore_patterns("__pycache__"))
    environment.install_project(project)
    return project


def test_its_model_appears_in_the_lists_and_each_broken_neighbour_is_one_line(
    environment: Environment, taken_name: str
) -> None:
    listed = environment.pneumo("list-models", "--json")
    assert listed.returncode == 0
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert (rows["stranger"]["distribution"], rows["stranger"]["version"]) == ("pneumo-stranger", "0.2.0")
    lines = listed.stderr.splitlines()
    assert len(lines) == 3, listed.stderr
    found = {
        name: line for name in ("raises", "future", "rival") for line in lines if f"pneumo-{name}" in line
    }
    assert "(pneumo-raises 0.2.0): import: ImportError: libxray.so.3" in found["raises"]
    assert "(pneumo-future 0.2.0): version: it was written for API version 99" in found["future"]
    assert f"the trainer '{taken_name}' is registered by " in found["rival"]
    assert f"pneumo-rival:{taken_name}" in found["rival"]


def test_its_observer_and_hooks_are_listed(environment: Environment) -> None:
    content = json.loads(environment.pneumo("list-plugins", "--json").stdout)
    (row,) = [row for row in content["plugins"] if row["name"] == "stranger"]
    assert row["state"] == "ok"
    assert set(row["hooks"]) == {
        "register_models",
        "register_trainers",
        "register_datasets",
        "register_functions",
        "epoch_finished",
    }
    assert {problem["plugin"] for problem in content["problems"]} >= {"raises", "future"}


def test_its_function_is_one_of_pneumo_and_ends_no_program(environment: Environment) -> None:
    code = (
        "import pneumo_cli as pneumo\nprint(pneumo.discs_of('discs'))\n"
        "try:\n    pneumo.discs_of('none')\nexcept pneumo.PneumoError as error:\n    print(error)"
    )
    number, refused = environment.python_code(code).stdout.splitlines()
    assert number == "32"
    assert refused.startswith("the plugin pneumo-stranger 0.2.0 ended the program with SystemExit('no none')")


def test_its_model_is_trained_and_its_observer_hears_of_it(environment: Environment, taken_name: str) -> None:
    trainer = f"pneumo-cnn:{taken_name}" if taken_name == "cnn" else "pneumo-stranger:plain"
    ended = environment.pneumo(
        "run", trainer, "--model", "stranger", "--dataset", "discs", "--epochs", "2", "--image-size", "32"
    )
    assert ended.returncode == 0, ended.stderr
    (report,) = environment.work.glob("runs/*/*/report.json")
    assert json.loads(report.read_text())["model"]["name"] == "stranger"
    name = trainer.rpartition(":")[2]
    observed = (environment.work / "observed.txt").read_text().splitlines()
    assert observed == [f"{name} {epoch}" for epoch in (0, 1, 2)]
    environment_file = json.loads(report.with_name("environment.json").read_text())
    assert environment_file["plugins"]["stranger"] == "pneumo-stranger 0.2.0"


def test_a_command_a_format_and_a_section_work_and_a_section_takes_thirty_lines(
    environment: Environment, taken_name: str
) -> None:
    lines = [line for source in SECTION.values() for line in source.splitlines() if line.strip()]
    assert len(lines) <= 30
    trainer = f"pneumo-cnn:{taken_name}" if taken_name == "cnn" else "pneumo-stranger:plain"
    settings = ("--model", "stranger", "--dataset", "discs", "--epochs", "1", "--image-size", "32")
    ended = environment.pneumo("run", trainer, *settings, "--output", "extended")
    assert ended.returncode == 0, ended.stderr
    # A section of a report, in both of its forms, with its figure.
    (report,) = environment.work.glob("extended/*/*/report.json")
    (section,) = json.loads(report.read_text())["sections"]
    assert section["title"] == "Time and images"
    assert report.with_name("figures").joinpath("section-0-seconds.png").is_file()
    for page in (report.with_suffix(".html"), report.with_suffix(".md")):
        text = page.read_text()
        assert "Time and images" in text
        assert "How long each epoch took." in text
        assert "Seconds of each epoch." in text
        assert "Added by the plugin section (pneumo-section 0.2.0)." in text
    # A command.
    counted = environment.pneumo("count-runs", "extended")
    assert (counted.returncode, counted.stdout) == (0, "1\n"), counted.stderr
    # A file format: found in a folder, decoded, and a damaged file of it named.
    films = environment.work / "films"
    films.mkdir()
    header = b"GRAY" + 2 * (32).to_bytes(4, "little")
    (films / "good.gray").write_bytes(header + bytes(range(256)) * 4)
    (films / "bad.gray").write_bytes(header + bytes(9))
    predicted = environment.pneumo("predict", str(report.parent), "films", "--json")
    assert predicted.returncode == 1
    bad, good = json.loads(predicted.stdout)["predictions"]
    assert bad["error"] == "the gray file has 9 of 1,024 gray levels"
    assert 0 <= good["probability"] <= 1


def test_the_name_that_two_bring_is_refused_with_the_choices(
    environment: Environment, taken_name: str
) -> None:
    ended = environment.pneumo("run", taken_name)
    assert ended.returncode == 2
    assert f"or pneumo-rival:{taken_name}" in ended.stderr.splitlines()[-1]


def test_doctor_works_among_all_of_them(environment: Environment) -> None:
    ended = environment.pneumo("doctor", "--json")
    assert ended.returncode == 0
    assert len(json.loads(ended.stdout)["plugins"]["problems"]) == 3


def test_the_example_package_installs_and_runs(environment: Environment, taken_name: str) -> None:
    install_example(environment, "pneumo-lenet")
    trainer = f"pneumo-cnn:{taken_name}" if taken_name == "cnn" else "pneumo-stranger:plain"
    ended = environment.pneumo(
        "run", trainer, "--model", "lenet", "--dataset", "discs", "--epochs", "1", "--image-size", "32",
        "--output", "lenet",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    (table,) = environment.work.glob("lenet/*/*/metrics.csv")
    assert table.read_text().startswith("epoch,train_loss,")
    assert len(table.read_text().splitlines()) == 3
