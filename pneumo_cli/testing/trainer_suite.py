"""The tests that every trainer has to pass: what it registers, its settings, its runs as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.registry import Entry
from pneumo_cli.settings.classes import settings_class
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.settings.schema import GenerativeSettings, TrainerSettings, TransferSettings
from pneumo_cli.specs import TrainerSpec
from pneumo_cli.testing.contract import ContractBroken, ensure, keeping, skip
from pneumo_cli.testing.datasets import CLASSES, LABELS, TARGETS, TINY, TinyDataset
from pneumo_cli.testing.run_suite import RunConformance
from pneumo_cli.testing.runs import DiesAt, Small, make_runner, run_until
from pneumo_cli.testing.suite import SettingsConformance, environment_of, written_toml
from pneumo_cli.testing.training_suite import TrainingConformance
from pneumo_cli.testing.transfer import NETWORK
from pneumo_cli.trainers.generative import CHUNK
from pneumo_cli.trainers.loading import load_trained
from pneumo_cli.trainers.session import choose_model, set_up

_DATASET = pytest.StashKey[str]()


class TrainerRunConformance(RunConformance):
    """The tests of runs with further settings of a trainer, which :class:`TrainerConformance` tests whole::

        class TestAveraged(TrainerRunConformance):
            name = "probe"
            settings = {"image_size": 32, "batch_size": 16, "ema": 0.9}

    Attributes:
        name: the registered name, or ``distribution:name``.
        settings: of the short runs on small images.
        dataset: registered name of the dataset of these runs; empty: the first of these that the trainer accepts:
            its own default, if that needs no folder; 64 images of 32 px in two classes; the same with a number, a
            mask and boxes. One that reads a folder gets the fixture ``data_root``.
    """

    settings: ClassVar[Mapping[str, Any]] = {"image_size": 32, "batch_size": 16}
    dataset: ClassVar[str] = ""

    @pytest.fixture
    def entry(self, plugins: Plugins) -> Entry[TrainerSpec]:
        """The trainer under test."""
        return plugins.trainers.get(self.name)

    @pytest.fixture
    def data_root(self) -> Path | None:
        """The folder of the dataset's images; None for a dataset that has none."""
        return None

    @pytest.fixture
    def small(
        self,
        plugins: Plugins,
        entry: Entry[TrainerSpec],
        data_root: Path | None,
        tmp_path: Path,
        request: pytest.FixtureRequest,
    ) -> Small:
        """Makes the settings of the short runs."""
        chosen = request.node.parent.stash  # of the class: the trainer is asked once
        small = self.suited(plugins, entry, data_root, tmp_path, chosen.get(_DATASET, self.dataset))
        chosen[_DATASET] = small.values["dataset"]
        return small

    def suited(
        self,
        plugins: Plugins,
        entry: Entry[TrainerSpec],
        data_root: Path | None,
        folder: Path,
        dataset: str = "",
    ) -> Small:
        """The settings of short runs in a folder, on the dataset or else on one that the trainer accepts."""
        values = {**_suited(entry), **self.settings, "data_root": data_root}
        if "dataset" not in values:
            values["dataset"] = dataset or _accepted(plugins, entry, values)
        return Small(plugins, entry, values, folder)

    @pytest.mark.parametrize("dataset", [CLASSES.name, LABELS.name])
    def test_a_classifier_learns_k_classes_and_labels_or_refuses_them(
        self, plugins: Plugins, entry: Entry[TrainerSpec], tmp_path: Path, dataset: str
    ) -> None:
        values = {**_suited(entry), **self.settings, "dataset": dataset}
        resolved = Small(plugins, entry, values, tmp_path).resolved(epochs=1)
        if set_up(plugins, resolved).trainer.as_classifier() is None:
            skip(f"{self.name} classifies no images")
        with keeping(
            "a classifier learns K classes or K labels, or refuses them with a UsageError",
            "take the number of outputs from model_options, and raise UsageError in choose_task",
        ):
            try:
                folder = run_until(DiesAt(epoch=1), plugins, resolved).run.folder
            except UsageError as error:
                skip(str(error))
        trained = load_trained(plugins, folder, "last")
        classifier = trained.trainer.as_classifier()
        assert classifier is not None
        task = "multilabel" if dataset == LABELS.name else "multiclass"
        ensure(
            classifier.task == task,
            "a loaded classifier knows what it decides",
            f"its task is {classifier.task}, and it was trained on {task}",
            "keep what choose_task is told",
        )
        size = resolved.trainer.image_size
        with torch.no_grad():
            logits = classifier.logits(trained.model(torch.rand(2, 3, size, size)))
        ensure(
            logits.shape == (2, 3) and torch.isfinite(logits).all(),
            "logits of K classes are finite, [B, K]",
            f"they are {list(logits.shape)} for 2 images and 3 classes",
            "return one logit per class from logits()",
        )

    def test_sampled_images_depend_only_on_seed_and_index(self, plugins: Plugins, small: Small) -> None:
        runner = make_runner(plugins, small.resolved(epochs=1))
        trainer = runner.trainer.as_generator()
        if trainer is None:
            skip(f"{self.name} generates no images")
            return
        runner.build()
        model = runner.run.model.eval()
        if not trainer.can_sample(model):
            skip(f"{runner.run.model_entry.spec.name} samples no new images")
        rule = "a sampled image depends on its seed and index alone"
        mend = "take its noise from the generator of its index, and put the model into no other mode"
        with keeping(rule, mend):
            images = trainer.sample(model, 7, np.arange(CHUNK + 3))
            torch.manual_seed(1)  # the global generator has no influence
            again = trainer.sample(model, 7, np.array([CHUNK + 1, 2]))
        ensure(torch.equal(again, images[[CHUNK + 1, 2]]), rule, "another order gives other images", mend)


