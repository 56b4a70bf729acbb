"""Shared fixtures: a fake plugin distribution, and the program in this or in other processes.

The distribution ``pneumo-fake`` in ``tests/fakes/`` is copied, with metadata, into a folder on the path, where
``importlib.metadata`` finds it as if pip had installed it. Other installed plugins are disabled, except for the one
whose tests are run.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

# As in the Makefile. Without a number runs choose theirs by the load of the machine, and their last bits with it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest.register_assert_rewrite("pneumo_cli.testing")

from pneumo_cli.testing import Invocation, invoke  # noqa: E402
from tests.programs import COARSE_DPI, FAKES, ProcessServer, disabled  # noqa: E402
from tests.training_only import EndsWithTheLastEpoch, TrainedEnough  # noqa: E402

_ENTRY_POINTS = {"fake": "pneumo_fake.plugin", "saboteur": "pneumo_fake.saboteur"}


def write_distribution(
    site: Path,
    name: str,
    entry_points: Mapping[str, str],
    modules: Mapping[str, str] = {},
    version: str = "1.0",
) -> None:
    """Write a distribution's metadata, and its modules, into a folder on the path."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"{point} = {module}\n" for point, module in entry_points.items()]
    (info / "entry_points.txt").write_text("[pneumo]\n" + "".join(lines))
    for module, source in modules.items():
        (site / f"{module}.py").write_text(source)


@pytest.fixture(scope="session")
def fake_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the fake distribution is installed."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(FAKES / "pneumo_fake", site / "pneumo_fake", ignore=shutil.ignore_patterns("__pycache__"))
    write_distribution(site, "pneumo-fake", _ENTRY_POINTS)
    return site


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of decoded images, shared by all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def fake_environ(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment without the user's settings and folders, and without the installed plugins."""
    home = tmp_path_factory.mktemp("home")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("PNEUMO_")}
    return {
        **kept,
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_DATA_HOME": str(home / "data"),
        "PNEUMO_CACHE": str(shared_cache),
        "PNEUMO_DATA_HOME": str(home / "pneumo"),
        "PNEUMO_DISABLE_PLUGINS": disabled(),
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }


@pytest.fixture(autouse=True)
def coarse_reports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of runs have coarse figures: at full resolution they take longer than the training.

    Tests of figures, which start no runs, draw them as they are.
    """
    if not {"fakes", "entry"}.isdisjoint(request.fixturenames):  # in this process; of a conformance suite
        monkeypatch.setattr("pneumo_cli.reports.figures.style._DPI", COARSE_DPI)


@pytest.fixture
def fakes(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    fake_site: Path,
    fake_environ: dict[str, str],
    tmp_path: Path,
) -> Path:
    """This process with the fake distribution installed, in an empty working folder (returned)."""
    for name in [name for name in os.environ if name.upper().startswith("PNEUMO_")]:
        monkeypatch.delenv(name)
    for name, value in fake_environ.items():
        monkeypatch.setenv(name, value)
    own = [folder.name for folder in request.path.parents if folder.parent.name == "plugins"]
    monkeypatch.setenv("PNEUMO_DISABLE_PLUGINS", disabled(*own))
    monkeypatch.syspath_prepend(str(fake_site))
    monkeypatch.setenv("PYTHONPATH", str(fake_site))
    monkeypatch.setattr("pneumo_cli.workflows.installed._found", [])  # of a test before
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def pneumo(fakes: Path) -> Callable[..., Invocation]:
    """``pneumo ARGUMENTS`` in this process."""
    return invoke


@pytest.fixture
def install(fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a further distribution: ``install(name, {entry point: module}, {module: source}, version)``."""
    site = tmp_path / "further"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    installed: list[str] = []

    def write(name: str, points: Mapping[str, str], modules: Mapping[str, str], version: str = "1.0") -> None:
        for module in modules:  # another test may have imported a real one of this name; it is put back
            monkeypatch.delitem(sys.modules, module, raising=False)
        write_distribution(site, name, points, modules, version)
        installed.extend(modules)

    yield write
    for module in installed:
        sys.modules.pop(module, None)


# --- real processes --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def processes(fake_environ: dict[str, str], fake_site: Path) -> Iterator[ProcessServer]:
    """Runs ``pneumo`` in separate processes, which may be killed."""
    server = ProcessServer(fake_environ, fake_site)
    yield server
    server.close()


# --- the runner without the command line -----------------------------------------------------------------------


@pytest.fixture
def start_run(fakes: Path) -> Callable[..., Any]:
    """Train in this process: ``start_run(trainer, *further plugins, **settings)`` returns the Run."""
    from pneumo_cli.plugins.discovery import discover
    from pneumo_cli.settings.resolve import resolve
    from pneumo_cli.trainers.session import set_up
    from pneumo_cli.training.runner import open_runner

    def start(trainer: str, *further: object, **settings: object) -> Any:
        plugins = discover()
        resolved = resolve(plugins, plugins.trainers.get(trainer), settings)
        participants = [*plugins.observing(), *(("further", plugin) for plugin in further)]
        runner = open_runner(set_up(plugins, resolved), participants, command=["pneumo"])
        runner.start()
        return runner.run

    return start


@pytest.fixture(scope="session")
def finished_folders() -> dict[Any, Path]:
    """The runs of :func:`finished_run`."""
    return {}


@pytest.fixture
def finished_run(
    finished_folders: dict[Any, Path],
    pneumo: Callable[..., Invocation],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Path]:
    """The folder of a run with its report: ``finished_run(trainer, *flags)``, in fp32.

    Cached for all tests, so not to be changed.
    """

    def run(trainer: str, *flags: object) -> Path:
        key = (trainer, *map(str, flags))
        if key not in finished_folders:
            output = tmp_path_factory.mktemp("finished")
            ended = pneumo("run", trainer, "--output", output, "--precision", "fp32", *flags)
            assert ended.code == 0, ended.stderr
            (finished_folders[key],) = output.glob("*/*")
        return finished_folders[key]

    return run


@pytest.fixture(scope="session")
def trained_folders() -> dict[Any, Path]:
    """The runs of :func:`trained_run`."""
    return {}


@pytest.fixture
def trained_run(
    trained_folders: dict[Any, Path], start_run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """The folder of a run with all its checkpoints and no report: ``trained_run(trainer, **settings)``.

    Cached for all tests, so not to be changed.
    """

    def train(trainer: str, **settings: object) -> Path:
        key = (trainer, *sorted(settings.items()))
        if key not in trained_folders:
            output = tmp_path_factory.mktemp("runs")
            with pytest.raises(TrainedEnough):
                start_run(trainer, EndsWithTheLastEpoch(), output=output, **settings)
            (trained_folders[key],) = output.glob("*/*")
        return trained_folders[key]

    return train


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium (playwright's ``Browser``); see :mod:`tests.browser`."""
    from tests.browser import chromium

    with chromium() as started:
        yield started
