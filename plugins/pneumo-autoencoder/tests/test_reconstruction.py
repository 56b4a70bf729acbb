"""Evaluation of reconstructions: the baselines are what they claim to be, and known results are measured."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from pneumo_autoencoder.reconstruction import (
    HIGHEST_PSNR,
    Bicubic,
    Components,
    MeanImage,
    Reconstruction,
    anomaly_auc,
    evaluate_reconstruction,
    image_quality,
    quality,
)
from pneumo_cli.runtime.progress import Progress

SIDE = 16
CPU = torch.device("cpu")


def smooth(n: int, seed: int) -> Tensor:
    """Sums of 16 long waves: uint8 [n, 16, 16]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE * np.pi
    waves = np.stack([np.cos(i * x) * np.cos(j * y) for i in range(4) for j in range(4)])
    levels = 128 + np.tensordot(rng.normal(0, 12, (n, 16)), waves, 1)
    return torch.from_numpy(levels.clip(0, 255).round().astype(np.uint8))


def noise(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, SIDE, SIDE), generator=generator, dtype=torch.uint8)


def scaled(images: Tensor) -> Tensor:
    """Gray levels as float32 [n, 1, S, S] in [0, 1]."""
    return images.unsqueeze(1).float() / 255


def task(reconstruct: Callable[[Tensor], Tensor], latent: int = 16) -> Reconstruction:
    return Reconstruction(
        reconstruct=reconstruct,
        latent_values=latent,
        image_values=SIDE * SIDE,
        training=smooth(60, 0),
        splits={"validation": smooth(20, 1), "test": smooth(20, 2)},
        others={"validation": noise(10, 3), "test": noise(10, 4)},
        only_class="PNEUMONIA",
        other_classes="NORMAL",
        device=CPU,
        seed=0,
    )


@pytest.fixture(scope="module")
def training() -> Tensor:
    return smooth(60, 0)


def test_components_reconstruct_as_those_of_scikit_learn(training: Tensor) -> None:
    flat = scaled(training).flatten(1).numpy()
    reference = PCA(8, svd_solver="full").fit(flat)
    unseen = scaled(smooth(10, 1))
    expected = reference.inverse_transform(reference.transform(unseen.flatten(1).numpy()))
    components = Components(training, 8, seed=0)
    assert (components.count, components.fitted) == (8, 60)
    np.testing.assert_allclose(components(unseen).flatten(1).numpy(), expected, atol=2e-5)


def test_there_are_fewer_components_than_images_and_all_of_them_reconstruct_training(
    training: Tensor,
) -> None:
    components = Components(training[:5], 1000, seed=0)
    assert components.count == 4
    assert torch.allclose(components(scaled(training[:5])), scaled(training[:5]), atol=1e-4)


def test_equal_images_are_reconstructed_as_their_mean() -> None:
    equal = torch.full((4, SIDE, SIDE), 77, dtype=torch.uint8)
    components = Components(equal, 3, seed=0)
    assert torch.isfinite(components(scaled(noise(2, 0)))).all()
    assert torch.allclose(components(scaled(equal)), scaled(equal), atol=1e-5)


def test_the_seed_selects_images_if_there_are_more_than_memory_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pneumo_autoencoder.reconstruction._MAX_FITTED", 20)
    images, unseen = smooth(60, 0), scaled(smooth(5, 1))
    one, same, other = (Components(images, 8, seed)(unseen) for seed in (0, 0, 1))
    assert Components(images, 8, 0).fitted == 20
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_mean_image_is_the_mean(training: Tensor) -> None:
    outputs = MeanImage(training)(scaled(smooth(3, 1)))
    assert outputs.shape == (3, 1, SIDE, SIDE)
    assert torch.allclose(outputs[2], scaled(training).mean(0), atol=1e-6)


def test_downsampling_to_as_many_values_as_pixels_changes_nothing() -> None:
    images = scaled(noise(3, 0))
    assert Bicubic(SIDE * SIDE, SIDE).lossless
    assert torch.equal(Bicubic(SIDE * SIDE, SIDE)(images), images)
    assert torch.equal(Bicubic(10**6, SIDE)(images), images)


def test_downsampling_keeps_to_its_number_of_values_and_preserves_smooth_images() -> None:
    small = Bicubic(70, SIDE)
    assert (small.side, small.lossless) == (8, False)
    flat = torch.full((1, 1, SIDE, SIDE), 0.25)
    assert torch.allclose(small(flat), flat, atol=1e-6)
    of_noise = quality(small, noise(5, 0), CPU).psnr.mean()
    of_waves = quality(small, smooth(5, 0), CPU).psnr.mean()
    assert of_waves > of_noise + 15


def test_quality_is_measured_for_each_image_by_itself() -> None:
    images = smooth(40, 5)  # more than a batch
    measured = quality(lambda inputs: (inputs + 0.1).clamp(0, 1), images, CPU)
    assert measured.psnr.shape == measured.ssim.shape == measured.mse.shape == (40,)
    shifted = (scaled(images) + 0.1).clamp(0, 1)
    mse = (shifted - scaled(images)).square().mean((1, 2, 3)).numpy()
    np.testing.assert_allclose(measured.mse, mse, rtol=1e-4)
    np.testing.assert_allclose(measured.psnr, -10 * np.log10(mse), rtol=1e-4)
    alone = quality(lambda inputs: (inputs + 0.1).clamp(0, 1), images[7:8], CPU)
    assert alone.ssim[0] == pytest.approx(measured.ssim[7], abs=1e-5)


