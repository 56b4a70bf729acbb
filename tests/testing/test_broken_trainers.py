"""Trainers that break one rule each: the conformance suite finds it, and says which rule and how to mend it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.testing import ContractBroken, TrainerConformance, installed_plugins
from pneumo_cli.testing.datasets import TINY
from pneumo_cli.testing.run_suite import train
from pneumo_cli.testing.runs import Small

PLUGIN = """
from pneumo_cli.api import Preset, TrainerSpec, hookimpl

api_version = 1

@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="broken", summary="Breaks a rule", kind="classifier", model="plain-net",
        trainer="broken_trainer:Broken", settings="broken_settings:Settings",
        presets=(Preset(name="source", summary="As it is", values={PRESET}),),
    )
"""
SETTINGS = """
from pydantic import Field
from pneumo_cli.settings import TrainerSettings

class Settings(TrainerSettings):
    scale: float = Field(1.0, gt=0, description="factor of the loss")
"""
TRAINER = """
import numpy as np
import torch
import torch.nn.functional as F
from pneumo_cli.evaluation import Evaluation, NamedFigure
from pneumo_cli.runs import Monitor
from pneumo_cli.trainers import Trainer

class Right(Trainer):
    def build_model(self, run):
        return run.create_model(channels=3, outputs=1)

    def train_step(self, run, batch):
        loss = self.loss_of(run, batch).mean()
        run.optimize(loss)
        return {"loss": loss.detach()}

    def loss_of(self, run, batch):
        logits = run.model(batch.images).flatten().float()
        return F.binary_cross_entropy_with_logits(logits, batch.labels.float(), reduction="none")

    def evaluate(self, run, loader):
        parts = [(batch.index, self.loss_of(run, batch)) for batch in loader.iterate()]
        index, losses = (torch.cat(one) for one in zip(*parts))
        outputs = run.gather({"index": index, "losses": losses})
        return Evaluation({"loss": float(outputs["losses"].mean())}, outputs=outputs)

class Broken(Right):
"""
RIGHT = "    pass"
NO_OPTIMIZE = """
    def train_step(self, run, batch):
        return {"loss": self.loss_of(run, batch).mean().detach()}
"""
OWN_STEP = """
    def train_step(self, run, batch):
        loss = self.loss_of(run, batch).mean()
        run.optimizers["main"].zero_grad()
        loss.backward()
        run.optimizers["main"].step()
        return {"loss": loss.detach()}
"""
BESIDE = """
    def train_step(self, run, batch):
        metrics = super().train_step(run, batch)
        run.optimizers["main"].step()
        return metrics
"""
LOST = """
    def build_optimizers(self, run):
        return {"main": torch.optim.SGD([next(run.model.parameters())], 0.1)}
"""
THAWED = """
    def build_model(self, run):
        model = super().build_model(run)
        model[0].weight.requires_grad_(False)
        return model
    def train_step(self, run, batch):
        run.model[0].weight.add_(1)
        return super().train_step(run, batch)
"""
TEXT = """
    def evaluate(self, run, loader):
        return Evaluation({"loss": super().evaluate(run, loader).metrics["loss"], "grade": "good"})
"""
NOT_THERE = """
    monitor = Monitor("auc", "max")
"""
MISSPELT = """
    @property
    def monitor(self):
        return Monitor("loss", "minimum")
"""
ARRAYS = """
    def evaluate(self, run, loader):
        metrics = super().evaluate(run, loader).metrics
        return Evaluation(metrics, details={"matrix": np.zeros((2, 2)), "of": object()})
"""
NO_FIGURE = """
    def evaluate(self, run, loader):
        figure = NamedFigure("nothing", "Nothing.", lambda: None)
        return Evaluation(super().evaluate(run, loader).metrics, figures=(figure,))
"""
TRAINS_IN_EVALUATION = """
    def evaluate(self, run, loader):
        with torch.no_grad():
            next(run.model.parameters()).mul_(1.01)
        return super().evaluate(run, loader)
"""
TRAIN_MODE = """
    def evaluate(self, run, loader):
        run.model.train()
        return super().evaluate(run, loader)
