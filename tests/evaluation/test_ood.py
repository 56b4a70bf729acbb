"""Out-of-distribution images are flagged, images like those of training are not; checkpoints keep the detector."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.data.decoding import decode, resize
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.ood import OodDetector, fit_ood_detector

SIDE = 64
Gray = NDArray[np.uint8]


def phantoms(n: int, seed: int, side: int = SIDE) -> Gray:
    """Two dark fields in a bright trunk on black; each image with its own positions, widths, exposure and grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side

    def ellipse(row: float, column: float, high: float, wide: float) -> NDArray[np.float64]:
        distance = ((y - row) / high) ** 2 + ((x - column) / wide) ** 2
        return 1 / (1 + np.exp(np.minimum(12 * (distance - 1), 50)))

    images = np.empty((n, side, side), np.uint8)
    for image in images:
        place = rng.normal(0, 0.02, 6)
        trunk = ellipse(0.55 + place[0], 0.5 + place[1], 0.6, 0.45 + place[2])
        fields = [ellipse(0.45 + place[3], centre + place[4], 0.3, 0.15 + place[5]) for centre in (0.3, 0.7)]
        level = rng.uniform(0.85, 1.1) * (200 * trunk - 110 * trunk * sum(fields))
        image[:] = (level + 10 + rng.normal(0, rng.uniform(2, 5), image.shape)).round().clip(0, 255)
    return images


