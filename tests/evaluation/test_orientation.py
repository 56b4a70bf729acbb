"""The orientation of images is detected where possible, survives a checkpoint, and is not reported for outliers."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pneumo_cli.data.decoding import decode, resize
from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.ood import OodDetector, fit_ood_detector
from pneumo_cli.evaluation.orientation import (
    FALSE_ALARMS,
    FEWEST,
    UPRIGHT,
    Orientation,
    Presentation,
    agreed,
    fit_orientation,
)

SIDE = 48
Gray = NDArray[np.uint8]
WAYS = [Presentation(turns, negative) for turns in range(4) for negative in (False, True)]


def phantoms(n: int, seed: int, side: int = SIDE) -> Gray:
    """A bright trunk with two dark fields above its middle, a bright spot at one side, and grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side

    def ellipse(row: float, column: float, high: float, wide: float) -> NDArray[np.float64]:
        distance = ((y - row) / high) ** 2 + ((x - column) / wide) ** 2
        return 1 / (1 + np.exp(np.minimum(12 * (distance - 1), 50)))

    images = np.empty((n, side, side), np.uint8)
    for image in images:
        place = rng.normal(0, 0.02, 5)
        trunk = ellipse(0.55 + place[0], 0.5 + place[1], 0.65, 0.45)
        fields = [ellipse(0.38 + place[2], centre + place[3], 0.25, 0.15) for centre in (0.3, 0.7)]
        level = rng.uniform(0.7, 1.1) * (190 * trunk - 110 * sum(fields) + 40 * ellipse(0.7, 0.6, 0.1, 0.1))
        image[:] = (level + 20 + rng.normal(0, rng.uniform(2, 8), image.shape)).round().clip(0, 255)
    return images