"""
COUNTS = """
    calls = 0
    def evaluate(self, run, loader):
        self.calls += 1
        result = super().evaluate(run, loader)
        return Evaluation({"loss": result.metrics["loss"] + self.calls}, outputs=result.outputs)
"""
SEEDS = """
    def evaluate(self, run, loader):
        torch.manual_seed(0)
        return super().evaluate(run, loader)
"""
ONE_DTYPE = """
    def loss_of(self, run, batch):
        losses = torch.zeros(len(batch.labels))
        losses[:] = F.softplus(-run.model(batch.images).flatten())
        losses[batch.labels == 0] = F.softplus(run.model(batch.images).flatten())[batch.labels == 0]
        return losses
"""
ONE_RANK = """
    def evaluate(self, run, loader):
        losses = torch.cat([self.loss_of(run, batch) for batch in loader.iterate()])
        return Evaluation({"loss": float(losses.mean())})
"""
BY_CHANCE = """
    def loss_of(self, run, batch):
        return super().loss_of(run, batch) * (1 + np.random.default_rng().random())
"""
REMEMBERS = """
    kept = []
    def train_step(self, run, batch):
        metrics = super().train_step(run, batch)
        self.kept.append(metrics["loss"])
        return metrics
"""
ANNEALED = """
    factor = 1.0
    def loss_of(self, run, batch):
        if run.model.training:
            self.factor *= 0.5
        return super().loss_of(run, batch) * self.factor
"""
LEAVES = """
    def train_step(self, run, batch):
        raise SystemExit(0)
