"""The conformance suite: what every trainer, model and dataset plugin has to do, as tests to derive from.

A plugin's author writes one class per thing that is registered; pytest runs the inherited tests::

    from pneumo_cli.testing import ModelConformance, TrainerConformance

    class TestTrainer(TrainerConformance):
        name = "probe"

    class TestModel(ModelConformance):
        name = "tiny"

The plugin has to be installed, for it is found as ``pneumo`` finds it. Needs pytest; with
``pytest.register_assert_rewrite("pneumo_cli.testing")`` in ``conftest.py`` failures show their values.
Also here: the small dataset that the suite trains on, and :func:`invoke`, which runs the program inside the
test's process.
Not for what only one plugin promises: that belongs into its own tests.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pneumo_cli.api import DatasetSpec, hookimpl
from pneumo_cli.checkpoints import Checkpoints
from pneumo_cli.cli.main import main
from pneumo_cli.data.records import Dataset, DatasetRequest, Pool, Record
from pneumo_cli.errors import UnreadableImage
from pneumo_cli.folder import RunFolder
from pneumo_cli.layers import Resolved, resolve, settings_class
from pneumo_cli.plugins import Plugins, discover
from pneumo_cli.progress import Progress
from pneumo_cli.ranks import Ranks
from pneumo_cli.registry import Entry, Provenance
from pneumo_cli.run import build_registered
from pneumo_cli.runner import Runner
from pneumo_cli.seeding import seed_all
from pneumo_cli.session import choose_parts, observing_plugins, open_dataset, open_run, reopen_settings
from pneumo_cli.settings import MachineSettings
from pneumo_cli.specs import ModelSpec, TrainerSpec

TINY = DatasetSpec(
    name="conformance-tiny",
    summary="64 images of 32 px: noise, with a bright disc where the label is 1",
    factory="pneumo_cli.testing:open_tiny",
    synthetic=True,
)
"""The dataset of the suite; :func:`installed_plugins` registers it."""

SMALL = DatasetSpec(
    name="conformance-small",
    summary="The same with 256 images: enough of each class to compare sets of images",
    factory="pneumo_cli.testing:open_small",
    synthetic=True,
)
"""For tasks that judge images by distances; :func:`installed_plugins` registers it too."""


class TinyDataset(Dataset):
    """Noise, and in every second image a bright disc: learnt within a few epochs by whatever can see.

    Args:
        seed: selects other images and so another fingerprint.
        images: how many; three quarters of them in the train pool, two per patient, half of each class.
    """

    classes = ("NORMAL", "PNEUMONIA")
    synthetic = True
    origin = "Noise and discs, for tests."
    place = "drawn in memory"
    side = 32

    def __init__(self, name: str = TINY.name, seed: int = 0, images: int = 64) -> None:
        self.name = name
        self._pixels: dict[str, NDArray[np.uint8]] = {}
        records = []
        for number in range(images):
            patient = number // 2
            label = patient % 2
            pool: Pool = "test" if number >= images * 3 // 4 else "train"
            title = f"{pool}/{self.classes[label]}/patient{patient:03}_{number % 2}"
            self._pixels[title] = self._draw(np.random.default_rng([seed, number]), label)
            digest = hashlib.sha256(self._pixels[title].tobytes()).hexdigest()
            records.append(Record(title, label, f"patient{patient:03}", pool, digest))
        self.records = sorted(records, key=lambda record: (record.label, record.name))

    def _draw(self, rng: np.random.Generator, label: int) -> NDArray[np.uint8]:
        image = rng.normal(90, 20, (self.side, self.side))
        if label:
            row, column = rng.integers(8, self.side - 8, 2)
            y, x = np.ogrid[: self.side, : self.side]
            image[(y - row) ** 2 + (x - column) ** 2 <= 36] += 90
        return image.clip(0, 255).astype(np.uint8)

    def read(self, record: Record, size: int | None = None) -> NDArray[np.uint8]:
        """Return the image at its only size."""
        if record.name not in self._pixels:
            raise UnreadableImage(f"there is no image {record.name}")
        return self._pixels[record.name]


def open_tiny(request: DatasetRequest) -> TinyDataset:
    """The factory of :data:`TINY`."""
    return TinyDataset()


def open_small(request: DatasetRequest) -> TinyDataset:
    """The factory of :data:`SMALL`."""
    return TinyDataset(SMALL.name, images=256)


def installed_plugins() -> Plugins:
    """What ``pneumo`` finds here, and the suite's datasets."""
    plugins = discover()
    for spec in (TINY, SMALL):
        plugins.datasets.add(spec, Provenance("pneumo-cli", "testing"))
    return plugins


