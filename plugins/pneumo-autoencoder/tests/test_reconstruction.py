"""Judging reconstructions: the baselines are what they claim to be, and planted results come out as planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from pneumo_autoencoder.reconstruction import (
    HIGHEST_PSNR,
    Bicubic,
    Components,
    MeanImage,
    Reconstruction,
    anomaly_auc,
    evaluate_reconstruction,
    picture_quality,
    quality,
)
from pneumo_cli.runtime.progress import Progress

SIDE = 16
CPU = torch.device("cpu")


def smooth(n: int, seed: int) -> Tensor:
    """Images of few wide waves: uint8 [n, 16, 16]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE * np.pi
    waves = np.stack([np.cos(i * x) * np.cos(j * y) for i in range(4) for j in range(4)])
    levels = 128 + np.tensordot(rng.normal(0, 12, (n, 16)), waves, 1)
    return torch.from_numpy(levels.clip(0, 255).round().astype(np.uint8))


def noise(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, SIDE, SIDE), generator=generator, dtype=torch.uint8)


def pictures(images: Tensor) -> Tensor:
    return images.unsqueeze(1).float() / 255


def task(reconstruct: Callable[[Tensor], Tensor], latent: int = 16) -> Reconstruction:
    return Reconstruction(
        reconstruct=reconstruct,
        latent_values=latent,
        image_values=SIDE * SIDE,
        training=smooth(60, 0),
        parts={"validation": smooth(20, 1), "test": smooth(20, 2)},
        others={"validation": noise(10, 3), "test": noise(10, 4)},
        wanted="PNEUMONIA",
        unseen="NORMAL",
        device=CPU,
        seed=0,
    )


@pytest.fixture(scope="module")
def training() -> Tensor:
    return smooth(60, 0)


def test_components_reconstruct_as_those_of_scikit_learn(training: Tensor) -> None:
    flat = pictures(training).flatten(1).numpy()
    reference = PCA(8, svd_solver="full").fit(flat)
    unseen = pictures(smooth(10, 1))
    expected = reference.inverse_transform(reference.transform(unseen.flatten(1).numpy()))
    found = Components(training, 8, seed=0)
    assert (found.count, found.fitted) == (8, 60)
    np.testing.assert_allclose(found(unseen).flatten(1).numpy(), expected, atol=2e-5)


def test_there_are_fewer_components_than_images_and_all_of_them_restore_training(training: Tensor) -> None:
    found = Components(training[:5], 1000, seed=0)
    assert found.count == 4
    assert torch.allclose(found(pictures(training[:5])), pictures(training[:5]), atol=1e-4)


def test_images_that_do_not_differ_have_their_mean_for_a_component() -> None:
    alike = torch.full((4, SIDE, SIDE), 77, dtype=torch.uint8)
    made = Components(alike, 3, seed=0)(pictures(noise(2, 0)))
    assert torch.isfinite(made).all()
    assert torch.allclose(Components(alike, 3, seed=0)(pictures(alike)), pictures(alike), atol=1e-5)


def test_more_images_than_memory_allows_are_a_choice_of_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pneumo_autoencoder.reconstruction._MOST_FITTED", 20)
    images, unseen = smooth(60, 0), pictures(smooth(5, 1))
    one, same, other = (Components(images, 8, seed)(unseen) for seed in (0, 0, 1))
    assert Components(images, 8, 0).fitted == 20
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_mean_image_is_the_mean(training: Tensor) -> None:
    made = MeanImage(training)(pictures(smooth(3, 1)))
    assert made.shape == (3, 1, SIDE, SIDE)
    assert torch.allclose(made[2], pictures(training).mean(0), atol=1e-6)


def test_a_reduction_to_as_many_values_as_pixels_is_the_image_itself() -> None:
    images = pictures(noise(3, 0))
    assert Bicubic(SIDE * SIDE, SIDE).lossless
    assert torch.equal(Bicubic(SIDE * SIDE, SIDE)(images), images)
    assert torch.equal(Bicubic(10**6, SIDE)(images), images)


def test_a_reduction_keeps_to_its_number_of_values_and_to_what_is_smooth() -> None:
    small = Bicubic(70, SIDE)
    assert (small.side, small.lossless) == (8, False)
    flat = torch.full((1, 1, SIDE, SIDE), 0.25)
    assert torch.allclose(small(flat), flat, atol=1e-6)
    lost = quality(small, noise(5, 0), CPU).psnr.mean()
    kept = quality(small, smooth(5, 0), CPU).psnr.mean()
    assert kept > lost + 15