def outliers(side: int = SIDE) -> dict[str, Gray]:
    """Noise, flat gray, gray ramps, stripes, checkerboards: one image or several of each."""
    rng = np.random.default_rng(5)
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    y, x = np.mgrid[:side, :side]
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf
    clouds = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(6, side, side))) / frequency**1.5, s=(side, side))
    clouds *= 50 / clouds.std((1, 2), keepdims=True)
    return {
        "uniform noise": rng.integers(0, 256, (4, side, side), dtype=np.uint8),
        "faint noise": rng.normal(120, 8, (4, side, side)).round().astype(np.uint8),
        "clouds": (clouds + 120).round().clip(0, 255).astype(np.uint8),
        "flat": np.stack([np.full((side, side), level, np.uint8) for level in (0, 60, 120, 255)]),
        "ramps": np.stack([np.tile(ramp, (side, 1)), np.tile(ramp[::-1], (side, 1)).T]),
        "stripes": np.stack([(127 + 100 * np.sin(x / w + y / 9)).astype(np.uint8) for w in (2, 5, 11)]),
        "checkerboards": np.stack(
            [(((x // w + y // w) % 2) * 200 + 20).astype(np.uint8) for w in (4, 8, 16)]
        ),
    }


TRAIN, VALIDATION = phantoms(240, 1), phantoms(100, 2)


@pytest.fixture(scope="module")
def detector() -> OodDetector:
    return fit_ood_detector(TRAIN, VALIDATION, seed=1)


def test_images_like_the_training_images_are_not_flagged(detector: OodDetector) -> None:
    assert detector.flags(phantoms(200, 3)).mean() <= 0.05


@pytest.mark.parametrize("name", outliers())
def test_outliers_are_flagged(detector: OodDetector, name: str) -> None:
    assert detector.flags(outliers()[name]).all()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda image: 255 - image, id="inverted"),
        pytest.param(lambda image: np.rot90(image, axes=(1, 2)), id="turned"),
        pytest.param(
            lambda image: image[:, : SIDE // 2, : SIDE // 2].repeat(2, 1).repeat(2, 2), id="a quarter"
        ),
        pytest.param(lambda image: np.random.default_rng(1).permuted(image, axis=2), id="shuffled"),
    ],
)
def test_inverted_rotated_cropped_and_shuffled_images_are_flagged(
    detector: OodDetector, change: Callable[[Gray], Gray]
) -> None:
    assert detector.flags(change(phantoms(20, 3))).all()


def test_the_score_rises_with_the_share_of_noise(detector: OodDetector) -> None:
    image = phantoms(1, 3).astype(np.float64)
    noise = np.random.default_rng(1).uniform(0, 255, image.shape)
    mixed = np.concatenate([(1 - share) * image + share * noise for share in (0, 0.1, 0.2, 0.4, 0.7, 1)])
    assert (np.diff(detector.scores(mixed.round().astype(np.uint8))) > 0).all()


def test_detail_finer_than_the_thumbnail_counts(detector: OodDetector) -> None:
    # A checkerboard of single pixels vanishes in means over two by two pixels.
    board = np.indices((SIDE, SIDE)).sum(0) % 2 * 16
    grained = (np.minimum(phantoms(20, 3), 239) + board).astype(np.uint8)
    assert detector.flags(grained).all()


def test_the_threshold_leaves_one_percent_of_the_validation_images_above_it() -> None:
    many = phantoms(300, 2)
    assert fit_ood_detector(TRAIN, many, seed=1).flags(many).sum() == 2
    few = fit_ood_detector(TRAIN, VALIDATION[:10], seed=1)
    assert few.threshold == few.scores(VALIDATION[:10]).max()


def test_the_threshold_depends_on_validation_images_and_the_scores_on_training_images(
    detector: OodDetector,
) -> None:
    other = fit_ood_detector(TRAIN, np.concatenate((VALIDATION, outliers()["clouds"])), seed=1)
    assert other.threshold > detector.threshold
    assert np.array_equal(other.scores(VALIDATION), detector.scores(VALIDATION))


def test_fitting_is_deterministic_and_does_not_change_the_global_generator(
    detector: OodDetector,
) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    again = fit_ood_detector(torch.from_numpy(TRAIN), torch.from_numpy(VALIDATION), seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    for name, value in detector.state().items():
        other = again.state()[name]
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other


def test_the_seed_chooses_among_many_training_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pneumo_cli.evaluation.ood._MOST_FITTED", 100)
    one, same, other = (fit_ood_detector(TRAIN, VALIDATION, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.mean, same.mean)
    assert not np.array_equal(one.mean, other.mean)


def test_scores_do_not_depend_on_the_batch(detector: OodDetector) -> None:
    images = phantoms(300, 3)  # more than one batch
    alone = np.concatenate([detector.scores(images[place : place + 1]) for place in (0, 7, 299)])
    np.testing.assert_allclose(alone, detector.scores(images)[[0, 7, 299]], rtol=1e-4)
    assert detector.scores(images[:0]).shape == (0,)


def test_read_only_images_are_scored_without_a_warning(
    detector: OodDetector, recwarn: pytest.WarningsRecorder
) -> None:
    images = VALIDATION.copy()
    images.setflags(write=False)
    detector.scores(images)
    assert not recwarn.list


@pytest.mark.parametrize("side", [32, 50, 150])
def test_outliers_are_flagged_at_any_size_of_at_least_32_pixels(side: int) -> None:
    fitted = fit_ood_detector(phantoms(120, 1, side), phantoms(60, 2, side), seed=1)
    assert fitted.flags(phantoms(60, 3, side)).mean() <= 0.1
    for images in outliers(side).values():
        assert fitted.flags(images).all()


def test_images_of_another_size_are_resized(detector: OodDetector) -> None:
    larger = np.stack([resize(image, 2 * SIDE) for image in phantoms(30, 3)])
    assert np.median(detector.scores(larger)) < detector.threshold


def test_identical_training_images_can_be_fitted() -> None:
    flat = np.full((5, 32, 32), 90, np.uint8)
    fitted = fit_ood_detector(flat, flat[:1], seed=1)
    assert not fitted.flags(flat).any()
    assert fitted.flags(outliers(32)["uniform noise"]).all()


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (TRAIN.astype(np.float32), r"float32 \[240, 64, 64\], not uint8"),
        (TRAIN[0], r"\[64, 64\], not uint8 \[n, S, S\]"),
        (TRAIN[:, :40], r"\[240, 40, 64\]"),
        (TRAIN[:, :16, :16], "at least 32 px"),
    ],
)
def test_images_that_are_not_square_gray_levels_are_an_error(
    detector: OodDetector, images: Any, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        detector.scores(images)


@pytest.mark.parametrize(("train", "validation"), [(1, 5), (5, 0)])
def test_too_few_images_are_an_error(train: int, validation: int) -> None:
    with pytest.raises(UsageError, match=f"there are {train} and {validation}"):
        fit_ood_detector(TRAIN[:train], VALIDATION[:validation], seed=1)


def test_the_state_is_small_and_survives_a_checkpoint_exactly(detector: OodDetector) -> None:
    file = io.BytesIO()
    torch.save(detector.state(), file)
    assert file.tell() < 3_000_000
    file.seek(0)
    restored = OodDetector.from_state(torch.load(file, weights_only=True))
    images = np.concatenate((phantoms(10, 3), *outliers().values()))
    assert np.array_equal(restored.scores(images), detector.scores(images))
    assert restored.threshold == detector.threshold


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("mean", None, "mean"),
        ("mean", "a word", "not float32"),
        (
            "mean",
            torch.zeros(1024, dtype=torch.float64),
            r"mean is float64 \[1024\], not float32",
        ),
        ("components", torch.zeros(3, 99), r"\[3, 99\]"),
        ("components", torch.tensor(1.0), "unsized object"),
        ("centre", torch.zeros(4, dtype=torch.float64), r"centre is .* \[4\]"),
        ("whitening", torch.full((62, 62), torch.nan, dtype=torch.float64), "not finite"),
        ("size", 8, "size is 8"),
        ("size", "64", "size is '64'"),
        ("threshold", float("nan"), "threshold is nan"),
        ("threshold", "1", "threshold is '1'"),
    ],
)
def test_a_damaged_state_is_an_error(detector: OodDetector, name: str, value: Any, reason: str) -> None:
    state = {key: kept for key, kept in detector.state().items() if key != name or value is not None}
    if value is not None:
        state[name] = value
    with pytest.raises(PneumoError, match=f"in the checkpoint is damaged: .*{reason}"):
        OodDetector.from_state(state)


@pytest.mark.real_data
@pytest.mark.parametrize("side", [64, 224])
def test_few_real_radiographs_and_most_photographs_and_patterns_are_flagged(side: int) -> None:
    root = Path(__file__).resolve().parents[3] / "shared" / "data" / "chest_xray"
    if not root.is_dir():
        pytest.skip(f"the real radiographs are not at {root}")

    def some(part: str, step: int, patients: Callable[[int], bool] = lambda number: True) -> Gray:
        files = [file for kind in ("NORMAL", "PNEUMONIA") for file in sorted((root / part / kind).glob("*"))]
        # The first number of a name is the patient's: "person12_bacteria_47.jpeg", "IM-0115-0001.jpeg".
        chosen = [file for file in files if patients(int(re.findall(r"\d+", file.name)[0]))]
        return np.stack([decode(file.read_bytes(), side) for file in chosen[::step]])

    fitted = fit_ood_detector(
        some("train", 8, lambda number: number % 4 > 0),
        some("train", 6, lambda number: number % 4 == 0),
        seed=1,
    )
    assert fitted.flags(some("test", 6)).mean() <= 0.05
    shown = np.concatenate((photographs(side), *outliers(side).values()))
    assert len(shown) > 50
    assert fitted.flags(shown).mean() >= 0.95


def photographs(side: int) -> Gray:
    """Three photographs of matplotlib and scikit-learn, whole and cropped."""
    sklearn = pytest.importorskip("sklearn")
    files = [Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg"]
    files += sorted((Path(sklearn.__file__).parent / "datasets" / "images").glob("*.jpg"))
    rng = np.random.default_rng(1)
    views = []
    for file in files:
        with Image.open(file) as image:
            whole = np.asarray(image.convert("L"))
        views.append(resize(whole, side))
        for _ in range(9):
            row, column = (int(rng.integers(0, length // 2)) for length in whole.shape)
            part = whole[row : row + whole.shape[0] // 2, column : column + whole.shape[1] // 2]
            views.append(resize(part, side))
    return np.stack(views)