# --- the program in this process -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Invocation:
    """How a command ended: its exit code and what it printed."""

    code: int
    stdout: str
    stderr: str


def invoke(*arguments: object, suite_datasets: bool = False) -> Invocation:
    """Run ``pneumo ARGUMENTS`` in this process, in the working folder and environment as they are.

    Args:
        suite_datasets: register :data:`TINY` and :data:`SMALL` beside what is installed.
    """
    stdout, stderr = io.StringIO(), io.StringIO()
    found = installed_plugins if suite_datasets else discover
    root, own = logging.getLogger(), logging.getLogger("pneumo")
    before = root.handlers[:], root.level, own.level
    root.handlers = []  # so that the program sets up its own, on the stderr of this invocation
    code: object = 0
    try:
        with (
            mock.patch.object(sys, "argv", ["pneumo", *map(str, arguments)]),
            mock.patch("pneumo_cli.cli.main.discover", found),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
        ):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        root.handlers = before[0]
        root.setLevel(before[1])
        own.setLevel(before[2])
    return Invocation(code if isinstance(code, int) else 0, stdout.getvalue(), stderr.getvalue())


# --- trainers --------------------------------------------------------------------------------------------------


class _Died(BaseException):
    """Stands for the death of the process: no error that anybody may handle."""


class _DiesAtStep:
    """Ends the run after a step, unsaved."""

    def __init__(self, epoch: int, step: int) -> None:
        self._at = (epoch, step)

    @hookimpl
    def step_finished(self, run: Any) -> None:
        if (run.epoch, run.step) == self._at:
            raise _Died


class TrainerConformance:
    """What every trainer does. The author's whole test::

        class TestProbe(TrainerConformance):
            name = "probe"

    Attributes:
        name: the registered name, or ``distribution:name``.
        settings: what to set for the short runs on 64 images of 32 px.
    """

    name: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]] = {"image_size": 32, "batch_size": 16}

    @pytest.fixture
    def plugins(self) -> Plugins:
        """What is installed."""
        return installed_plugins()

    @pytest.fixture
    def entry(self, plugins: Plugins) -> Entry[TrainerSpec]:
        """The trainer under test."""
        return plugins.trainers.get(self.name)

    def test_its_distribution_has_no_problem(self, plugins: Plugins, entry: Entry[TrainerSpec]) -> None:
        assert [str(p) for p in plugins.problems if p.provenance == entry.provenance] == []

    def test_its_default_model_is_installed_and_of_its_kind(
        self, plugins: Plugins, entry: Entry[TrainerSpec]
    ) -> None:
        assert (
            choose_parts(plugins, resolve(plugins, entry, {}, environ={})).model.spec.kind == entry.spec.kind
        )

    def test_its_defaults_are_within_its_bounds(self, entry: Entry[TrainerSpec]) -> None:
        fields = settings_class(entry).model_fields
        defaults = {name: info.get_default(call_default_factory=True) for name, info in fields.items()}
        assert settings_class(entry)(**defaults) == settings_class(entry)()

    def test_every_setting_is_described(self, entry: Entry[TrainerSpec]) -> None:
        assert [n for n, info in settings_class(entry).model_fields.items() if not info.description] == []

    def test_every_preset_resolves(self, plugins: Plugins, entry: Entry[TrainerSpec]) -> None:
        for preset in entry.spec.presets:
            resolved = resolve(plugins, entry, {}, preset=preset.name, environ={})
            values = (
                resolved.preset.values
            )  # those of the fallback, where the preset's model is not installed
            assert values.keys() >= preset.values.keys()
            assert {name: getattr(resolved.trainer, name) for name in values} == values

    def test_its_settings_need_no_torch(self, entry: Entry[TrainerSpec]) -> None:
        code = (
            "import sys; from pneumo_cli.specs import load_reference; "
            f"load_reference({entry.spec.settings!r}); sys.exit('torch' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_a_run_ends_with_a_report(
        self, plugins: Plugins, entry: Entry[TrainerSpec], tmp_path: Path
    ) -> None:
        folder = _start(plugins, self._resolved(plugins, entry, tmp_path, epochs=1))
        assert folder.report_html.is_file()
        assert folder.report_json.is_file()
        assert folder.checkpoints.joinpath("best.pt").is_file()

    def test_a_run_that_dies_resumes_to_the_same_bits(
        self, plugins: Plugins, entry: Entry[TrainerSpec], tmp_path: Path
    ) -> None:
        whole = _start(plugins, self._resolved(plugins, entry, tmp_path / "whole", epochs=2))
        broken = self._resolved(plugins, entry, tmp_path / "broken", epochs=2)
        with pytest.raises(_Died):
            _start(plugins, broken, _DiesAtStep(epoch=2, step=1))
        (path,) = broken.machine.output.glob("*/*")
        folder = RunFolder(path)
        resolved = reopen_settings(plugins, folder, {})
        _runner(plugins, resolved).resume(folder)
        for name in ("best", "last"):
            expected, actual = (Checkpoints(f.checkpoints).load(name)["model"] for f in (whole, folder))
            assert expected.keys() == actual.keys()
            assert [key for key in expected if not _same_bits(expected[key], actual[key])] == []

    def _resolved(self, plugins: Plugins, entry: Entry[TrainerSpec], folder: Path, epochs: int) -> Resolved:
        machine = {"device": "cpu", "output": folder / "runs", "cache": folder / "cache"}
        flags = {**self.settings, **machine, "dataset": TINY.name, "epochs": epochs}
        return resolve(plugins, entry, flags, environ={})


