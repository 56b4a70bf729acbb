"""Samples, reconstructions and interpolations of the trainer; initialisation and loss of the variational model."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pneumo_autoencoder.augmentation import augment
from pneumo_autoencoder.figures import summary_figures
from pneumo_autoencoder.model import VariationalAutoencoder, build_autoencoder, build_vae
from pneumo_autoencoder.reconstruction import Components
from pneumo_autoencoder.settings import AutoencoderSettings
from pneumo_autoencoder.trainer import AutoencoderTrainer
from pneumo_cli.data.loader import Batch


def waves(n: int, size: int = 32) -> Tensor:
    """Gray images in an eight-dimensional space: uint8 [n, S, S]."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size * np.pi
    basis = np.stack([np.cos(i * x) * np.cos(j * y) for i in range(1, 5) for j in range(2)])
    levels = 128 + np.tensordot(generator.normal(0, 10, (n, 8)), basis, 1)
    return torch.from_numpy(levels.clip(0, 255).round().astype(np.uint8))


def small_vae(channels: int = 1, latent: int = 8) -> VariationalAutoencoder:
    """Initialised with the principal components of 40 waves."""
    torch.manual_seed(0)
    return initialised(build_vae(channels, 32, latent, 4).eval(), Components(waves(40), latent, seed=0))


def initialised(model: VariationalAutoencoder, pca: Components) -> VariationalAutoencoder:
    model.begin_with_components(pca.mean, pca.axes, pca.variances, max(pca.rest, 1e-6))
    return model


def trainer(**settings: Any) -> AutoencoderTrainer:
    return AutoencoderTrainer(AutoencoderSettings(**{"channels": 1, "image_size": 32, **settings}))


def run_of(model: nn.Module, **more: Any) -> Any:
    device = SimpleNamespace(torch=torch.device("cpu"), fused=False)
    return SimpleNamespace(model=model, settings=AutoencoderSettings(), device=device, **more)


def test_only_a_variational_model_generates_images() -> None:
    assert trainer().can_sample(small_vae())
    assert not trainer().can_sample(build_autoencoder(1, 32))


def test_a_sample_depends_on_its_seed_and_index_only() -> None:
    model = small_vae()
    nn.init.normal_(model.decoder.get_submodule("convolutional")[-2].weight)
    many = trainer().sample(model, 3, np.arange(5))
    assert many.shape == (5, 32, 32)
    assert many.dtype == torch.uint8
    assert torch.equal(trainer().sample(model, 3, np.array([4, 2])), many[[4, 2]])
    assert not torch.equal(trainer().sample(model, 4, np.arange(5)), many)
    assert not torch.equal(many[0], many[1])


@pytest.mark.parametrize("model", [small_vae(), build_autoencoder(1, 32)], ids=["vae", "autoencoder"])
def test_an_interpolation_goes_from_one_reconstruction_to_the_other(model: nn.Module) -> None:
    model.eval()
    first, last = trainer().from_gray_levels(waves(2)).split(1)
    with torch.no_grad():
        images = trainer().interpolate(model, first, last, 5)
        ends = torch.cat([trainer().reconstruct(model, first), trainer().reconstruct(model, last)])
    assert images.shape == (5, 1, 32, 32)
    assert torch.allclose(images[[0, -1]], ends, atol=1e-5)
    assert not torch.allclose(images[2], images[0], atol=1e-4)


def test_three_channels_are_averaged_to_a_gray_reconstruction() -> None:
    model = small_vae(channels=3)
    gray = trainer(channels=3)._reconstruct_gray(model, torch.rand(2, 1, 32, 32))
    assert gray.shape == (2, 1, 32, 32)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_untrained_vae_is_as_good_as_principal_components(channels: int) -> None:
    levels = waves(40)
    components = Components(levels, 5, seed=0)
    model = small_vae(channels, latent=5)
    inputs = trainer(channels=channels).from_gray_levels(levels)
    with torch.no_grad():
        outputs, encoded = model(inputs), model.encode(inputs)
    linear = components(inputs[:, :1])
    error = (outputs - inputs).square().mean()
    assert error < 1.02 * (linear - inputs[:, :1]).square().mean()
    # Over the images the latent is nearly standard normal: the prior that samples come from.
    assert encoded.mean(0).abs().max() < 0.01
    assert encoded.std(0).numpy() == pytest.approx(np.ones(5), abs=0.1)


def test_latent_dimensions_beyond_the_components_are_zero_at_first() -> None:
    components = Components(waves(4), 8, seed=0)
    model = initialised(small_vae(latent=8), components)
    mean, log_variance = model.posterior(trainer().from_gray_levels(waves(4)))
    assert components.count == 3
    assert not mean[:, 3:].any()
    assert not log_variance[:, 3:].any()


