"""The pictures: reproducible, the same at every size, and no gift to a lazy model."""

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
from pneumo_phantom.streams import Purpose, open_stream


@pytest.fixture(scope="module")
def phantom() -> PhantomDataset:
    return PhantomDataset()


@pytest.fixture(scope="module")
def sample(phantom: PhantomDataset) -> list[Record]:
    """A dozen records: every class, subtype and pool."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in phantom.records:
        groups[record.pool, record.subtype].append(record)
    return [record for group in groups.values() for record in group[:2]]


def mean_of_blocks(grey: NDArray[np.uint8], size: int) -> NDArray[np.float64]:
    """Shrink [k * size, k * size] to [size, size] by averaging."""
    factor = len(grey) // size
    return grey.reshape(size, factor, size, factor).mean((1, 3))


def digest(pictures: list[NDArray[np.uint8]]) -> str:
    return hashlib.sha256(b"".join(picture.tobytes() for picture in pictures)).hexdigest()


def test_pictures_are_grey_square_and_use_the_scale(phantom: PhantomDataset, sample: list[Record]) -> None:
    for record in sample:
        grey = phantom.read(record, 128)
        assert grey.dtype == np.uint8
        assert grey.shape == (128, 128)
        assert np.percentile(grey, 95) - np.percentile(grey, 5) > 80


@pytest.mark.parametrize(
    ("asked", "given"), [(28, 128), (128, 128), (224, 224), (512, 512), (2000, 512), (None, 512)]
)
def test_a_picture_is_drawn_at_the_size_asked_for_within_bounds(
    phantom: PhantomDataset, asked: int | None, given: int
) -> None:
    assert phantom.read(phantom.records[0], asked).shape == (given, given)


def test_order_threads_and_processes_do_not_change_a_bit(
    phantom: PhantomDataset, sample: list[Record]
) -> None:
    expected = digest([phantom.read(record, 128) for record in sample])
    assert digest([phantom.read(record, 128) for record in reversed(sample)][::-1]) == expected
    with ThreadPoolExecutor(4) as threads:
        assert digest(list(threads.map(lambda record: phantom.read(record, 128), sample))) == expected
    script = (
        "import hashlib, sys; from pneumo_phantom.dataset import PhantomDataset\n"
        "phantom = PhantomDataset(); records = {each.name: each for each in phantom.records}\n"
        "pictures = [phantom.read(records[name], 128).tobytes() for name in sys.argv[1:]]\n"
        "print(hashlib.sha256(b''.join(pictures)).hexdigest())"
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
def test_a_large_picture_shrinks_to_the_small_one(
    phantom: PhantomDataset, sample: list[Record], large: int
) -> None:
    for record in sample:
        small = phantom.read(record, 128).astype(float)
        shrunk = mean_of_blocks(phantom.read(record, large), 128)
        assert np.abs(small - shrunk).mean() < 3
        assert np.corrcoef(small.ravel(), shrunk.ravel())[0, 1] > 0.99


def test_images_of_one_patient_differ_in_position_but_show_one_chest(
    phantom: PhantomDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    patients: dict[str, list[Record]] = defaultdict(list)
    for record in phantom.records:
        patients[record.patient].append(record)
    pairs = [records[:2] for records in patients.values() if len(records) > 1][:8]

    def unlikeness(first: Record, second: Record) -> float:
        thumbnails = [mean_of_blocks(phantom.read(each, 128), 32).ravel() for each in (first, second)]
        return float(1 - np.corrcoef(*thumbnails)[0, 1])

    moved = [unlikeness(first, second) for first, second in pairs]
    # The same circumstances for all leave only what belongs to the patient, and the arms and the bowel.
    exposure = sample_exposure(SCANNERS[0], open_stream(Purpose.ACQUISITION, 1))
    monkeypatch.setattr(rendering, "sample_exposure", lambda scanner, rng: exposure)
    same = [unlikeness(first, second) for first, second in pairs]
    strangers = [unlikeness(one[0], other[0]) for one, other in itertools.pairwise(pairs)]
    assert max(same) < min(moved)
    assert 10 * max(same) < min(strangers)


def test_brightness_and_thumbnails_do_not_tell_the_diagnosis(phantom: PhantomDataset) -> None:
    chosen = [*phantom.records[:: len(phantom.records) // 300]]
    with ThreadPoolExecutor() as threads:
        pictures = list(threads.map(lambda record: phantom.read(record, 128), chosen))
    label = np.array([record.label for record in chosen])
    thumbnails = np.stack([mean_of_blocks(picture, 16).ravel() for picture in pictures]) / 255
    brightness = roc_auc_score(label, thumbnails.mean(1))
    assert 0.35 < brightness < 0.65

    trained = np.array([int(record.patient[-1]) % 2 == 0 for record in chosen])
    model = LogisticRegression(C=0.1, max_iter=300).fit(thumbnails[trained], label[trained])
    assert roc_auc_score(label[~trained], model.decision_function(thumbnails[~trained])) < 0.87
