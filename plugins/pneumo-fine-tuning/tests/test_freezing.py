"""Frozen tensors do not change, and caching the output of frozen stages changes no result (SOURCE 5 and 6)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.run import Run
from pneumo_cli.testing import invoke
from pneumo_cli.trainers.backbone import stages_of
from pneumo_cli.training.loaders import Loaders
from pneumo_cli.training.runner import Runner

State = dict[str, torch.Tensor]
TOLERANCE = 1e-4
FROZEN_FEATURES = 4  # blocks of the small network's `features` within the first half of its tensors


def state(run: Run) -> State:
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def before_and_after(runner: Runner, trained: Callable[..., Runner]) -> tuple[State, State, Run]:
    runner.build()
    before = state(runner.run)
    trained(runner)  # builds it again, from the same seed
    return before, state(runner.run), runner.run


def changed(before: State, after: State, prefixes: tuple[str, ...]) -> list[str]:
    return [
        name
        for name, value in before.items()
        if name.startswith(prefixes) and not torch.equal(value, after[name])
    ]


def test_the_reports_counts_are_shown() -> None:
    content = json.loads(invoke("show", "fine-tuning", "--json").stdout)
    assert content["model"] == "efficientnet-b7"
    assert content["layers"]["parameters"] == 63_789_521
    assert content["layers"]["trainable"] == 52_564_657
    assert content["facts"] == {"Parameter tensors": "711, of which the first 469 are frozen"}


@pytest.mark.parametrize(("share", "frozen"), [(0.0, 0), (0.5, 14), (1.0, 26)])
def test_the_first_tensors_are_frozen_and_never_the_head(
    prepared: Callable[..., Runner], share: float, frozen: int
) -> None:
    runner = prepared(freeze=share)
    runner.build()
    grads = [p.requires_grad for p in runner.run.model.parameters()]
    assert grads == [False] * frozen + [True] * (28 - frozen)


@pytest.mark.parametrize("settings", [{}, {"feature_views": 2}, {"augment": False}, {"feature_cache": False}])
def test_frozen_layers_do_not_change(
    prepared: Callable[..., Runner], trained: Callable[..., Runner], settings: dict
) -> None:
    before, after, run = before_and_after(prepared(freeze=0.5, epochs=1, **settings), trained)
    frozen = tuple(f"features.{stage}." for stage in range(FROZEN_FEATURES))
    assert all(not p.requires_grad for n, p in run.model.named_parameters() if n.startswith(frozen))
    assert changed(before, after, frozen) == []
    assert len(changed(before, after, ("classifier.", "features.7."))) > 4


def test_in_freeze_mode_source_only_batchnorm_statistics_of_frozen_layers_change(
    prepared: Callable[..., Runner], trained: Callable[..., Runner]
) -> None:
    before, after, run = before_and_after(prepared(freeze=0.5, epochs=1, freeze_mode="source"), trained)
    frozen = tuple(f"features.{stage}." for stage in range(FROZEN_FEATURES))
    names = changed(before, after, frozen)
    parameters = dict(run.model.named_parameters())
    assert not parameters.keys() & set(names)
    assert {name.rpartition(".")[2] for name in names} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }


def test_frozen_layers_are_deterministic_while_the_others_are_trained(
    prepared: Callable[..., Runner],
) -> None:
    runner = prepared(model="efficientnet-b0", freeze=0.6)
    runner.build()
    run = runner.run
    runner.trainer.train_mode(run)
    length = runner.trainer.prefix_length(run, run.model)
    assert 3 < length < 20
    blocks = [block for stage in list(run.model.features)[:5] for block in stage]
    assert not any(module.training for block in blocks for module in block.modules())
    assert run.model.features[8].training
    assert run.model.classifier.training
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def outputs(stages: list[torch.nn.Module]) -> torch.Tensor:
        with torch.no_grad():
            return torch.nn.Sequential(*stages)(images)

    # A new Sequential leaves the modes of its stages as they are.
    stages = stages_of(run.model_entry.spec, run.model)
    assert torch.equal(outputs(stages[:length]), outputs(stages[:length]))
    assert not torch.equal(outputs(stages), outputs(stages))


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
        pytest.param({"feature_views": 2}, id="as many views as epochs"),
    ],
)
@pytest.mark.parametrize("freeze", [0.5, 1.0])
def test_cached_features_give_the_same_results(
    trained: Callable[..., Runner], weights: Path, cached: dict, freeze: float
) -> None:
    settings = {"weights": str(weights), "freeze": freeze, "epochs": 2, **cached}
    with_cache = trained(**settings)
    assert with_cache.run.sources.train.stage > 0
    assert with_cache.run.sources.evaluation.stage > 0
    without = trained(**{**settings, "feature_views": 0, "feature_cache": False})
    assert without.run.sources.train.stage == without.run.sources.evaluation.stage == 0
    expected = last_logits(without)
    assert np.ptp(expected) > 100 * TOLERANCE  # else the network would predict the same for all images
    np.testing.assert_allclose(last_logits(with_cache), expected, rtol=0, atol=TOLERANCE)
    assert with_cache.run.best.epoch == without.run.best.epoch


def test_with_augmentation_and_no_views_training_features_are_not_cached_and_a_note_says_so(
    trained: Callable[..., Runner],
) -> None:
    run = trained(freeze=0.5, epochs=1).run
    assert run.sources.train.stage == 0
    assert run.sources.evaluation.stage > 0
    (note,) = [note for note in run.notes if "frozen stages in every epoch" in note]
    assert "--feature-views" in note


def test_features_are_computed_once_and_reused_by_the_next_run(
    trained: Callable[..., Runner], tmp_path: Path
) -> None:
    trained(freeze=0.5, epochs=1, augment=False)
    files = sorted(path.name for path in (tmp_path / "cache" / "features").iterdir())
    assert len(files) == 2
    trained(freeze=0.5, epochs=2, augment=False, lr=0.5)
    assert sorted(path.name for path in (tmp_path / "cache" / "features").iterdir()) == files
    trained(freeze=0.5, epochs=1, augment=False, seed=7)  # other weights
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 4


@pytest.mark.slow
def test_b7_trains_for_two_steps_at_256_px(prepared: Callable[..., Runner]) -> None:
    runner = prepared(model="efficientnet-b7", image_size=256, batch_size=2)
    runner.build()
    run = runner.run
    assert sum(p.numel() for p in run.model.parameters() if p.requires_grad) == 52_564_657
    before = [p.detach().clone() for p in run.model.parameters()]
    run.epoch = 1
    runner.trainer.train_mode(run)
    loader = runner.loaders.training(1)
    losses = []
    for batch, _ in zip(loader, range(2), strict=False):
        assert batch.images.shape == (2, 3, 256, 256)
        run.batch_share = 1.0
        losses.append(float(runner.trainer.train_step(run, batch)["loss"]))
    assert all(np.isfinite(losses))
    same = [torch.equal(old, new) for old, new in zip(before, run.model.parameters(), strict=True)]
    assert all(same[:469])
    assert sum(same[469:]) == 0