"""

EPOCH = "test_an_epoch_changes_what_is_trainable_and_nothing_that_is_frozen"
APART = "test_optimizers_step_through_run_optimize_alone"
METRICS = "test_metrics_are_finite_plain_numbers"
EVALUATION = "test_evaluation_changes_nothing_and_is_repeatable"
CASES = [
    ("no-optimize", NO_OPTIMIZE, EPOCH, r"run\.optimize"),
    ("own-step", OWN_STEP, APART, r"run\.optimize"),
    ("a-step-beside", BESIDE, APART, r"run\.optimize"),
    ("lost", LOST, EPOCH, "belongs to an optimizer.*0.bias.*build_optimizers"),
    ("thawed", THAWED, EPOCH, "no frozen parameter.*0.weight"),
    ("text", TEXT, METRICS, "grade"),
    ("not-there", NOT_THERE, METRICS, "auc"),
    ("misspelt", MISSPELT, METRICS, "'minimum'"),
    ("arrays", ARRAYS, METRICS, "details|JSON"),
    ("no-figure", NO_FIGURE, METRICS, "figure.*nothing"),
    ("trains-in-evaluation", TRAINS_IN_EVALUATION, EVALUATION, "changes neither weights nor buffers"),
    ("train-mode", TRAIN_MODE, EVALUATION, "leaves the model in eval mode"),
    ("counts", COUNTS, EVALUATION, "two evaluations.*loss"),
    ("seeds", SEEDS, EVALUATION, "manual_seed"),
    ("one-dtype", ONE_DTYPE, "test_it_trains_in_each_precision", "bf16.*dtype.*logits.float"),
    ("one-rank", ONE_RANK, "test_two_ranks_agree", r"all ranks compute the same metrics.*run\.gather"),
    ("by-chance", BY_CHANCE, "test_equal_seeds_give_equal_weights_and_other_seeds_do_not", "same seed"),
    ("remembers", REMEMBERS, "test_memory_does_not_grow_from_epoch_to_epoch", "more tensors.*float"),
    (
        "annealed",
        ANNEALED,
        "test_a_run_that_dies_resumes_to_the_same_bits_and_ends_with_a_report",
        "resumes to the same bits.*state_dict",
    ),
    ("leaves", LEAVES, METRICS, "SystemExit"),
]


def run_check(test: str, folder: Path, suite: type[TrainerConformance] = TrainerConformance) -> None:
    """Call one test of the suite, as pytest does, for the trainer ``broken``."""
    plugins = installed_plugins()
    entry = plugins.trainers.get("broken")
    values = {**suite.settings, "dataset": TINY.name}
    given: dict[str, Any] = {
        "plugins": plugins,
        "entry": entry,
        "small": Small(plugins, entry, values, folder),
        "own_settings": None,
        "precision": "bf16",
    }
    made = suite()
    method = getattr(made, test)
    if "own_settings" in inspect.signature(method).parameters:
        given["own_settings"] = made.usable_settings(entry)
    if "trained" in inspect.signature(method).parameters:
        given["trained"] = train(plugins, given["small"])
    method(**{name: given[name] for name in inspect.signature(method).parameters})


@pytest.fixture
def broken(install: Any) -> Any:
    """Install the trainer ``broken`` with a class body, another module of settings, or another plugin module."""

    def write(body: str = RIGHT, settings: str = SETTINGS, plugin: str = PLUGIN, preset: str = "{}") -> None:
        modules = {
            "broken_plugin": plugin.replace("{PRESET}", preset),
            "broken_settings": settings,
            "broken_trainer": TRAINER + body,
        }
        install("pneumo-broken", {"broken": "broken_plugin"}, modules)

    return write


@pytest.mark.parametrize(
    ("body", "test", "said"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_trainer_that_breaks_a_rule_is_told_which(
    body: str, test: str, said: str, broken: Any, tmp_path: Path
) -> None:
    broken(body)
    with pytest.raises(ContractBroken, match=said) as raised:
        run_check(test, tmp_path / "suite")
    assert raised.value.rule
    assert raised.value.broken
    assert raised.value.mend


def test_the_trainer_that_they_derive_from_breaks_none(broken: Any, tmp_path: Path) -> None:
    broken()
    for test in sorted({case[2] for case in CASES}):
        run_check(test, tmp_path / test)


HEAVY = PLUGIN.replace("from pneumo_cli.api", "import matplotlib\nfrom pneumo_cli.api")
NO_MODULE = PLUGIN.replace("broken_trainer:Broken", "broken_trainer:Borken")
OTHER_MODEL = PLUGIN.replace('model="plain-net"', 'model="two-nets"')
WITH_TORCH = f"import torch\n{SETTINGS}"
UNTOLD = SETTINGS.replace('Field(1.0, gt=0, description="factor of the loss")', "1.0")
OUT_OF_BOUNDS = SETTINGS.replace("Field(1.0", "Field(-1.0")


@pytest.mark.parametrize(
    ("written", "test", "said"),
    [
        ({"plugin": HEAVY}, "test_discovery_imports_nothing_heavy", "matplotlib.*TYPE_CHECKING"),
        ({"plugin": NO_MODULE}, "test_its_references_resolve", "Borken.*correct"),
        ({"plugin": OTHER_MODEL}, "test_its_default_model_is_installed_and_of_its_kind", "kind classifier"),
        ({"settings": WITH_TORCH}, "test_its_settings_need_no_torch", "imports torch"),
        ({"settings": UNTOLD}, "test_every_setting_is_described", "scale has no description"),
        ({"settings": OUT_OF_BOUNDS}, "test_its_defaults_are_within_its_bounds", "scale"),
        ({"preset": "{'scale': -1}"}, "test_every_preset_resolves", "source.*scale"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("test") else "",
)
def test_what_a_trainer_registers_is_checked(
    written: dict[str, str], test: str, said: str, broken: Any, tmp_path: Path
) -> None:
    broken(**written)
    with pytest.raises(ContractBroken, match=said):
        run_check(test, tmp_path)


def test_a_trainer_that_refuses_every_dataset_of_the_suite_is_told_to_name_one(
    broken: Any, tmp_path: Path
) -> None:
    broken(
        "    def build_model(self, run):\n        from pneumo_cli import UsageError\n        raise UsageError('no')"
    )
    plugins = installed_plugins()
    suite = TrainerConformance()
    with pytest.raises(ContractBroken, match="pneumo check NAME --dataset"):
        suite.suited(plugins, plugins.trainers.get("broken"), None, tmp_path)