def test_a_perfect_reconstruction_has_a_finite_psnr_also_under_bf16_autocast() -> None:
    images = scaled(smooth(2, 0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mse, psnr, ssim = image_quality(images, images)
    assert mse.tolist() == [0, 0]
    assert psnr.tolist() == [HIGHEST_PSNR] * 2
    assert ssim.tolist() == pytest.approx([1, 1], abs=1e-6)


@pytest.mark.parametrize("size", [11, 32, 50])
def test_psnr_and_ssim_are_those_of_torchmetrics(size: int) -> None:
    real = torch.rand(3, 1, size, size, generator=torch.Generator().manual_seed(1))
    other = (real + 0.2 * torch.randn(real.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    _, psnr, ssim = image_quality(other, real)
    given = {"data_range": 1.0, "reduction": "none"}
    expected = peak_signal_noise_ratio(other, real, dim=(1, 2, 3), **given)  # type: ignore[arg-type]
    assert torch.allclose(psnr, expected, atol=1e-5)
    similarity = structural_similarity_index_measure(other, real, **given)  # type: ignore[arg-type]
    assert torch.allclose(ssim, similarity, atol=2e-6)


def test_values_above_white_are_clipped() -> None:
    white = torch.ones(1, 3, SIDE, SIDE)
    _, psnr, _ = image_quality(3 * white, white)
    assert psnr.item() == HIGHEST_PSNR


def test_the_identity_is_better_than_every_baseline() -> None:
    metrics = evaluate_reconstruction(task(lambda inputs: inputs), Progress()).metrics
    for split in ("validation", "test"):
        assert metrics[f"psnr_{split}"] == HIGHEST_PSNR
        assert metrics[f"ssim_{split}"] == pytest.approx(1)
        for baseline in ("pca", "bicubic", "mean-image"):
            assert metrics[f"psnr_{split}"] > metrics[f"psnr_{split}_{baseline}"]
            assert metrics[f"ssim_{split}"] > metrics[f"ssim_{split}_{baseline}"]
        assert metrics[f"psnr_{split}_mean-image"] < metrics[f"psnr_{split}_pca"]
    assert all(np.isfinite(value) for value in metrics.values())


def test_a_model_that_fails_on_noise_only_has_an_anomaly_auc_of_1() -> None:
    blurred = Bicubic(64, SIDE)
    summary = evaluate_reconstruction(task(blurred), Progress())
    assert summary.metrics["anomaly_auc_test"] == 1
    assert summary.metrics["anomaly_auc_validation"] == 1
    table = summary.tables[1]
    assert table.head == ("Score of an image", "AUC, validation", "AUC, test")
    assert [row[0] for row in table.rows][-1] == "Contrast of the image"
    assert all(len(row) == len(each.head) for each in summary.tables for row in each.rows)
    # Noise has more contrast than waves, so no network is needed; the note says so.
    assert "NORMAL is harder to reconstruct than PNEUMONIA" in summary.notes[-1]
    assert "The best score without a network has 1.000" in summary.notes[-1]


def test_an_easier_class_gives_an_auc_below_chance_and_a_note() -> None:
    flat = torch.full((10, SIDE, SIDE), 128, dtype=torch.uint8)
    summary = evaluate_reconstruction(
        replace(task(Bicubic(64, SIDE)), others={"test": flat, "validation": flat[:0]}), Progress()
    )
    assert summary.metrics["anomaly_auc_test"] == 0
    assert "anomaly_auc_validation" not in summary.metrics
    assert "NORMAL is easier to reconstruct" in summary.notes[-1]


@pytest.mark.parametrize("only_class", ["", "PNEUMONIA"])
def test_without_another_class_there_is_no_anomaly_score_and_a_note_says_so(only_class: str) -> None:
    summary = evaluate_reconstruction(
        replace(task(lambda inputs: inputs), only_class=only_class, others={}), Progress()
    )
    assert not any(name.startswith("anomaly") for name in summary.metrics)
    assert len(summary.tables) == 1
    assert "was not evaluated" in summary.notes[-1]


def test_a_bottleneck_larger_than_the_image_is_stated() -> None:
    wide = evaluate_reconstruction(task(lambda inputs: inputs, latent=262), Progress())
    assert any(
        "The bottleneck is larger than the image (262 values against 256)" in note for note in wide.notes
    )
    assert [row[0] for row in wide.tables[0].rows] == [
        "This model",
        "Principal components",
        "Mean training image",
    ]
    assert wide.metrics["psnr_test_bicubic"] == HIGHEST_PSNR, "which is no compression, and so no baseline"
    assert wide.tables[0].rows[1][1] == "59"  # as many components as 60 images have
    narrow = evaluate_reconstruction(task(lambda inputs: inputs, latent=16), Progress())
    assert not any("bottleneck" in note for note in narrow.notes)


def test_the_verdict_compares_with_principal_components() -> None:
    better = evaluate_reconstruction(task(lambda inputs: inputs), Progress())
    assert re.fullmatch(
        r"Reconstructions of test images have a PSNR of 100\.00 dB, higher than those from \d+ principal "
        r"components of the training images, which need no network \(\S+ dB\)\.",
        better.verdict,
    )
    worse = evaluate_reconstruction(task(torch.zeros_like), Progress())
    assert ", not higher than those from " in worse.verdict


def test_equal_scores_are_chance() -> None:
    assert anomaly_auc(np.zeros(3), np.zeros(4)) == 0.5
    assert anomaly_auc(np.array([1.0, 2.0]), np.array([3.0])) == 1