class TrainerConformance(TrainerRunConformance, TrainingConformance, SettingsConformance):
    """The tests that every trainer has to pass::

        class TestProbe(TrainerConformance):
            name = "probe"

    Attributes:
        name, settings, dataset: see :class:`TrainerRunConformance`.
    """

    pages = True

    def settings_of(self, entry: Entry[Any]) -> type[TrainerSettings]:
        return settings_class(entry)

    def resolve_settings(
        self, plugins: Plugins, entry: Entry[Any], layer: Literal["flags", "environment", "file"], values: Any
    ) -> TrainerSettings:
        environ = environment_of(values) if layer == "environment" else {}
        flags = values if layer == "flags" else {}
        with TemporaryDirectory() as folder:
            config = written_toml(Path(folder), values if layer == "file" else {})
            return resolve(plugins, entry, flags, config=config, environ=environ).trainer

    def test_its_default_model_is_installed_and_of_its_kind(
        self, plugins: Plugins, entry: Entry[TrainerSpec]
    ) -> None:
        rule = "the default model of a trainer is installed, and of its kind"
        with keeping(rule, "register the model in the same package, or depend on the one that has it"):
            model = choose_model(plugins, resolve(plugins, entry, {}, environ={}))
        assert model.spec.kind == entry.spec.kind

    def test_every_preset_resolves(self, plugins: Plugins, entry: Entry[TrainerSpec]) -> None:
        for preset in entry.spec.presets:
            rule = f"the preset {preset.name} sets settings that there are, to values within their bounds"
            with keeping(rule, "correct the preset's values"):
                resolved = resolve(plugins, entry, {}, preset=preset.name, environ={})
            values = resolved.preset.values  # the fallback's if the preset's model is not installed
            assert values.keys() >= preset.values.keys()
            assert {name: getattr(resolved.trainer, name) for name in values} == values


def _suited(entry: Entry[TrainerSpec]) -> dict[str, Any]:
    """What lets a trainer of one of the public base classes run on small data, quickly and without downloads."""
    cls = settings_class(entry)
    values: dict[str, Any] = {}
    if issubclass(cls, GenerativeSettings):
        wanted = cls.model_fields["images_of"].default
        values = {"extractor": "pixels", "fidelity_images": 8}
        values["images_of"] = wanted if wanted in TinyDataset.classes else ""
    if issubclass(cls, TransferSettings):
        values = {"model": NETWORK.name, "weights": "none"}
    return values


def _accepted(plugins: Plugins, entry: Entry[TrainerSpec], values: Mapping[str, Any]) -> str:
    """The first dataset that the trainer does not refuse."""
    own = settings_class(entry).model_fields["dataset"].default
    found = [e for e in plugins.datasets.find(own) if not e.spec.needs_root] if own != "phantom" else []
    refusals: list[UsageError] = []
    for name in (*(e.qualified_name for e in found[:1]), TINY.name, TARGETS.name):
        with TemporaryDirectory() as folder:
            resolved = Small(plugins, entry, {**values, "dataset": name}, Path(folder)).resolved(epochs=1)
            try:
                runner = make_runner(plugins, resolved)
                runner.build()
                runner.trainer.cache_sources(runner.run)
            except UsageError as error:
                refusals.append(error)
                continue
            except Exception:
                return name  # what is wrong is for the checks to find
        return name
    raise ContractBroken(
        "a trainer runs on a dataset of the suite, or on the one that its test names",
        str(refusals[0]),
        'name one that it can train on: dataset = "…" in the test class, or pneumo check NAME --dataset …',
    )