def _runner(plugins: Plugins, resolved: Resolved, *extra: object) -> Runner:
    run = open_run(plugins, resolved, Progress(), Ranks())
    return Runner(run, [*observing_plugins(plugins), *(("test", one) for one in extra)], ["pneumo"])


def _start(plugins: Plugins, resolved: Resolved, *extra: object) -> RunFolder:
    runner = _runner(plugins, resolved, *extra)
    runner.start()
    return runner.run.folder


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


# --- models ----------------------------------------------------------------------------------------------------


class ModelConformance:
    """What every model does. The author's whole test::

        class TestTiny(ModelConformance):
            name = "tiny"

    Attributes:
        name: the registered name, or ``distribution:name``.
        options: what the kind's trainers offer to the factory.
        sizes: heights and widths in pixels that it has to take.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {"channels": 3, "outputs": 1}
    sizes: ClassVar[tuple[int, ...]] = (32, 64)

    def output(self, model: torch.nn.Module, size: int) -> torch.Tensor:
        """What the model makes of four random images. Override it where a kind is not called with images."""
        # A generator of its own: a model that draws random numbers in eval mode has to be found out.
        generator = torch.Generator().manual_seed(0)
        result = model(torch.randn(4, self.options.get("channels", 1), size, size, generator=generator))
        assert isinstance(result, torch.Tensor)
        return result

    @pytest.fixture
    def entry(self) -> Entry[ModelSpec]:
        """The model under test."""
        return discover().models.get(self.name)

    @pytest.fixture
    def model(self, entry: Entry[ModelSpec]) -> torch.nn.Module:
        """A new instance, seeded."""
        seed_all(0, "model")
        return build_registered(entry, self.options)

    def test_equal_seeds_build_equal_weights(self, entry: Entry[ModelSpec], model: torch.nn.Module) -> None:
        seed_all(0, "model")
        again = build_registered(entry, self.options).state_dict()
        assert [k for k, value in model.state_dict().items() if not _same_bits(value, again[k])] == []

    def test_a_classifier_returns_one_row_of_logits_per_image(
        self, entry: Entry[ModelSpec], model: torch.nn.Module
    ) -> None:
        if entry.spec.kind != "classifier":
            pytest.skip(f"{self.name} is of kind {entry.spec.kind}")
        model.eval()
        for size in self.sizes:
            assert self.output(model, size).shape == (4, self.options["outputs"])

    def test_outputs_are_finite_and_repeatable_in_eval_mode(self, model: torch.nn.Module) -> None:
        model.eval()
        with torch.no_grad():
            one, other = (self.output(model, self.sizes[0]) for _ in range(2))
        assert torch.isfinite(one).all()
        assert torch.equal(one, other)

    def test_gradients_reach_every_trainable_parameter(self, model: torch.nn.Module) -> None:
        model.train()
        self.output(model, self.sizes[0]).float().pow(2).sum().backward()
        unreached = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert unreached == []

    def test_its_weights_survive_a_checkpoint(
        self, entry: Entry[ModelSpec], model: torch.nn.Module, tmp_path: Path
    ) -> None:
        checkpoints = Checkpoints(tmp_path)
        checkpoints.save("best", {"model": model.state_dict()})
        seed_all(1, "model")
        other = build_registered(entry, self.options)
        other.load_state_dict(checkpoints.load("best")["model"])
        model.eval()
        other.eval()
        with torch.no_grad():
            assert torch.equal(self.output(model, self.sizes[0]), self.output(other, self.sizes[0]))


# --- datasets --------------------------------------------------------------------------------------------------


class DatasetConformance:
    """What every dataset does. The author's whole test, where the images lie in a folder::

        class TestClinic(DatasetConformance):
            name = "clinic"

            @pytest.fixture
            def data_root(self, tmp_path):
                return write_some_images(tmp_path)

    Attributes:
        name: the registered name, or ``distribution:name``.
        size: the height and width in pixels that images are asked for.
        reads: how many images, spread over the records, are read.
    """

    name: ClassVar[str]
    size: ClassVar[int] = 64
    reads: ClassVar[int] = 12

    @pytest.fixture
    def data_root(self) -> Path | None:
        """Where the images lie; None for a dataset without a folder of the user's."""
        return None

    @pytest.fixture
    def dataset(self, data_root: Path | None, tmp_path: Path) -> Dataset:
        """The dataset under test, opened."""
        return self._open(data_root, tmp_path / "cache")

    def test_every_record_is_complete(self, dataset: Dataset) -> None:
        assert len({record.name for record in dataset.records}) == len(dataset.records) > 0
        for record in dataset.records:
            assert 0 <= record.label < len(dataset.classes), record
            assert record.patient, record
            assert record.digest, record

    def test_both_pools_hold_every_class(self, dataset: Dataset) -> None:
        found = {(record.pool, record.label) for record in dataset.records}
        labels = range(len(dataset.classes))
        assert found == {(pool, label) for pool in ("train", "test") for label in labels}

    def test_records_stand_in_the_order_of_their_labels(self, dataset: Dataset) -> None:
        labels = [record.label for record in dataset.records]
        assert labels == sorted(labels)

    def test_it_says_what_it_is(self, dataset: Dataset) -> None:
        assert dataset.name == discover().datasets.get(self.name).spec.name
        assert dataset.origin.strip()
        assert dataset.place.strip()

    def test_two_openings_have_one_fingerprint(
        self, dataset: Dataset, data_root: Path | None, tmp_path: Path
    ) -> None:
        assert self._open(data_root, tmp_path / "other cache").fingerprint == dataset.fingerprint

    def test_images_are_grey_levels_that_lose_nothing_at_the_size_asked_for(self, dataset: Dataset) -> None:
        for record in self._some(dataset):
            whole, asked = dataset.read(record), dataset.read(record, self.size)
            for image in (whole, asked):
                assert image.dtype == np.uint8, record
                assert image.ndim == 2, record
            enough = [min(2 * self.size, side) for side in whole.shape]
            exact = asked.shape == (self.size, self.size)
            assert exact or all(a >= e for a, e in zip(asked.shape, enough, strict=True)), record

    def test_images_are_the_same_in_whatever_order_and_thread(self, dataset: Dataset) -> None:
        records = self._some(dataset)
        expected = [dataset.read(record, self.size) for record in records]
        with ThreadPoolExecutor(4) as pool:
            actual = list(pool.map(lambda record: dataset.read(record, self.size), records[::-1]))[::-1]
        for record, one, other in zip(records, expected, actual, strict=True):
            assert np.array_equal(one, other), record

    def _some(self, dataset: Dataset) -> list[Record]:
        spread = np.unique(np.linspace(0, len(dataset.records) - 1, self.reads).astype(int))
        return [dataset.records[position] for position in spread]

    def _open(self, root: Path | None, cache: Path) -> Dataset:
        entry = discover().datasets.get(self.name)
        return open_dataset(entry, MachineSettings(data_root=root, cache=cache), Progress())