def test_quality_is_that_of_each_picture_by_itself() -> None:
    images = smooth(40, 5)  # more than a batch
    found = quality(lambda given: (given + 0.1).clamp(0, 1), images, CPU)
    assert found.psnr.shape == found.ssim.shape == found.mse.shape == (40,)
    shifted = (pictures(images) + 0.1).clamp(0, 1)
    mse = (shifted - pictures(images)).square().mean((1, 2, 3)).numpy()
    np.testing.assert_allclose(found.mse, mse, rtol=1e-4)
    np.testing.assert_allclose(found.psnr, -10 * np.log10(mse), rtol=1e-4)
    alone = quality(lambda given: (given + 0.1).clamp(0, 1), images[7:8], CPU)
    assert alone.ssim[0] == pytest.approx(found.ssim[7], abs=1e-5)


def test_a_perfect_picture_has_a_finite_quality_and_bf16_does_not_spoil_it() -> None:
    images = pictures(smooth(2, 0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mse, psnr, ssim = picture_quality(images, images)
    assert mse.tolist() == [0, 0]
    assert psnr.tolist() == [HIGHEST_PSNR] * 2
    assert ssim.tolist() == pytest.approx([1, 1], abs=1e-6)


def test_what_is_brighter_than_white_is_judged_as_it_is_seen() -> None:
    white = torch.ones(1, 3, SIDE, SIDE)
    _, psnr, _ = picture_quality(3 * white, white)
    assert psnr.item() == HIGHEST_PSNR


def test_a_model_that_changes_nothing_beats_every_baseline() -> None:
    metrics = evaluate_reconstruction(task(lambda given: given), Progress()).metrics
    for part in ("validation", "test"):
        assert metrics[f"psnr_{part}"] == HIGHEST_PSNR
        assert metrics[f"ssim_{part}"] == pytest.approx(1)
        for baseline in ("pca", "bicubic", "mean-image"):
            assert metrics[f"psnr_{part}"] > metrics[f"psnr_{part}_{baseline}"]
            assert metrics[f"ssim_{part}"] > metrics[f"ssim_{part}_{baseline}"]
        assert metrics[f"psnr_{part}_mean-image"] < metrics[f"psnr_{part}_pca"]
    assert all(np.isfinite(value) for value in metrics.values())


def test_a_model_that_fails_on_noise_alone_tells_it_apart_without_error() -> None:
    blurred = Bicubic(64, SIDE)
    judgement = evaluate_reconstruction(task(blurred), Progress())
    assert judgement.metrics["anomaly_auc_test"] == 1
    assert judgement.metrics["anomaly_auc_validation"] == 1
    table = judgement.tables[1]
    assert table.head == ("Score of an image", "AUC, validation", "AUC, test")
    assert [row[0] for row in table.rows][-1] == "Contrast of the image"
    assert all(len(row) == len(one.head) for one in judgement.tables for row in one.rows)
    # Noise has more contrast than waves: a network is not needed to see that, and the note says so.
    assert "NORMAL is harder to reconstruct than PNEUMONIA" in judgement.notes[-1]
    assert "Without a network the most is 1.000" in judgement.notes[-1]


def test_an_easier_class_gives_less_than_chance_and_is_called_easier() -> None:
    flat = torch.full((10, SIDE, SIDE), 128, dtype=torch.uint8)
    judgement = evaluate_reconstruction(
        replace(task(Bicubic(64, SIDE)), others={"test": flat, "validation": flat[:0]}), Progress()
    )
    assert judgement.metrics["anomaly_auc_test"] == 0
    assert "anomaly_auc_validation" not in judgement.metrics
    assert "NORMAL is easier to reconstruct" in judgement.notes[-1]


@pytest.mark.parametrize("wanted", ["", "PNEUMONIA"])
def test_without_another_class_the_error_is_no_score_and_a_note_says_so(wanted: str) -> None:
    judgement = evaluate_reconstruction(
        replace(task(lambda given: given), wanted=wanted, others={}), Progress()
    )
    assert not any(name.startswith("anomaly") for name in judgement.metrics)
    assert len(judgement.tables) == 1
    assert "was not judged" in judgement.notes[-1]


def test_a_bottleneck_larger_than_the_image_is_called_what_it_is() -> None:
    wide = evaluate_reconstruction(task(lambda given: given, latent=262), Progress())
    assert any(
        "The bottleneck is larger than the image (262 values against 256)" in note for note in wide.notes
    )
    assert "Bicubic reduction (none: no compression)" in [row[0] for row in wide.tables[0].rows]
    assert wide.tables[0].rows[1][1] == "59"  # as many components as 60 images have
    narrow = evaluate_reconstruction(task(lambda given: given, latent=16), Progress())
    assert not any("bottleneck" in note for note in narrow.notes)


def test_equal_scores_are_chance() -> None:
    assert anomaly_auc(np.zeros(3), np.zeros(4)) == 0.5
    assert anomaly_auc(np.array([1.0, 2.0]), np.array([3.0])) == 1
