"""The report's step, what chooses the checkpoint, and what a run leaves behind; also when it was interrupted."""

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
from pneumo_gan.augmentation import discriminator_augmentation
from pneumo_gan.model import build_gan
from pneumo_gan.settings import GanSettings
from pneumo_gan.trainer import GanTrainer

COUNT = 6


class Step:
    """One training step of small networks outside any run, with what each of its two updates changed."""

    def __init__(self, **settings: Any) -> None:
        self.trainer = GanTrainer(GanSettings(z_dim=5, width=4, image_size=16, **settings))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model = build_gan(size=16, z_dim=5, width=4)
        self.model.discriminator.eval()  # without dropout, so that it can be followed by hand
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


def test_a_step_updates_first_the_discriminator_alone_and_then_the_generator_alone() -> None:
    step = Step()
    step()
    assert [name for name, _ in step.updates] == ["discriminator", "generator"]
    for name, changed in step.updates:
        assert changed == keys(step.model, name)  # all of its parameters, and none of the other's


def test_the_losses_are_the_report_s_binary_cross_entropies() -> None:
    step, other = Step(), Step()
    metrics = step()
    # By hand, with a sigmoid and BCELoss as the report has them; the noise is what torch draws next.
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
    generator_loss = bce(
        discriminator(generator(second)).sigmoid(), ones
    )  # fresh noise, updated discriminator
    assert metrics["generator_loss"] == pytest.approx(float(generator_loss.detach()), rel=1e-5)
    assert step.losses == pytest.approx([metrics["discriminator_loss"], metrics["generator_loss"]])
    for name, value in discriminator.state_dict().items():
        torch.testing.assert_close(step.model.discriminator.state_dict()[name], value, rtol=1e-4, atol=1e-7)


def test_losses_of_a_certain_discriminator_stay_finite() -> None:
    """Behind a sigmoid in half precision BCELoss would be infinite, or clamped."""
    step = Step()
    nn.init.constant_(step.model.discriminator[-2].bias, -500.0)
    metrics = step()
    assert metrics["generator_loss"] == pytest.approx(500, rel=0.01)
    assert all(np.isfinite(value) for value in metrics.values())


def test_the_optimizers_are_two_adams_with_rates_of_their_own() -> None:
    step = Step(lr=0.002, lr_ratio=3.0, beta1=0.5, beta2=0.99)
    found = {
        name: (type(one), one.param_groups[0]["lr"], one.param_groups[0]["betas"])
        for name, one in step.run.optimizers.items()
    }
    assert found == {
        "generator": (torch.optim.Adam, 0.002, (0.5, 0.99)),
        "discriminator": (torch.optim.Adam, pytest.approx(0.006), (0.5, 0.99)),
    }


def test_a_lazy_penalty_comes_every_so_many_steps_and_is_as_many_times_as_heavy() -> None:
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


def test_the_penalty_is_the_squared_gradient_at_real_images_and_no_part_of_the_loss_that_is_shown() -> None:
    plain, penalised, twice = Step(), Step(r1=8.0), Step(r1=16.0)
    shown, beside, _ = plain(), penalised(), twice()
    assert beside["discriminator_loss"] == shown["discriminator_loss"] == pytest.approx(plain.losses[0])
    images = plain.batch.images.clone().requires_grad_()
    logits = Step().model.discriminator(images)
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    by_hand = float(gradient.square().sum((1, 2, 3)).mean())
    assert penalised.losses[0] - plain.losses[0] == pytest.approx(4 * by_hand, rel=1e-2)
    assert twice.losses[0] - plain.losses[0] == pytest.approx(8 * by_hand, rel=1e-2)


# --- what the discriminator sees -------------------------------------------------------------------------------


def test_every_image_is_shifted_by_itself_and_the_edge_repeated() -> None:
    line = torch.arange(16.0).expand(40, 1, 16, 16) / 16
    torch.manual_seed(0)
    shifted = discriminator_augmentation(line, translate=0.25, brighten=0)
    steps = {int(image[0, 0, 8] * 16) - 8 for image in shifted}
    assert steps <= set(range(-4, 5))
    assert len(steps) > 4
    for image in shifted:
        by = int(image[0, 0, 8] * 16) - 8
        assert torch.equal(image[0, 0], (torch.arange(16.0) + by).clamp(0, 15) / 16)


def test_brightness_and_contrast_change_within_their_bounds_and_let_gradients_through() -> None:
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


# --- what chooses the checkpoint -------------------------------------------------------------------------------


def test_the_last_epoch_is_kept_unless_something_else_is_asked_for(ended_after: Callable[..., Any]) -> None:
    run = ended_after(3, epochs=3, fidelity_images=0).run
    best, last = (Checkpoints(run.folder.checkpoints).load(name) for name in ("best", "last"))
    assert best["epoch"] == last["epoch"] == 3
    assert all(torch.equal(value, last["model"][name]) for name, value in best["model"].items())


