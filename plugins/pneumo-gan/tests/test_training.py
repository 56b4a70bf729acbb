"""The report's training step, the choice of the checkpoint, and the output of finished and of resumed runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pneumo_cli.data.loader import Batch
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.testing import installed_plugins
from pneumo_cli.trainers.session import open_dataset
from pneumo_gan.augmentation import discriminator_augmentation
from pneumo_gan.model import build_gan
from pneumo_gan.settings import GanSettings
from pneumo_gan.trainer import _REPORT_UPDATES, GanTrainer

COUNT = 6


class Step:
    """One training step of small networks without a run; records what each of its two updates changes."""

    def __init__(self, **settings: Any) -> None:
        self.trainer = GanTrainer(GanSettings(z_dim=5, width=4, image_size=16, **settings))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model = build_gan(size=16, z_dim=5, width=4)
        self.model.discriminator.eval()  # no dropout, so that the test can compute the same
        device = SimpleNamespace(torch=torch.device("cpu"), fused=False)
        self.run: Any = SimpleNamespace(model=self.model, device=device, step=0, optimize=self._optimize)
        self.run.optimizers = self.trainer.build_optimizers(self.run)
        self.updates: list[tuple[str, set[str]]] = []
        self.losses: list[float] = []
        images = torch.rand(COUNT, 1, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
        self.batch = Batch(images, torch.ones(COUNT), torch.arange(COUNT))

    def _optimize(self, loss: Tensor, name: str) -> None:
        before = {key: value.clone() for key, value in self.model.state_dict().items()}
        optimizer = self.run.optimizers[name]
        optimizer.zero_grad()
        loss.backward(inputs=[p for group in optimizer.param_groups for p in group["params"]])
        optimizer.step()
        after = self.model.state_dict()
        self.updates.append((name, {key for key in after if not torch.equal(after[key], before[key])}))
        self.losses.append(float(loss.detach()))

    def __call__(self) -> dict[str, float]:
        with torch.random.fork_rng():
            torch.manual_seed(2)
            metrics = self.trainer.train_step(self.run, self.batch)
        assert not any(value.requires_grad for value in metrics.values())
        return {name: float(value) for name, value in metrics.items()}


def keys(model: nn.Module, part: str) -> set[str]:
    return {name for name in model.state_dict() if name.startswith(f"{part}.")}


# --- the step --------------------------------------------------------------------------------------------------


def test_a_step_updates_the_discriminator_alone_and_then_the_generator_alone() -> None:
    step = Step()
    step()
    assert [name for name, _ in step.updates] == ["discriminator", "generator"]
    for name, changed in step.updates:
        assert changed == keys(step.model, name)  # all of its parameters and none of the other's


def test_the_losses_are_the_reports_binary_cross_entropies() -> None:
    step, other = Step(), Step()
    metrics = step()
    # As in the report, with a sigmoid and BCELoss, on the noise that torch samples next.
    bce, ones, zeros = nn.BCELoss(), torch.ones(COUNT), torch.zeros(COUNT)
    generator, discriminator = other.model.generator, other.model.discriminator
    with torch.random.fork_rng():
        torch.manual_seed(2)
        first, second = torch.randn(COUNT, 5), torch.randn(COUNT, 5)
    real = discriminator(other.batch.images).sigmoid()
    fake = discriminator(generator(first)).sigmoid()
    loss = bce(real, ones) + bce(fake, zeros)
    assert metrics["discriminator_loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    assert metrics["real_score"] == pytest.approx(float(real.detach().mean()), rel=1e-5)
    assert metrics["fake_score"] == pytest.approx(float(fake.detach().mean()), rel=1e-5)
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-4)
    loss.backward()
    optimizer.step()
    # Fresh noise, and the updated discriminator.
    generator_loss = bce(discriminator(generator(second)).sigmoid(), ones)
    assert metrics["generator_loss"] == pytest.approx(float(generator_loss.detach()), rel=1e-5)
    assert step.losses == pytest.approx([metrics["discriminator_loss"], metrics["generator_loss"]])
    for name, value in discriminator.state_dict().items():
        torch.testing.assert_close(step.model.discriminator.state_dict()[name], value, rtol=1e-4, atol=1e-7)


def test_losses_of_a_certain_discriminator_stay_finite() -> None:
    """After a sigmoid in half precision BCELoss would be infinite or clamped."""
    step = Step()
    nn.init.constant_(step.model.discriminator[-2].bias, -500.0)
    metrics = step()
    assert metrics["generator_loss"] == pytest.approx(500, rel=0.01)
    assert all(np.isfinite(value) for value in metrics.values())


def test_each_network_has_an_adam_optimizer_with_its_learning_rate() -> None:
    step = Step(lr=0.002, lr_ratio=3.0, beta1=0.5, beta2=0.99)
    optimizers = step.run.optimizers
    assert all(isinstance(optimizer, torch.optim.Adam) for optimizer in optimizers.values())
    groups = {name: optimizer.param_groups[0] for name, optimizer in optimizers.items()}
    assert {name: (group["lr"], group["betas"]) for name, group in groups.items()} == {
        "generator": (0.002, (0.5, 0.99)),
        "discriminator": (pytest.approx(0.006), (0.5, 0.99)),
    }


def test_a_lazy_r1_penalty_is_added_every_k_steps_with_k_times_the_weight() -> None:
    plain, every, lazy = Step(), Step(r1=2.0), Step(r1=2.0, r1_every=4)
    lazy.run.step = 3
    for step in (plain, every, lazy):
        step()
    assert lazy.losses[0] == plain.losses[0]
    lazy = Step(r1=2.0, r1_every=4)
    lazy.run.step = 8
    lazy()
    penalty = every.losses[0] - plain.losses[0]
    assert lazy.losses[0] - plain.losses[0] == pytest.approx(4 * penalty, rel=1e-4)


def test_the_r1_penalty_is_the_squared_gradient_at_real_images_and_not_in_the_reported_loss() -> None:
    plain, penalised, twice = Step(), Step(r1=8.0), Step(r1=16.0)
    reported, with_penalty, _ = plain(), penalised(), twice()
    assert with_penalty["discriminator_loss"] == reported["discriminator_loss"]
    assert reported["discriminator_loss"] == pytest.approx(plain.losses[0])
    images = plain.batch.images.clone().requires_grad_()
    logits = Step().model.discriminator(images)
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    expected = float(gradient.square().sum((1, 2, 3)).mean())
    assert penalised.losses[0] - plain.losses[0] == pytest.approx(4 * expected, rel=1e-2)
    assert twice.losses[0] - plain.losses[0] == pytest.approx(8 * expected, rel=1e-2)


# --- discriminator augmentation --------------------------------------------------------------------------------


def test_each_image_is_translated_independently_and_borders_are_replicated() -> None:
    ramp = torch.arange(16.0).expand(40, 1, 16, 16) / 16
    torch.manual_seed(0)
    shifted = discriminator_augmentation(ramp, translate=0.25, brighten=0)
    steps = {int(image[0, 0, 8] * 16) - 8 for image in shifted}
    assert steps <= set(range(-4, 5))
    assert len(steps) > 4
    for image in shifted:
        by = int(image[0, 0, 8] * 16) - 8
        assert torch.equal(image[0, 0], (torch.arange(16.0) + by).clamp(0, 15) / 16)


def test_brightness_and_contrast_change_within_bounds_and_are_differentiable() -> None:
    images = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(3)).requires_grad_()
    torch.manual_seed(0)
    changed = discriminator_augmentation(images, translate=0.1, brighten=0)
    assert torch.autograd.grad(changed.sum(), images)[0].any()
    changed = discriminator_augmentation(images, translate=0, brighten=0.2)
    offset = (changed.mean((1, 2, 3)) - images.mean((1, 2, 3))).detach()
    factor = (changed.std((1, 2, 3)) / images.std((1, 2, 3))).detach()
    assert 0.15 < offset.abs().max() <= 0.2 + 1e-5
    assert 0.15 < (factor - 1).abs().max() <= 0.2 + 1e-4
    assert discriminator_augmentation(images, 0, 0) is images


# --- the choice of the checkpoint ------------------------------------------------------------------------------


def test_by_default_the_last_epoch_is_kept(ended_after: Callable[..., Any]) -> None:
    run = ended_after(3, epochs=3, fidelity_images=0).run
    best, last = (Checkpoints(run.folder.checkpoints).load(name) for name in ("best", "last"))
    assert best["epoch"] == last["epoch"] == 3
    assert all(torch.equal(value, last["model"][name]) for name, value in best["model"].items())


def test_keep_generator_loss_selects_the_smallest_as_the_report_does(ended_after: Callable[..., Any]) -> None:
    run = ended_after(3, epochs=3, fidelity_images=0, keep="generator_loss", lr=0.01).run
    losses = [row["train"]["generator_loss"] for row in run.history[1:]]
    assert min(losses) < losses[-1]  # else the test would say little
    best = Checkpoints(run.folder.checkpoints).load("best")
    assert (best["epoch"], best["value"]) == (1 + losses.index(min(losses)), min(losses))


def test_keep_kid_selects_the_smallest_kid_to_validation_images(
    ended_after: Callable[..., Any],
) -> None:
    runner = ended_after(3, epochs=3, fidelity_images=0, keep="kid", split="patient", batch_size=8, lr=0.01)
    run = runner.run
    kids = [row["validation"]["kid"] for row in run.history[1:]]
    best = Checkpoints(run.folder.checkpoints).load("best")
    assert (best["epoch"], best["value"]) == (1 + kids.index(min(kids)), min(kids))
    assert len(set(kids)) == 3
    assert "kid" in run.history[0]["train"]  # of the untrained networks
    assert runner.trainer.summarize(run, {}).tables == ()  # no images for the report


# --- the output of a run ---------------------------------------------------------------------------------------


def rows(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    timed = ("seconds", "images_per_second")
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in lines]


def grids(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "samples").glob("epoch-*.png"))}


def test_the_grid_of_every_epoch_shows_samples_of_the_same_noise(finished: Path) -> None:
    files = grids(finished)
    assert list(files) == ["epoch-000.png", "epoch-001.png", "epoch-002.png"]
    images = [np.asarray(Image.open(finished / "samples" / name)).astype(float) for name in files]
    side = 4 * 3 * 32 + 3 * 2
    assert {image.shape for image in images} == {(side, side)}
    # Samples of one noise after two epochs differ less than samples of two noises: the networks hardly changed.
    step = 3 * 32 + 2
    others = [np.abs(p[: step - 2, : step - 2] - p[: step - 2, step : 2 * step - 2]).mean() for p in images]
    moved = np.abs(images[0] - images[1]).mean()
    assert 0 < moved < min(others)


def test_the_animation_has_a_frame_for_every_epoch(finished: Path) -> None:
    with Image.open(finished / "samples" / "animation.png") as animation:
        assert animation.is_animated
        assert animation.n_frames == 3
        animation.seek(2)
        last = np.asarray(animation.convert("L"))
    assert np.array_equal(last, np.asarray(Image.open(finished / "samples" / "epoch-002.png")))


def test_the_report_evaluates_and_shows_the_images(finished: Path) -> None:
    report = json.loads((finished / "report.json").read_text())
    summary = report["summary"]
    assert {"kid_pixels", "kid_spread_pixels", "frechet_pixels", "kid_noise_pixels", "copies"} <= summary[
        "metrics"
    ].keys()
    assert summary["metrics"]["kid_real_pixels"] < summary["metrics"]["kid_noise_pixels"]
    titles = [table["title"] for table in summary["tables"]]
    assert titles == ["Distance to real images of held-out patients", "Memorization and diversity"]
    losses = [row["train"]["generator_loss"] for row in report["history"][1:]]
    smallest = 1 + losses.index(min(losses))
    named = [note for note in summary["notes"] if "smallest generator loss" in note]
    assert [f"would name epoch {smallest}, " in note for note in named] == [True] * (smallest != 2)
    assert "The discriminator's dropout follows the source report's text" in summary["notes"][-1]
    html, markdown = ((finished / f"report.{kind}").read_text() for kind in ("html", "md"))
    for text in (html, markdown):
        for title in titles:
            assert title in text
        assert "Pixel Gaussian" in text
    for name in ("losses", "closest-pairs", "neighbour-distances"):
        assert (finished / "figures" / f"{name}.png").is_file()
    assert "samples/animation.png" in markdown


def test_the_report_opens_with_real_above_generated_images_and_shows_no_curve_twice(finished: Path) -> None:
    report = json.loads((finished / "report.json").read_text())
    groups = {figure["file"]: figure for figure in report["figures"]}
    opening = groups["figures/real-and-generated.png"]
    assert opening["group"] == "opening"
    assert opening["caption"].startswith(
        "Eight real test images of PNEUMONIA, and below them eight generated"
    )
    assert report["summary"]["verdict"].startswith("By KID the generated images are ")
    assert opening["alternative"].endswith(report["summary"]["verdict"])
    # Losses and scores have axes of their own; the learning rate is constant.
    shown = [file for file, figure in groups.items() if figure["group"] == "training" and "figures/" in file]
    assert shown == ["figures/losses.png", "figures/scores.png"]
    page = (finished / "report.html").read_text()
    assert "The learning rate was 0.0001 in all epochs." in page
    assert "augmented" not in "".join(figure["caption"] for figure in report["figures"])


def test_the_layers_of_both_networks_are_in_the_report(finished: Path) -> None:
    model = json.loads((finished / "report.json").read_text())["model"]
    layers = model["layers"]
    assert layers["input_shape"] == [100]
    assert sum(row["parameters"] for row in layers["rows"]) == model["parameters"] == model["trainable"]


def test_a_run_that_was_too_short_says_so_and_what_to_do(finished: Path) -> None:
    summary = json.loads((finished / "report.json").read_text())["summary"]
    (warning,) = summary["warnings"]
    assert summary["notes"][0] == warning
    assert warning.startswith("The generated images ")
    assert warning.endswith(
        "Each network had 6 updates, and 7,800 in the source report: resume the run with --epochs 2600."
    )


def test_the_default_dataset_gives_as_many_updates_per_epoch_as_the_reports(work: Path) -> None:
    plugins = installed_plugins()
    resolved = resolve(plugins, plugins.trainers.get("gan"), {}, environ={})
    data = open_dataset(
        resolved.registered(plugins.datasets), resolved.machine, Progress(), options=resolved.options
    )
    images = sum(record.pool == "train" and record.label == 1 for record in data.records)
    assert -(-images // resolved.trainer.batch_size) == 39
    assert 39 * resolved.trainer.epochs == _REPORT_UPDATES


def test_a_row_of_metrics_has_both_losses_and_mean_scores_and_no_sum(finished: Path) -> None:
    names = {"generator_loss", "discriminator_loss", "real_score", "fake_score"}
    history = rows(finished)
    assert [row["epoch"] for row in history] == [0, 1, 2]
    for row in history:
        assert row["train"].keys() == names
        assert row["validation"] == {}  # split 'all', as in the report


def test_an_interrupted_and_resumed_run_has_the_same_output(finished: Path, resumed: Path) -> None:
    assert rows(resumed) == rows(finished)
    assert grids(resumed) == grids(finished)
    for name in ("samples/animation.png", "predictions/test.csv"):
        assert (resumed / name).read_bytes() == (finished / name).read_bytes()
    one, other = (json.loads((run / "report.json").read_text()) for run in (finished, resumed))
    assert one["summary"] == other["summary"]
    assert one["evaluations"] == other["evaluations"]
    assert other["run"]["resumed"] == 1


def test_another_seed_gives_other_grids(finished: Path, ended_after: Callable[..., Any]) -> None:
    run = ended_after(1, epochs=1, fidelity_images=0, seed=7).run
    other = grids(run.folder.path)
    assert other["epoch-000.png"] != grids(finished)["epoch-000.png"]
