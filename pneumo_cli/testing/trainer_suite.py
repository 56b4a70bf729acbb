"""The tests that every trainer has to pass."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.registry import Entry
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.record import reopen_settings
from pneumo_cli.settings.resolve import Resolved, resolve, settings_class
from pneumo_cli.specs import TrainerSpec
from pneumo_cli.testing.bits import same_bits
from pneumo_cli.testing.datasets import CLASSES, LABELS, TINY
from pneumo_cli.testing.workplace import installed_plugins
from pneumo_cli.trainers.generative import CHUNK
from pneumo_cli.trainers.loading import load_trained
from pneumo_cli.trainers.session import choose_model, set_up
from pneumo_cli.training.runner import Runner, open_runner


class _Died(BaseException):
    """Simulates the death of the process; no handler of errors catches it."""


class _Dies:
    """Ends the run unsaved after a step of an epoch; without a step, after the epoch's checkpoints."""

    def __init__(self, epoch: int, step: int = 0) -> None:
        self._at = (epoch, step)

    @hookimpl
    def step_finished(self, run: Any) -> None:
        if (run.epoch, run.step) == self._at:
            raise _Died

    @hookimpl
    def epoch_finished(self, run: Any) -> None:
        if (run.epoch, 0) == self._at:
            raise _Died


class TrainerConformance:
    """The tests that every trainer has to pass::

        class TestProbe(TrainerConformance):
            name = "probe"

    Attributes:
        name: the registered name, or ``distribution:name``.
        settings: of the short runs on 64 images of 32 px.
    """

    name: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]] = {"image_size": 32, "batch_size": 16}

    @pytest.fixture
    def plugins(self) -> Plugins:
        """All installed plugins."""
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
        assert choose_model(plugins, resolve(plugins, entry, {}, environ={})).spec.kind == entry.spec.kind

    def test_its_defaults_are_within_its_bounds(self, entry: Entry[TrainerSpec]) -> None:
        fields = settings_class(entry).model_fields
        defaults = {name: info.get_default(call_default_factory=True) for name, info in fields.items()}
        assert settings_class(entry)(**defaults) == settings_class(entry)()

    def test_every_setting_is_described(self, entry: Entry[TrainerSpec]) -> None:
        assert [n for n, info in settings_class(entry).model_fields.items() if not info.description] == []

    def test_every_preset_resolves(self, plugins: Plugins, entry: Entry[TrainerSpec]) -> None:
        for preset in entry.spec.presets:
            resolved = resolve(plugins, entry, {}, preset=preset.name, environ={})
            values = resolved.preset.values  # the fallback's if the preset's model is not installed
            assert values.keys() >= preset.values.keys()
            assert {name: getattr(resolved.trainer, name) for name in values} == values

    def test_its_settings_need_no_torch(self, entry: Entry[TrainerSpec]) -> None:
        code = (
            "import sys; from pneumo_cli.specs import load_reference; "
            f"load_reference({entry.spec.settings!r}); sys.exit('torch' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_a_run_that_dies_resumes_to_the_same_bits_and_ends_with_a_report(
        self, plugins: Plugins, entry: Entry[TrainerSpec], tmp_path: Path
    ) -> None:
        whole, broken = (
            _start_until(death, plugins, self._resolved(plugins, entry, tmp_path / name, epochs=2))
            for name, death in (("whole", _Dies(epoch=2)), ("broken", _Dies(epoch=2, step=1)))
        )
        _runner(plugins, reopen_settings(plugins, broken, {})).resume(broken)
        for name in ("best", "last"):
            expected, actual = (Checkpoints(f.checkpoints).load(name)["model"] for f in (whole, broken))
            assert expected.keys() == actual.keys()
            assert [key for key in expected if not same_bits(expected[key], actual[key])] == []
        assert broken.report_html.is_file()
        assert broken.report_json.is_file()

    @pytest.mark.parametrize("dataset", [CLASSES.name, LABELS.name])
    def test_a_classifier_learns_k_classes_and_labels_or_refuses_them(
        self, plugins: Plugins, entry: Entry[TrainerSpec], tmp_path: Path, dataset: str
    ) -> None:
        resolved = self._resolved(plugins, entry, tmp_path, epochs=1, dataset=dataset)
        if set_up(plugins, resolved).trainer.as_classifier() is None:
            pytest.skip(f"{self.name} classifies no images")
        try:
            folder = _start_until(_Dies(epoch=1), plugins, resolved)
        except UsageError as error:
            pytest.skip(str(error))
        trained = load_trained(plugins, folder, "last")
        classifier = trained.trainer.as_classifier()
        assert classifier is not None
        assert classifier.task == ("multilabel" if dataset == LABELS.name else "multiclass")
        size = resolved.trainer.image_size
        with torch.no_grad():
            logits = classifier.logits(trained.model(torch.rand(2, 3, size, size)))
        assert logits.shape == (2, 3)
        assert torch.isfinite(logits).all()

    def test_sampled_images_depend_only_on_seed_and_index(
        self, plugins: Plugins, entry: Entry[TrainerSpec], tmp_path: Path
    ) -> None:
        runner = _runner(plugins, self._resolved(plugins, entry, tmp_path, epochs=1))
        trainer = runner.trainer.as_generator()
        if trainer is None:
            pytest.skip(f"{self.name} generates no images")
        runner.build()
        model = runner.run.model.eval()
        if not trainer.can_sample(model):
            pytest.skip(f"{runner.run.model_entry.spec.name} samples no new images")
        images = trainer.sample(model, 7, np.arange(CHUNK + 3))
        torch.manual_seed(1)  # the global generator has no influence
        assert torch.equal(trainer.sample(model, 7, np.array([CHUNK + 1, 2])), images[[CHUNK + 1, 2]])

    def _resolved(
        self,
        plugins: Plugins,
        entry: Entry[TrainerSpec],
        folder: Path,
        epochs: int,
        dataset: str = TINY.name,
    ) -> Resolved:
        machine = {"device": "cpu", "output": folder / "runs", "cache": folder / "cache"}
        flags = {**self.settings, **machine, "dataset": dataset, "epochs": epochs}
        return resolve(plugins, entry, flags, environ={})


def _runner(plugins: Plugins, resolved: Resolved, *extra: object) -> Runner:
    taking_part = [*plugins.observing(), *(("test", one) for one in extra)]
    return open_runner(set_up(plugins, resolved), taking_part, command=["pneumo"])


def _start_until(death: _Dies, plugins: Plugins, resolved: Resolved) -> RunFolder:
    runner = _runner(plugins, resolved, death)
    with pytest.raises(_Died):
        runner.start()
    return runner.run.folder
