"""The images: reproducible, the same at every size, and not classified by brightness or thumbnails."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from pneumo_cli.data.records import Record
from pneumo_phantom import rendering
from pneumo_phantom.acquisition import SCANNERS, sample_exposure
from pneumo_phantom.dataset import PhantomDataset
from pneumo_phantom.streams import Purpose, random_stream


@pytest.fixture(scope="module")
def phantom() -> PhantomDataset:
    return PhantomDataset()


@pytest.fixture(scope="module")
def sample(phantom: PhantomDataset) -> list[Record]:
    """A dozen records: two of each pool with each subtype, or none."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in phantom.records:
        groups[record.pool, record.subtype].append(record)
    return [record for group in groups.values() for record in group[:2]]


@pytest.fixture(scope="module")
def small(phantom: PhantomDataset, sample: list[Record]) -> list[NDArray[np.uint8]]:
    """The images of ``sample`` at 128 px."""
    return [phantom.read(record, 128) for record in sample]


def downsample(image: NDArray[np.uint8], size: int) -> NDArray[np.float64]:
    """[k * size, k * size] to [size, size], by averaging."""
    factor = len(image) // size
    return image.reshape(size, factor, size, factor).mean((1, 3))


def digest(images: list[NDArray[np.uint8]]) -> str:
    return hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest()


def test_images_are_gray_square_and_use_the_scale(small: list[NDArray[np.uint8]]) -> None:
    for image in small:
        assert image.dtype == np.uint8
        assert image.shape == (128, 128)
        assert np.percentile(image, 95) - np.percentile(image, 5) > 80


@pytest.mark.parametrize(
    ("size", "rendered"), [(28, 128), (128, 128), (224, 224), (512, 512), (2000, 512), (None, 512)]
)
def test_an_image_is_rendered_at_the_requested_size_within_bounds(
    phantom: PhantomDataset, size: int | None, rendered: int
) -> None:
    assert phantom.read(phantom.records[0], size).shape == (rendered, rendered)


def test_order_threads_and_processes_do_not_change_a_bit(
    phantom: PhantomDataset, sample: list[Record], small: list[NDArray[np.uint8]]
) -> None:
    expected = digest(small)
    assert digest([phantom.read(record, 128) for record in reversed(sample)][::-1]) == expected
    with ThreadPoolExecutor(4) as threads:
        assert digest(list(threads.map(lambda record: phantom.read(record, 128), sample))) == expected
    script = (
        "import hashlib, sys; from pneumo_phantom.dataset import PhantomDataset\n"
        "phantom = PhantomDataset(); records = {record.name: record for record in phantom.records}\n"
        "images = [phantom.read(records[name], 128).tobytes() for name in sys.argv[1:]]\n"
        "print(hashlib.sha256(b''.join(images)).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", script, *(record.name for record in sample)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == expected


@pytest.mark.parametrize("large", [256, 512])
def test_a_large_image_downsampled_is_the_small_one(
    phantom: PhantomDataset, sample: list[Record], small: list[NDArray[np.uint8]], large: int
) -> None:
    for record, image in zip(sample, small, strict=True):
        downsampled = downsample(phantom.read(record, large), 128)
        assert np.abs(image - downsampled).mean() < 3
        assert np.corrcoef(image.ravel(), downsampled.ravel())[0, 1] > 0.99


def test_images_of_one_patient_differ_in_position_but_show_one_chest(
    phantom: PhantomDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    patients: dict[str, list[Record]] = defaultdict(list)
    for record in phantom.records:
        patients[record.patient].append(record)
    pairs = [records[:2] for records in patients.values() if len(records) > 1][:8]

    def dissimilarity(first: Record, second: Record) -> float:
        thumbnails = [downsample(phantom.read(record, 128), 32).ravel() for record in (first, second)]
        return float(1 - np.corrcoef(*thumbnails)[0, 1])

    moved = [dissimilarity(first, second) for first, second in pairs]
    # With one exposure for all, only the patient, the arms and the bowel differ.
    exposure = sample_exposure(SCANNERS[0], random_stream(Purpose.ACQUISITION, 1))
    monkeypatch.setattr(rendering, "sample_exposure", lambda scanner, rng: exposure)
    same = [dissimilarity(first, second) for first, second in pairs]
    others = [dissimilarity(one[0], other[0]) for one, other in itertools.pairwise(pairs)]
    assert max(same) < min(moved)
    assert 10 * max(same) < min(others)


def test_brightness_and_thumbnails_do_not_reveal_the_diagnosis(phantom: PhantomDataset) -> None:
    records = phantom.records[:: len(phantom.records) // 200]
    with ThreadPoolExecutor() as threads:
        images = list(threads.map(lambda record: phantom.read(record, 128), records))
    label = np.array([record.label for record in records])
    thumbnails = np.stack([downsample(image, 16).ravel() for image in images]) / 255
    brightness = roc_auc_score(label, thumbnails.mean(1))
    assert 0.35 < brightness < 0.65

    train = np.array([int(record.patient[-1]) % 2 == 0 for record in records])
    model = LogisticRegression(C=0.1, max_iter=300).fit(thumbnails[train], label[train])
    assert roc_auc_score(label[~train], model.decision_function(thumbnails[~train])) < 0.87
