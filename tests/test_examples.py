"""The packages and single files in ``examples``, installed as a stranger would, and the lines that they take."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
import subprocess
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from xml.etree.ElementTree import Element, parse

import pytest

from tests.environments import Environment
from tests.programs import COARSE_DPI

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
FILES = EXAMPLES / "comparison" / "pneumo"
PACKAGES = sorted(path.name for path in EXAMPLES.glob("pneumo-*") if (path / "pyproject.toml").is_file())
NEEDS = {"pneumo-efficientnet-lite": "efficientnet_lite_pytorch"}
"""What a package needs beside pneumo's own dependencies; without it, its tests are skipped."""

bundled = pytest.mark.skipif(
    "cnn" not in {point.name for point in entry_points(group="pneumo")},
    reason="trains with the bundled plugin pneumo-cnn",
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, fake_environ: dict[str, str]) -> Environment:
    """Every example package, in one environment with the bundled plugins."""
    return environment_of(tmp_path_factory.mktemp("packages"), fake_environ, installable())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, fake_environ: dict[str, str]) -> Environment:
    """For the single files, whose names are those of the packages; with an archive for the example dataset."""
    made = environment_of(tmp_path_factory.mktemp("files"), fake_environ, ["pneumo-diffusion"])
    sample = EXAMPLES / "pneumo-clinic" / "pneumo_clinic" / "sample.py"
    subprocess.run([made.python, sample, made.work / "archive"], check=True)
    return made


def environment_of(folder: Path, fake_environ: dict[str, str], packages: list[str]) -> Environment:
    environ = {**fake_environ, "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    del environ["PNEUMO_DISABLE_PLUGINS"]
    made = Environment(folder, environ)
    for name in packages:
        shutil.copytree(EXAMPLES / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    made.install_project(*(folder / name for name in packages))
    return made


@pytest.fixture(scope="module")
def outcomes(environment: Environment) -> dict[str, list[Element]]:
    """What the tests of each package found, in one process for all."""
    flags = (
        "-q",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore",
        "--import-mode=importlib",
        "--junitxml=tests.xml",
    )
    (environment.folder / "conftest.py").write_text(
        f"from pneumo_cli.reports.figures import style\n\nstyle._DPI = {COARSE_DPI}\n"
    )
    folders = [environment.folder / name / "tests" for name in installable()]
    done = environment.python_module("pytest", *flags, f"--rootdir={environment.folder}", *map(str, folders))
    assert done.returncode in (0, 1), done.stdout[-4000:] + done.stderr[-2000:]
    cases = list(parse(environment.work / "tests.xml").iter("testcase"))
    return {
        name: [one for one in cases if one.attrib["classname"].startswith(f"{name}.")]
        for name in installable()
    }


def installable() -> list[str]:
    return [name for name in PACKAGES if name not in NEEDS or importlib.util.find_spec(NEEDS[name])]


@pytest.fixture(scope="module")
def count_lines() -> ModuleType:
    """The script ``examples/count_lines.py``."""
    spec = importlib.util.spec_from_file_location("count_lines", EXAMPLES / "count_lines.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_installs_and_passes_its_own_tests(outcomes: dict[str, list[Element]], name: str) -> None:
    if name not in outcomes:
        pytest.skip(f"{name} needs {NEEDS[name]}")
    failed = [
        f"{one.attrib['name']}: {problem.text}"
        for one in outcomes[name]
        for problem in one
        if problem.tag in ("failure", "error")
    ]
    assert not failed, "\n".join(failed)[-6000:]
    assert any(one.find("skipped") is None for one in outcomes[name])


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_is_complete(name: str) -> None:
    folder = EXAMPLES / name
    text = (folder / "pyproject.toml").read_text()
    assert "[project.entry-points.pneumo]" in text
    assert 'readme = "README.md"' in text
    assert name in (folder / "README.md").read_text().splitlines()[0]
    assert list(folder.glob("pneumo_*/plugin.py"))
    assert list((folder / "tests").glob("test_*.py"))
    long = [str(path) for path in folder.rglob("*.py") if len(path.read_text().splitlines()) > 300]
    assert long == []


def test_nothing_that_they_register_is_a_problem(environment: Environment) -> None:
    content = json.loads(environment.pneumo("list-plugins", "--json").stdout)
    assert content["problems"] == []
    distributions = {row["distribution"] for row in content["plugins"]}
    assert distributions >= set(installable())


# --- the same parts as single files, beside those of other frameworks -----------------------------------------


def test_the_table_of_lines_is_that_of_the_script(count_lines: ModuleType) -> None:
    assert count_lines.table() in (ROOT / "docs" / "comparison.md").read_text()


def test_no_part_takes_more_lines_than_with_another_framework(count_lines: ModuleType) -> None:
    for part, numbers in count_lines.counts().items():
        assert 0 < numbers["pneumo"] <= min(numbers.values()), part


def test_lines_are_counted_without_blank_ones_comments_and_docstrings(
    tmp_path: Path, count_lines: ModuleType
) -> None:
    code = tmp_path / "code.py"
    code.write_text(
        '"""One\n\ntwo."""\n\n# three\nx = """a\n\nb"""  # four\n\n\n'
        'def f():\n    "Five."\n    return (\n        x\n    )\n'
    )
    assert count_lines.count_lines(code) == 3 + 1 + 3
    settings = tmp_path / "settings.yaml"
    settings.write_text("# one\na: 1\n\nb:\n  - 2  # two\n")
    assert count_lines.count_lines(settings) == 3


@bundled
def test_a_model_a_dataset_an_extension_and_an_observer_in_single_files_train(files: Environment) -> None:
    parts = [flag for name in ("lenet", "clinic", "sam", "journal") for flag in plugin(name)]
    ended = files.pneumo(
        "run", "cnn", *parts, "--model", "lenet", "--dataset", "clinic", "--data-root", "archive",
        "--test-from", "2025", "--with", "sam", "--sam-rho", "0.1",
        "--epochs", "2", "--image-size", "32", "--output", "single", "--no-report",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    (report,) = files.work.glob("single/*/*/report.json")
    content = json.loads(report.read_text())
    assert content["model"]["name"] == "lenet"
    (line,) = (files.work / "journal.txt").read_text().splitlines()
    assert line.startswith(report.parent.name)
    assert "auc" in line
    ranked = files.pneumo("rank-runs", *plugin("rank_runs"), "--folder", "single")
    assert ranked.returncode == 0, ranked.stderr
    auc = content["evaluations"]["test"]["auc"]
    assert ranked.stdout == f"{auc:.4f}  {report.parent.relative_to(files.work / 'single')}\n"


@bundled
def test_a_trainer_in_a_single_file_trains_and_generates(files: Environment) -> None:
    parts = (*plugin("diffusion"), *plugin("clinic"))
    ended = files.pneumo(
        "run", "ddpm", *parts, "--dataset", "clinic", "--data-root", "archive", "--images-of", "",
        "--epochs", "1", "--batch-size", "8", "--fidelity-images", "0", "--output", "ddpm", "--no-report",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    (run,) = files.work.glob("ddpm/*/*")
    made = files.pneumo("generate", str(run), "-n", "3", "--out", "made", *parts)
    assert made.returncode == 0, made.stderr
    with (files.work / "made" / "manifest.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3


def plugin(name: str) -> tuple[str, str]:
    return "--plugin", str(FILES / f"{name}.py")