def test_linear_paths_learn_fifty_times_more_slowly_than_the_rest() -> None:
    model = small_vae()
    vae_trainer = trainer(lr=0.01)
    optimizer = vae_trainer.build_optimizers(run_of(model))["main"]
    before = {name: value.clone() for name, value in model.named_parameters()}
    vae_trainer.train_step(run_of(model.train(), optimize=Tensor.backward), batch_of_waves())
    optimizer.step()
    changes = {
        name: float((value.detach() - before[name].detach()).abs().max())
        for name, value in model.named_parameters()
    }
    last = [name for name in changes if name.startswith("decoder.convolutional")][-1]
    # Adam's first step has the length of the learning rate wherever there is a gradient.
    assert changes["decoder.linear.0.bias"] == pytest.approx(0.0002, rel=0.05)
    assert changes[last] == pytest.approx(0.01, rel=0.05)


def batch_of_waves() -> Batch:
    return Batch(trainer().from_gray_levels(waves(4)), torch.zeros(4), torch.arange(4))


def test_each_training_image_is_augmented_independently_and_stays_in_range() -> None:
    images = trainer().from_gray_levels(waves(1)).repeat(3, 1, 1, 1)
    assert augment(images, 0, 0, 0) is images
    torch.manual_seed(0)
    changed = augment(images, 0.1, 0.1, 0.2)
    assert changed.shape == images.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not torch.equal(changed[0], changed[1])
    # No black at the borders: nothing is darker than the darkest pixel of the image at 80 % brightness.
    assert changed.min() > 0.79 * images.min()


def test_the_shift_is_bounded_by_its_setting() -> None:
    ramps = torch.linspace(0, 1, 32).expand(200, 1, 32, 32)
    torch.manual_seed(0)
    shifts = (augment(ramps, 0.25, 0, 0) - ramps)[:, 0, 16, 16] * 31
    assert shifts.abs().max() <= 8.01
    assert shifts.min() < -7
    assert shifts.max() > 7


def test_the_target_is_the_augmented_image() -> None:
    """The identity has no error, however much the images are augmented."""

    class Identity(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images

    run = run_of(Identity(), optimize=lambda loss: None)
    assert trainer(shift=0.2, zoom=0.2, brightness=0.5).train_step(run, batch_of_waves())["loss"] == 0


def test_the_divergence_is_that_of_posterior_and_prior() -> None:
    model = small_vae()
    nn.init.normal_(model.encoder.get_submodule("linear")[1].bias, std=0.5)
    inputs = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        mean, log_variance = model.posterior(inputs)
        _, divergence = model.training_forward(inputs)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(posterior, prior).sum(1)
    assert torch.allclose(divergence, expected, rtol=1e-4)
    assert divergence.shape == (2,)


def test_the_loss_is_the_squared_error_or_the_negative_elbo_of_a_variational_model() -> None:
    losses: list[Tensor] = []
    batch = batch_of_waves()
    plain = trainer().train_step(run_of(build_autoencoder(1, 32), optimize=losses.append), batch)
    assert plain["loss"] == plain["mse"]
    elbo = trainer(beta=2.0).train_step(run_of(small_vae(), optimize=losses.append), batch)
    expected = math.log(elbo["mse"] + 1 / 12 / 255**2) / 2 + 2 * elbo["divergence"] / 1024
    assert float(elbo["loss"]) == pytest.approx(float(expected), rel=1e-5)
    assert [loss.requires_grad for loss in losses] == [True, True]
    assert not any(value.requires_grad for value in (*plain.values(), *elbo.values()))


def test_every_figure_of_the_evaluation_is_drawn() -> None:
    run = run_of(small_vae())
    with torch.no_grad():
        figures = summary_figures(trainer(), run, waves(3), "test")  # fewer than are shown
    assert [figure.name for figure in figures] == ["reconstructions", "interpolations", "drawn"]
    assert [figure.group for figure in figures] == ["opening", "summary", "summary"]
    assert figures[0].caption.startswith("Nine test images above their reconstructions")
    assert all(figure.draw().axes for figure in figures)
    run.model = build_autoencoder(1, 32)
    with torch.no_grad():
        assert [figure.name for figure in summary_figures(trainer(), run, waves(3), "test")] == [
            "reconstructions",
            "interpolations",
        ]


def test_a_dead_channel_is_reported() -> None:
    model = build_autoencoder(3, 32)
    last: Any = model.decoder[-2]
    nn.init.constant_(last.bias, 0.5)
    three = trainer(channels=3)
    with torch.no_grad():
        assert three._dead_channels(run_of(model), waves(3)) == ()
        last.bias[1] = -100
        (note,) = three._dead_channels(run_of(model), waves(3))
    assert note.startswith("1 of 3 channels")
