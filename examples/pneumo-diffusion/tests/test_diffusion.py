"""The mathematics of the diffusion, and classes of choice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pneumo_diffusion.model import build_unet
from pneumo_diffusion.schedule import Schedule
from pneumo_diffusion.settings import DiffusionSettings
from pneumo_diffusion.trainer import DiffusionTrainer, velocity
from torch import Tensor, nn

from pneumo_cli import UsageError
from pneumo_cli.testing import SMALL, TINY, empty_workplace, invoke, runner_of

SETTINGS = {"image_size": 32, "width": 8}


@given(st.sampled_from(["cosine", "linear"]), st.integers(10, 2000))
def test_image_and_noise_share_each_step_from_almost_image_to_almost_noise(kind: Any, steps: int) -> None:
    schedule = Schedule(kind, steps)
    assert torch.allclose(schedule.signal**2 + schedule.noise**2, torch.ones(steps), atol=1e-5)
    assert (schedule.signal.diff() <= 0).all()
    assert schedule.noise[0] < 0.4
    assert schedule.signal[-1] < 0.1


@given(st.integers(1, 60))
def test_sampling_begins_with_noise_and_ends_with_the_image(count: int) -> None:
    steps = Schedule("cosine", 50).sampling(count)
    assert len(steps) == min(count, 50)
    assert steps[0] == 49
    assert steps == sorted(set(steps), reverse=True)
    assert count == 1 or steps[-1] == 0


class Oracle(nn.Module):
    """Knows the image, and so predicts the velocity exactly."""

    def __init__(self, image: Tensor, schedule: Schedule) -> None:
        super().__init__()
        self.image, self.schedule = image, schedule
        self.register_parameter("none", nn.Parameter(torch.zeros(1)))

    def forward(self, noisy: Tensor, place: Tensor, label: Tensor | None = None) -> Tensor:
        step = (place * (len(self.schedule.signal) - 1)).round().long()
        signal, share = self.schedule.shares(step, noisy.device)
        return velocity(self.image, (noisy - signal * self.image) / share, signal, share)


@pytest.mark.parametrize("steps", [1, 5, 40])
@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_with_a_perfect_network_any_noise_becomes_the_image(kind: Any, steps: int) -> None:
    trainer = DiffusionTrainer(DiffusionSettings(schedule=kind, sampling_steps=steps, diffusion_steps=100))
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    found = trainer.from_noise(Oracle(image, trainer.schedule), noise)
    torch.testing.assert_close(found, image.expand(3, -1, -1, -1), rtol=1e-3, atol=2e-3)


def test_the_network_uses_step_and_class_and_an_unknown_class_is_any() -> None:
    torch.manual_seed(0)
    model = build_unet(classes=2, width=8).eval()
    nn.init.normal_(model.last[-1].weight)
    images = torch.randn(1, 1, 32, 32)
    one, two, other = (torch.tensor([value]) for value in (0, 1, 2))
    early, late = torch.tensor([0.1]), torch.tensor([0.9])
    with torch.no_grad():
        assert not torch.allclose(model(images, early, one), model(images, late, one))
        assert not torch.allclose(model(images, early, one), model(images, early, two))
        assert torch.equal(model(images, early, other), model(images, early))


@pytest.mark.parametrize(
    ("options", "said"), [({"size": 30}, "multiple of 8"), ({"width": 12}, "multiple of 8")]
)
def test_a_size_that_it_cannot_halve_is_refused(options: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build_unet(**options)


def test_images_of_a_class_are_generated_from_a_conditional_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = empty_workplace(tmp_path, tmp_path / "cache", monkeypatch)
    flags = (
        "--dataset", TINY.name, "--image-size", 32, "--width", 8, "--epochs", 6, "--batch-size", 8,
        "--images-of", "", "--sampling-steps", 4, "--fidelity-images", 0, "--guidance", 3, "--warmup", 5,
        "--no-report",
    )  # fmt: skip
    ended = invoke("run", "diffusion", *flags, suite_datasets=True)
    assert ended.code == 0, ended.stderr
    (run,) = (work / "runs").glob("*/*")
    images = {}
    for name in ("NORMAL", "PNEUMONIA"):
        made = invoke("generate", run, "-n", 8, "--class", name, "--out", name, suite_datasets=True)
        assert made.code == 0, made.stderr
        images[name] = [path.read_bytes() for path in sorted((work / name).glob("*.png"))]
    assert len(images["NORMAL"]) == 8
    assert not set(images["NORMAL"]) & set(images["PNEUMONIA"])
    unknown = invoke("generate", run, "-n", 1, "--class", "COVID", "--out", "none", suite_datasets=True)
    assert unknown.code == 2
    assert "generates no class 'COVID'" in unknown.stderr


def test_the_loss_of_an_epoch_is_that_of_the_same_noise_each_time(tmp_path: Path) -> None:
    runner = runner_of(
        "diffusion", dataset=TINY.name, image_size=32, width=8, batch_size=16, fidelity_images=0,
        output=tmp_path / "runs", cache=tmp_path / "cache", device="cpu", precision="fp32",
    )  # fmt: skip
    runner.build()
    losses = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        runner.run.model.eval()
        with torch.no_grad():
            loader = (
                runner.loaders.evaluation("validation") if hasattr(runner.loaders, "evaluation") else None
            )
            assert loader is not None
            losses.append(runner.trainer.evaluate(runner.run, loader).metrics["loss"])
    assert losses[0] == losses[1]
    assert np.isfinite(losses[0])


def test_a_run_of_one_class_averages_its_weights_compares_its_images_and_refuses_to_choose_a_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = empty_workplace(tmp_path, tmp_path / "cache", monkeypatch)
    flags = (
        "--dataset", SMALL.name, "--image-size", 32, "--width", 8, "--epochs", 1, "--batch-size", 32,
        "--sampling-steps", 2, "--fidelity-images", 16, "--extractor", "pixels",
    )  # fmt: skip
    ended = invoke("run", "diffusion", *flags, suite_datasets=True)
    assert ended.code == 0, ended.stderr
    (run,) = (work / "runs").glob("*/*")
    report = json.loads((run / "report.json").read_text())
    assert "kid_pixels" in report["summary"]["metrics"]
    assert len(list((run / "samples").glob("epoch-*.png"))) == 2
    made = invoke("generate", run, "-n", 1, "--class", "NORMAL", "--out", "none", suite_datasets=True)
    assert made.code == 2
    assert "not conditional on the class" in made.stderr
