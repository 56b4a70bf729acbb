"""The core with one trainer alone: it trains and predicts, and names what is missing with what to install."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.environments import Bare

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
DATASET = {
    "plugin.py": """
        from pneumo_cli.api import DatasetSpec, hookimpl
        api_version = 1
        @hookimpl
        def register_datasets():
            yield DatasetSpec(name="discs", summary="Discs", factory="pneumo_discs.data:open", synthetic=True)
    """,
    "data.py": """
        from pneumo_cli.testing import TinyDataset
        def open(request):
            return TinyDataset("discs")
    """,
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, fake_environ: dict[str, str]) -> Bare:
    environ = {name: value for name, value in fake_environ.items() if name != "PNEUMO_DISABLE_PLUGINS"}
    made = Bare(tmp_path_factory.mktemp("alone"), environ)
    # Built from copies: a build leaves nothing in the checkout, and nothing there is seen that is not installed.
    for name in (".", "plugins/pneumo-cnn"):
        copy = made.folder / "sources" / name
        copy.mkdir(parents=True, exist_ok=True)
        for part in ("pyproject.toml", "README.md", "LICENSE", "pneumo_cli", "pneumo_cnn"):
            source = ROOT / name / part
            if source.is_dir():
                shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, copy / part)
        made.install_project(copy)
    made.install("pneumo-discs", DATASET, "discs", "pneumo_discs.plugin")
    return made


@pytest.fixture(scope="module")
def run(alone: Bare) -> str:
    """A finished run."""
    done = alone.pneumo(
        "run", "cnn", "--dataset", "discs", "--epochs", "1", "--image-size", "32", "--threads", "1"
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (alone.work / "runs" / "cnn").iterdir()
    return str(folder)


def test_nothing_else_is_installed(alone: Bare) -> None:
    listed = json.loads(alone.pneumo("list-plugins", "--json").stdout)
    assert {row["distribution"] for row in listed["plugins"]} == {"pneumo-cli", "pneumo-cnn", "pneumo-discs"}
    assert not listed["problems"]


def test_it_trains_reports_and_predicts(alone: Bare, run: str) -> None:
    assert (Path(run) / "report.html").is_file()
    picture = Path(run) / "figures" / "class-balance.png"
    done = alone.pneumo("predict", run, str(picture), "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["predictions"]) == 1
    assert alone.pneumo("list-runs", "--json").returncode == 0
    done = alone.pneumo("doctor")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "distribution"),
    [
        (("run", "cnn", "--dataset", "phantom"), "pneumo-phantom"),
        (("run", "cnn", "--dataset", "discs", "--model", "resnet18"), "pneumo-torchvision"),
        (("run", "cnn", "--dataset", "discs", "--model", "timm/resnet18"), "pneumo-timm"),
        (("run", "gan", "--dataset", "discs"), "pneumo-gan"),
        (("compare", "RUN", "RUN"), "pneumo-compare"),
        (("export", "RUN"), "pneumo-export"),
        (("generate", "RUN"), "pneumo-synthetic"),
        (("evaluate-images", "RUN"), "pneumo-synthetic"),
        (("judge", "RUN"), "pneumo-synthetic"),
        (("tstr", "RUN"), "pneumo-synthetic"),
        (("reproduce",), "pneumo-reproduce"),
        (("data", "audit"), "pneumo-audit"),
        (("predict", "RUN/model.onnx", "RUN"), "pneumo-export"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value).lower().replace("/", "-"),
)
def test_what_is_missing_is_named_with_what_to_install(
    command: tuple[str, ...], distribution: str, alone: Bare, run: str
) -> None:
    (Path(run) / "model.onnx").write_bytes(b"onnx")
    before = sorted(alone.work.rglob("*"))
    words = [word.replace("RUN", run) for word in command]
    done = alone.pneumo(*words)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert re.search(rf"pip install \S*{distribution}\b", done.stderr)
    assert done.stderr.count("\n") == 1, done.stderr
    assert sorted(alone.work.rglob("*")) == before, "nothing is written"


def test_a_dicom_file_is_named_with_what_to_install(alone: Bare, run: str) -> None:
    film = alone.work / "film.dcm"
    film.write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 100)
    done = alone.pneumo("predict", run, str(film), "--json")
    assert done.returncode == 1
    (row,) = json.loads(done.stdout)["predictions"]
    assert re.search(r"pip install \S*pneumo-dicom\b", row["error"])


def test_a_broken_bundled_plugin_breaks_nothing_else(alone: Bare, run: str) -> None:
    """One that cannot be imported, one whose command cannot, one without its library."""
    alone.install(
        "pneumo-export", {"plugin.py": "import onnx_of_another_world"}, "export", "pneumo_export.plugin"
    )
    try:
        done = alone.pneumo("export", run)
        assert done.returncode == 2
        assert "pneumo-export, which is installed here and cannot be loaded" in done.stderr
        done = alone.pneumo("predict", run, str(Path(run) / "figures" / "class-balance.png"))
        assert done.returncode == 0, done.stderr
        done = alone.pneumo("doctor")
        assert "onnx_of_another_world" in done.stdout
        assert "export" not in alone.pneumo("--help").stdout
    finally:
        subprocess.run(
            [alone.python, "-m", "pip", "uninstall", "--quiet", "--yes", "pneumo-export"], check=True
        )