def rings(n: int, seed: int) -> Gray:
    """Bright rings on black: without a top and bottom, but a negative differs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    ring = np.exp(-(((np.hypot(x, y) - rng.uniform(10, 18, (n, 1, 1))) / 3) ** 2))
    return (200 * ring + rng.uniform(5, 40, ring.shape)).round().astype(np.uint8)


def oriented(images: Gray, way: Presentation) -> Gray:
    turned = np.rot90(images, way.turns, axes=(1, 2))
    return np.ascontiguousarray(255 - turned if way.negative else turned)


TRAIN, VALIDATION, OTHERS = phantoms(200, 1), phantoms(150, 2), phantoms(60, 3)


@pytest.fixture(scope="module")
def orientation() -> Orientation:
    found = fit_orientation(TRAIN, VALIDATION)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def detector() -> OodDetector:
    return fit_ood_detector(TRAIN, VALIDATION, seed=1)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_each_orientation_is_detected(
    orientation: Orientation, detector: OodDetector, way: Presentation
) -> None:
    images = oriented(OTHERS, way)
    assert orientation.readings(images) == [way] * len(OTHERS)
    # 1 % of the images are out of distribution even when they are restored.
    assert np.mean([found == way for found in orientation.presentations(images, detector)]) >= 0.95


@pytest.mark.parametrize(
    ("change", "name", "remedy"),
    [
        (lambda image: image, "upright", ""),
        (lambda image: image[:, ::-1], "upright", ""),
        (lambda image: image[::-1], "upside down", "turn it by 180°"),
        (lambda image: image[::-1, ::-1], "upside down", "turn it by 180°"),
        (np.rot90, "turned left", "turn it clockwise by 90°"),
        (lambda image: np.rot90(image, -1), "turned right", "turn it anticlockwise by 90°"),
        (lambda image: 255 - image, "negative", "invert its gray levels"),
        (
            lambda image: 255 - image[::-1],
            "negative, upside down",
            "invert its gray levels and turn it by 180°",
        ),
    ],
)
def test_an_orientation_has_a_name_and_a_remedy(
    orientation: Orientation, change: Callable[[Gray], Gray], name: str, remedy: str
) -> None:
    (found,) = orientation.readings(change(OTHERS[0])[None])
    assert (found.name, found.remedy) == (name, remedy)
    assert bool(found) == (name != "upright")


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_an_image_is_restored_from_each_orientation(way: Presentation) -> None:
    assert np.array_equal(way.restored(oriented(OTHERS[:1], way)[0]), OTHERS[0])


def test_exposure_and_size_do_not_matter(orientation: Orientation) -> None:
    # Below the log-odds of these negatives, but not below half of them: contrast must not matter.
    strict = replace(orientation, threshold=15.0)
    assert set(strict.readings(255 - OTHERS // 2)) == {Presentation(negative=True)}
    for way in WAYS:
        dark = oriented(OTHERS // 2, way)
        large = np.stack([resize(image, 3 * SIDE) for image in oriented(OTHERS[:20], way)])
        assert set(orientation.readings(dark) + orientation.readings(large)) == {way}


def test_the_orientation_of_out_of_distribution_images_is_not_reported(
    orientation: Orientation, detector: OodDetector
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, SIDE, SIDE), dtype=np.uint8)
    assert any(orientation.readings(noise))
    assert orientation.presentations(noise, detector) == [UPRIGHT] * 40


def test_flat_images_are_upright_and_no_images_are_accepted(
    orientation: Orientation, detector: OodDetector
) -> None:
    assert orientation.readings(np.full((2, SIDE, SIDE), 90, np.uint8)) == [UPRIGHT, UPRIGHT]
    assert orientation.presentations(OTHERS[:0], detector) == []


def test_without_a_top_and_bottom_only_negatives_are_detected() -> None:
    found = fit_orientation(rings(200, 1), rings(150, 2))
    assert found is not None
    assert (found.turns, found.negatives) == (False, True)
    others = rings(100, 3)
    for turns in range(4):
        assert set(found.readings(oriented(others, Presentation(turns)))) == {UPRIGHT}
    assert set(found.readings(255 - others)) == {Presentation(0, True)}


def test_there_is_no_detector_where_nothing_can_be_detected() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (400, SIDE, SIDE), dtype=np.uint8)
    assert fit_orientation(noise[:200], noise[200:]) is None


def test_there_is_no_detector_for_too_few_images() -> None:
    assert fit_orientation(TRAIN, VALIDATION[: FEWEST - 1]) is None
    assert fit_orientation(TRAIN[:0], VALIDATION) is None


def test_ambiguous_validation_images_raise_the_threshold(orientation: Orientation) -> None:
    assert orientation.threshold == 0
    images = phantoms(1000, 4)
    down = oriented(images, Presentation(2))
    images[:10] = (0.42 * images[:10] + 0.58 * down[:10]).astype(np.uint8)
    assert sum(map(bool, orientation.readings(images))) > 5
    found = fit_orientation(TRAIN, images)
    assert found is not None
    assert found.threshold > 0
    assert np.mean([bool(way) for way in found.readings(images)]) <= FALSE_ALARMS
    assert found.readings(oriented(OTHERS, Presentation(2))) == [Presentation(2)] * len(OTHERS)


def test_rotations_are_not_detected_where_many_validation_images_are_rotated() -> None:
    mixed = np.concatenate((phantoms(980, 4), oriented(OTHERS[:20], Presentation(2))))
    found = fit_orientation(TRAIN, mixed)
    assert found is not None
    assert (found.turns, found.negatives) == (False, True)


def test_a_few_wrongly_oriented_training_images_do_no_harm() -> None:
    train = TRAIN.copy()
    train[::40] = oriented(train[::40], Presentation(2))
    found = fit_orientation(train, VALIDATION)
    assert found is not None
    for way in WAYS:
        assert found.readings(oriented(OTHERS, way)) == [way] * len(OTHERS)


def test_fitting_is_deterministic(orientation: Orientation) -> None:
    again = fit_orientation(TRAIN, VALIDATION)
    assert again is not None
    assert np.array_equal(again.template, orientation.template)


def test_several_models_decide_by_majority() -> None:
    down, negative = Presentation(2), Presentation(0, True)
    assert agreed([]) is None
    assert agreed([[down, UPRIGHT]]) == [down, UPRIGHT]
    assert agreed([[down, down], [down, UPRIGHT], [negative, UPRIGHT]]) == [down, UPRIGHT]
    assert agreed([[down], [negative]]) == [UPRIGHT]


@pytest.mark.parametrize(
    "images", [TRAIN.astype(np.float32), TRAIN[0], TRAIN[:, :40]], ids=["float", "one", "oblong"]
)
def test_images_that_are_not_square_gray_levels_are_an_error(orientation: Orientation, images: Any) -> None:
    with pytest.raises(ValueError, match="images"):
        orientation.readings(images)


def test_the_state_survives_a_checkpoint_exactly(orientation: Orientation) -> None:
    for kept in (orientation, Orientation(orientation.template, False, True, 0.5)):
        file = io.BytesIO()
        torch.save(kept.state(), file)
        assert file.tell() < 10_000
        file.seek(0)
        restored = Orientation.from_state(torch.load(file, weights_only=True))
        assert np.array_equal(restored.template, kept.template)
        assert (restored.turns, restored.negatives) == (kept.turns, kept.negatives)
        assert restored.threshold == kept.threshold


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"template": None}, "512"),
        ({"template": "a word"}, "could not convert"),
        ({"template": torch.zeros(3)}, "512 finite"),
        ({"template": torch.full((512,), torch.nan)}, "512 finite"),
        ({"turns": "yes"}, "turns is 'yes' and negatives is True"),
        ({"threshold": float("nan")}, "nan, not 0 or more"),
        ({"threshold": -1.0}, "-1.0, not 0 or more"),
        ({"threshold": "high"}, "could not convert"),
    ],
)
def test_a_damaged_state_is_an_error(orientation: Orientation, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(PneumoError, match=f"in the checkpoint is damaged: .*{reason}") as raised:
        Orientation.from_state(orientation.state() | change)
    assert "\n" not in str(raised.value)
    with pytest.raises(PneumoError, match="KeyError"):
        Orientation.from_state({"threshold": 0.0})


@pytest.mark.real_data
def test_the_orientation_of_real_radiographs_is_detected() -> None:
    root = Path(__file__).resolve().parents[3] / "shared" / "data" / "chest_xray"
    if not root.is_dir():
        pytest.skip(f"the real radiographs are not at {root}")

    def some(part: str, start: int, step: int) -> Gray:
        files = [file for kind in ("NORMAL", "PNEUMONIA") for file in sorted((root / part / kind).glob("*"))]
        return np.stack([decode(file.read_bytes(), 64) for file in files[start::step]])

    train, validation, test = some("train", 0, 8), some("train", 4, 16), some("test", 0, 4)
    found = fit_orientation(train, validation)
    assert found is not None
    detector = fit_ood_detector(train, validation, seed=1)
    assert np.mean([bool(way) for way in found.presentations(test, detector)]) <= 0.01
    for way in WAYS[1:]:
        correct = [one == way for one in found.presentations(oriented(test, way), detector)]
        assert np.mean(correct) >= 0.95, way.name
