"""Only the head is trained, and caching its input features changes no result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.run import Run
from pneumo_cli.training.loaders import Loaders
from pneumo_cli.training.runner import Runner

State = dict[str, torch.Tensor]
HEAD = "classifier.2."  # of the small network
TOLERANCE = 1e-4


def state(run: Run) -> State:
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def changed_by_training(runner: Runner, trained: Callable[..., Runner]) -> set[str]:
    """Names of the parameters and buffers that differ from their initial values."""
    runner.build()
    before = state(runner.run)
    trained(runner)  # builds it again, from the same seed
    after = state(runner.run)
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"augment": False}, id="features computed once"),
        pytest.param({"feature_views": 2}, id="views computed once"),
        pytest.param({}, id="augmented in every epoch"),
        pytest.param({"feature_cache": False}, id="nothing cached"),
        pytest.param({"feature_cache": False, "model": "efficientnet-b0"}, id="stochastic depth, not cached"),
    ],
)
def test_only_the_head_changes(
    prepared: Callable[..., Runner], trained: Callable[..., Runner], settings: dict
) -> None:
    head = "classifier." if settings.get("model") else HEAD
    assert changed_by_training(prepared(epochs=2, **settings), trained) == {
        f"{head}1.weight",
        f"{head}1.bias",
    }


def test_in_freeze_mode_source_batchnorm_statistics_change_and_frozen_parameters_do_not(
    prepared: Callable[..., Runner], trained: Callable[..., Runner]
) -> None:
    runner = prepared(epochs=1, freeze_mode="source")
    changed = changed_by_training(runner, trained)
    parameters = {name for name, _ in runner.run.model.named_parameters()}
    assert changed & parameters == {f"{HEAD}1.weight", f"{HEAD}1.bias"}
    statistics = {name for name in state(runner.run) if name.endswith(("running_mean", "running_var"))}
    assert len(statistics) == 16
    assert statistics <= changed


@pytest.mark.parametrize("mode", ["strict", "source"])
def test_frozen_layers_are_random_only_in_freeze_mode_source(
    prepared: Callable[..., Runner], mode: str
) -> None:
    runner = prepared(model="efficientnet-b0", freeze_mode=mode)
    runner.build()
    run = runner.run
    runner.trainer.train_mode(run)
    assert run.model.classifier.training
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one, other = (run.model.features(images) for _ in range(2))
    assert torch.equal(one, other) == (mode == "strict")


def last_logits(runner: Runner) -> np.ndarray:
    """Logits of the validation images, float32 [n], with the weights of the last epoch."""
    run = runner.run
    run.model.load_state_dict(Checkpoints(run.folder.checkpoints).load("last")["model"])
    run.model.eval()
    with torch.no_grad():
        return runner.trainer.evaluate(run, Loaders(run).evaluation("validation")).outputs["logits"]


@pytest.mark.parametrize(
    "cached",
    [
        pytest.param({"augment": False}, id="without augmentation"),
        pytest.param({"augment": False, "flip_tta": True}, id="flip TTA"),
        pytest.param({"feature_views": 3}, id="as many views as epochs"),
    ],
)
def test_cached_features_give_the_same_results(
    trained: Callable[..., Runner], weights: Path, cached: dict
) -> None:
    settings = {"weights": str(weights), "epochs": 3, **cached}
    with_cache = trained(**settings)
    assert with_cache.run.sources.train.stage > 0
    assert with_cache.run.sources.evaluation.stage > 0
    without = trained(**{**settings, "feature_views": 0, "feature_cache": False})
    assert without.run.sources.train.stage == without.run.sources.evaluation.stage == 0
    expected = last_logits(without)
    assert np.ptp(expected) > 100 * TOLERANCE  # else features would be the same for all images
    np.testing.assert_allclose(last_logits(with_cache), expected, rtol=0, atol=TOLERANCE)
    assert with_cache.run.best.epoch == without.run.best.epoch


def test_fewer_views_than_epochs_give_another_model(trained: Callable[..., Runner], weights: Path) -> None:
    settings = {"weights": str(weights), "epochs": 3}
    one, three = (last_logits(trained(**settings, feature_views=views)) for views in (1, 3))
    assert np.abs(one - three).max() > TOLERANCE


def test_only_the_pooled_features_of_each_image_are_cached(trained: Callable[..., Runner]) -> None:
    run = trained(model="resnet18", epochs=1, augment=False).run
    assert run.sources.train.array.shape[-1] == 512
    images = len(run.data.split.train) + len(run.data.split.validation)  # test images are evaluated only once
    assert run.sources.train.array.size == images * 512
