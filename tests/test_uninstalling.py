"""Any distribution uninstalled from among all: it is in no list, nothing else breaks, and what needs it says so."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.environments import Bare
from tests.programs import Ended, ProcessServer
from tools.builds import build_wheel
from tools.distributions import distributions

pytestmark = pytest.mark.slow

Pneumo = Callable[..., Ended]
PLUGINS = [project.name for project in distributions()[1:]]
SMALL = ("--epochs", "1", "--image-size", "32", "--threads", "1", "--no-report")
TINY = ("--dataset", "tiny")
TREE = ("--data-root", "tree")
RUNS: dict[str, tuple[str, ...]] = {
    "pneumo-author": ("fake", "--dataset", "toy"),
    "pneumo-autoencoder": ("autoencoder", *TINY),
    "pneumo-chest-xray": ("fake", "--dataset", "chest-xray", *TREE),
    "pneumo-cnn": ("cnn", *TINY),
    "pneumo-datasets": ("fake", "--dataset", "folder", *TREE),
    "pneumo-extensions": ("fake", *TINY, "--with", "early-stopping"),
    "pneumo-feature-extraction": ("feature-extraction", *TINY, "--model", "resnet18", "--weights", "none"),
    "pneumo-fine-tuning": ("fine-tuning", *TINY, "--model", "resnet18", "--weights", "none"),
    "pneumo-gan": ("gan", *TINY, "--batch-size", "8"),
    "pneumo-mlflow": ("fake", *TINY, "--with", "mlflow"),
    "pneumo-tensorboard": ("fake", *TINY, "--with", "tensorboard"),
    "pneumo-timm": ("fake", *TINY, "--model", "timm/test_resnet"),
    "pneumo-torchvision": ("fake", *TINY, "--model", "resnet18"),
    "pneumo-wandb": ("fake", *TINY, "--with", "wandb"),
}
"""Trainer and flags of a run that uses a part of the distribution."""
COMMANDS: dict[str, tuple[str, ...]] = {
    "pneumo-audit": ("data", "audit"),
    "pneumo-bench": ("bench", "fake"),
    "pneumo-compare": ("compare", "RUN", "RUN"),
    "pneumo-dicom": ("predict", "RUN", "film.dcm", "--json"),
    "pneumo-export": ("export", "RUN"),
    "pneumo-phantom": ("run", "fake", "--dataset", "phantom", *SMALL),
    "pneumo-reproduce": ("reproduce",),
    "pneumo-sweep": ("sweep", "fake"),
    "pneumo-synthetic": ("generate", "RUN"),
    "pneumo-ui": ("ui",),
}
"""A command that needs the distribution, of those that train nothing."""
TRACKERS = {"pneumo-mlflow", "pneumo-tensorboard", "pneumo-wandb"}
"""They follow a run; what it left is read without them."""
LISTS = ("list-trainers", "list-models", "list-datasets", "list-extensions")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, fake_environ: dict[str, str]) -> Iterator[Bare]:
    """An environment in which all wheels are installed, and none of the checkout's code."""
    folder = tmp_path_factory.mktemp("uninstalling")
    environ = {name: value for name, value in fake_environ.items() if name != "PNEUMO_DISABLE_PLUGINS"}
    made = Bare(folder, environ)
    wheels = [build_wheel(project.folder, folder / "wheels") for project in distributions()]
    made.install_project(*wheels)
    (made.work / "film.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 100)
    write_radiographs(made.work / "tree")
    return made


@pytest.fixture(scope="module")
def pneumo(installed: Bare, fake_environ: dict[str, str], fake_site: Path) -> Iterator[Pneumo]:
    """``pneumo ARGUMENTS`` in a process of that environment."""
    environ = {name: value for name, value in fake_environ.items() if name != "PNEUMO_DISABLE_PLUGINS"}
    server = ProcessServer({**environ, "OMP_NUM_THREADS": "1"}, fake_site, installed.python)
    yield lambda *arguments: server.run(installed.work, *arguments)
    server.close()


@pytest.fixture(scope="module")
def trained(installed: Bare, pneumo: Pneumo) -> dict[str, str]:
    """The folder of a run with a part of each distribution."""
    folders = {}
    for name, flags in RUNS.items():
        ended = pneumo("run", *flags, *SMALL, "--output", f"runs/{name}")
        assert ended.code == 0, (name, ended.stderr)
        (folders[name],) = (installed.work / "runs" / name).glob("*/*")
    return {name: str(folder) for name, folder in folders.items()}


@pytest.fixture(scope="module", params=PLUGINS)
def uninstalled(request: pytest.FixtureRequest, installed: Bare, trained: dict[str, str]) -> Iterator[str]:
    """The name of a distribution that is not installed at the moment."""
    name = str(request.param)
    done = installed.python_module("pip", "uninstall", "--quiet", "--yes", name)
    assert done.returncode == 0, done.stderr
    yield name
    (wheel,) = (installed.folder / "wheels").glob(f"{name.replace('-', '_')}-*.whl")
    installed.install_project(wheel)


def write_radiographs(root: Path) -> None:
    """Noise, in the folders and names of the paediatric radiographs."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 24), ("test", 8)):
        for place in ("NORMAL/IM-{}-0001.png", "PNEUMONIA/person{}_bacteria_1.png"):
            for number in range(count):
                path = root / part / place.format(f"{part[1]}{number}" if "IM" in place else number)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(generator.integers(0, 255, (40, 40), dtype=np.uint8)).save(path)


def test_it_is_in_no_list_and_all_others_are(uninstalled: str, pneumo: Pneumo) -> None:
    listed = json.loads(pneumo("list-plugins", "--json").stdout)
    assert listed["problems"] == []
    found = {row["distribution"] for row in listed["plugins"]}
    assert found == {"pneumo-cli", "pneumo-fake", *PLUGINS} - {uninstalled}
    for command in LISTS:
        ended = pneumo(command, "--json")
        assert ended.code == 0, ended.stderr
        assert f'"{uninstalled}"' not in ended.stdout, command
    help_text = pneumo("--help")
    assert help_text.code == 0, help_text.stderr
    command = COMMANDS.get(uninstalled, ("",))[0]
    if command not in ("", "data", "predict", "run"):
        assert f"\n  {command}" not in help_text.stdout


def test_doctor_and_a_whole_run_work_without_it(uninstalled: str, pneumo: Pneumo) -> None:
    for arguments in (
        ("doctor",),
        ("run", "fake", *TINY, *SMALL, "--output", "others"),
        ("list-runs", "runs"),
    ):
        ended = pneumo(*arguments)
        assert ended.code == 0, (arguments, ended.stdout, ended.stderr)
        assert "Traceback" not in ended.stderr


def test_what_needs_it_is_refused_in_one_line_with_what_to_install(
    uninstalled: str, pneumo: Pneumo, installed: Bare, trained: dict[str, str]
) -> None:
    if uninstalled in TRACKERS:
        requests = [("run", *RUNS[uninstalled], *SMALL, "--output", "refused")]
    elif uninstalled in RUNS:
        run = trained[uninstalled]
        requests = [("run", *RUNS[uninstalled], *SMALL, "--output", "refused")]
        requests += [("evaluate", run), ("resume", run, "--epochs", "2")]
    else:
        requests = [COMMANDS[uninstalled]]
    for arguments in requests:
        ended = pneumo(*(trained["pneumo-cnn"] if word == "RUN" else word for word in arguments))
        if uninstalled == "pneumo-dicom":  # of many files, one that cannot be read is no misuse
            (row,) = json.loads(ended.stdout)["predictions"]
            assert ended.code == 1
            assert re.search(rf"pip install \S*{uninstalled}\b", row["error"])
            continue
        assert ended.code == 2, (arguments, ended)
        assert re.search(rf"pip install \S*{uninstalled}\b", ended.stderr), arguments
        assert ended.stderr.count("\n") == 1, ended.stderr
    assert not (installed.work / "refused").exists()


@pytest.mark.parametrize("uninstalled", sorted(TRACKERS), indirect=True, scope="module")
def test_a_run_that_a_tracker_followed_is_read_and_resumed_without_it(
    uninstalled: str, pneumo: Pneumo, trained: dict[str, str]
) -> None:
    for arguments in (("evaluate", trained[uninstalled]), ("resume", trained[uninstalled], "--epochs", "2")):
        ended = pneumo(*arguments)
        assert ended.code == 0, ended.stderr


@pytest.mark.parametrize(
    "uninstalled", ["pneumo-chest-xray", "pneumo-datasets"], indirect=True, scope="module"
)
def test_a_run_predicts_without_the_distribution_of_its_dataset(
    uninstalled: str, pneumo: Pneumo, trained: dict[str, str]
) -> None:
    ended = pneumo("predict", trained[uninstalled], "tree/test/NORMAL/IM-e0-0001.png")
    assert ended.code == 0, ended.stderr