def test_the_smallest_generator_loss_chooses_as_the_report_does(ended_after: Callable[..., Any]) -> None:
    run = ended_after(3, epochs=3, fidelity_images=0, keep="generator_loss", lr=0.01).run
    losses = [row["train"]["generator_loss"] for row in run.history[1:]]
    assert min(losses) < losses[-1]  # or this would say little
    best = Checkpoints(run.folder.checkpoints).load("best")
    assert (best["epoch"], best["value"]) == (1 + losses.index(min(losses)), min(losses))


def test_the_distance_to_validation_images_chooses_where_it_is_asked_for(
    ended_after: Callable[..., Any],
) -> None:
    run = ended_after(3, epochs=3, fidelity_images=0, keep="kid", split="patient", batch_size=8, lr=0.01).run
    distances = [row["validation"]["kid"] for row in run.history[1:]]
    best = Checkpoints(run.folder.checkpoints).load("best")
    assert (best["epoch"], best["value"]) == (1 + distances.index(min(distances)), min(distances))
    assert len(set(distances)) == 3
    assert "kid" in run.history[0]["train"]  # of the untrained networks, to start from


# --- what is left behind ---------------------------------------------------------------------------------------


def rows(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    timed = ("seconds", "images_per_second")
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in lines]


def grids(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "samples").glob("epoch-*.png"))}


def test_every_epoch_s_grid_shows_the_same_sixteen_noises(finished: Path) -> None:
    found = grids(finished)
    assert list(found) == ["epoch-000.png", "epoch-001.png", "epoch-002.png"]
    pictures = [np.asarray(Image.open(finished / "samples" / name)).astype(float) for name in found]
    side = 4 * 3 * 32 + 3 * 2
    assert {picture.shape for picture in pictures} == {(side, side)}
    # Two epochs of one noise are nearer to each other than two noises of one epoch: the networks hardly moved.
    step = 3 * 32 + 2
    others = [np.abs(p[: step - 2, : step - 2] - p[: step - 2, step : 2 * step - 2]).mean() for p in pictures]
    moved = np.abs(pictures[0] - pictures[1]).mean()
    assert 0 < moved < min(others)


def test_the_animation_has_a_frame_for_every_epoch(finished: Path) -> None:
    with Image.open(finished / "samples" / "animation.png") as animation:
        assert animation.is_animated
        assert animation.n_frames == 3
        animation.seek(2)
        last = np.asarray(animation.convert("L"))
    assert np.array_equal(last, np.asarray(Image.open(finished / "samples" / "epoch-002.png")))


def test_the_report_judges_the_images_and_shows_them(finished: Path) -> None:
    report = json.loads((finished / "report.json").read_text())
    judgement = report["summary"]
    assert {"kid_pixels", "kid_spread_pixels", "frechet_pixels", "kid_noise_pixels", "copies"} <= judgement[
        "metrics"
    ].keys()
    assert judgement["metrics"]["kid_real_pixels"] < judgement["metrics"]["kid_noise_pixels"]
    titles = [table["title"] for table in judgement["tables"]]
    assert titles == ["Distance to real images of held-out patients", "Memorization and diversity"]
    losses = [row["train"]["generator_loss"] for row in report["history"][1:]]
    assert (
        f"smallest mean generator loss: here epoch {1 + losses.index(min(losses))} " in judgement["notes"][-1]
    )
    html, markdown = ((finished / f"report.{kind}").read_text() for kind in ("html", "md"))
    for text in (html, markdown):
        for title in titles:
            assert title in text
        assert "Pixel Gaussian" in text
    for name in ("losses", "closest-pairs", "neighbour-distances"):
        assert (finished / "figures" / f"{name}.png").is_file()
    assert "samples/animation.png" in markdown


def test_a_row_of_metrics_has_both_losses_and_nothing_that_is_of_no_use(finished: Path) -> None:
    names = {"generator_loss", "discriminator_loss", "real_score", "fake_score"}
    history = rows(finished)
    assert [row["epoch"] for row in history] == [0, 1, 2]
    for row in history:
        assert row["train"].keys() == names
        assert row["validation"] == {}  # the report keeps none apart


def test_a_run_that_died_and_was_taken_up_again_leaves_the_same_behind(finished: Path, resumed: Path) -> None:
    assert rows(resumed) == rows(finished)
    assert grids(resumed) == grids(finished)
    for name in ("samples/animation.png", "predictions/test.csv"):
        assert (resumed / name).read_bytes() == (finished / name).read_bytes()
    one, other = (json.loads((run / "report.json").read_text()) for run in (finished, resumed))
    assert one["summary"] == other["summary"]
    assert one["evaluations"] == other["evaluations"]
    assert other["run"]["resumed"] == 1


def test_another_seed_draws_other_grids(finished: Path, ended_after: Callable[..., Any]) -> None:
    run = ended_after(1, epochs=1, fidelity_images=0, seed=7).run
    other = grids(run.folder.path)
    assert other["epoch-000.png"] != grids(finished)["epoch-000.png"]
