"""Images and patients that two splits share are found and counted once, each as its kind."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.data.leakage import Leaks, at_original_size, find_leaks, near_duplicates_within
from pneumo_cli.data.prepare import PreparedData, SplitRequest, prepare
from pneumo_cli.data.records import Dataset
from pneumo_cli.runtime.progress import Progress

Opened = Callable[[Path], Dataset]


def synthetic_image(seed: int, side: int = 96) -> Image.Image:
    rng = np.random.default_rng(seed)
    pixels = np.zeros((side, side))
    for cells, strength in ((5, 30), (20, 15)):
        small = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
        pixels += strength * np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))
    return Image.fromarray((128 + pixels).clip(0, 255).astype(np.uint8))


def png(image: Image.Image, compression: int = 6) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=compression)
    return buffer.getvalue()


def write(root: Path) -> Path:
    """Six patients of two images per class and pool."""
    seed = 0
    for pool in ("train", "test"):
        for label in "AB":
            (root / pool / label).mkdir(parents=True)
            for patient in range(6):
                for number in range(2):
                    seed += 1
                    file = root / pool / label / f"{pool}{label}{patient}_{number}.png"
                    file.write_bytes(png(synthetic_image(seed)))
    return root


def test_image(root: Path, patient: int) -> Image.Image:
    return Image.open(root / "test" / "A" / f"testA{patient}_0.png")


test_image.__test__ = False  # type: ignore[attr-defined]


def prepared(dataset: Dataset, cache: Path, size: int = 64, policy: str = "patient") -> PreparedData:
    return prepare(
        dataset,
        size=size,
        split=SplitRequest(policy, fraction=0.34, seed=1),  # type: ignore[arg-type]
        cache=cache,
        progress=Progress(),
        skip_unreadable=True,
    )


def found(root: Path, open_tree: Opened, cache: Path, **options: object) -> tuple[PreparedData, Leaks]:
    data = prepared(open_tree(root), cache, **options)  # type: ignore[arg-type]
    return data, find_leaks(data)


def test_clean_data_have_no_leakage(tmp_path: Path, open_tree: Opened, cache: Path) -> None:
    data, leaks = found(write(tmp_path / "tree"), open_tree, cache)
    assert not leaks.leaks
    assert leaks.compared
    assert not leaks.left_out.leaks
    assert not any(near_duplicates_within(data).values())
    assert [(leak.first, leak.second) for leak in leaks.pairs] == [
        ("train", "validation"),
        ("train", "test"),
        ("validation", "test"),
    ]


def plant(root: Path) -> None:
    """Put images of test patients into the train pool: one of each kind, under names of other patients."""
    train = root / "train" / "A"
    (train / "other0_0.png").write_bytes((root / "test" / "A" / "testA0_0.png").read_bytes())
    (train / "other1_0.png").write_bytes(png(test_image(root, 1), compression=1))
    brighter = test_image(root, 2).point([min(255, round(1.15 * level)) for level in range(256)])
    (train / "other2_0.png").write_bytes(png(brighter))
    (train / "testA3_9.png").write_bytes(png(synthetic_image(1000)))


def test_each_kind_of_planted_leak_is_found_as_its_kind(
    tmp_path: Path, open_tree: Opened, cache: Path
) -> None:
    root = write(tmp_path / "tree")
    plant(root)
    data, leaks = found(root, open_tree, cache, policy="all")
    leaks = at_original_size(leaks, data.dataset)
    names = [record.name for record in data.dataset.records]
    train_and_test = leaks.pairs[1]
    assert [(pair.kind, names[pair.first], names[pair.second]) for pair in train_and_test.pairs] == [
        ("bytes", "train/A/other0_0.png", "test/A/testA0_0.png"),
        ("pixels", "train/A/other1_0.png", "test/A/testA1_0.png"),
        ("near", "train/A/other2_0.png", "test/A/testA2_0.png"),
    ]
    assert train_and_test.patients == ("testA3",)
    assert train_and_test.plain() == {
        "between": ["train", "test"],
        "patients": 1,
        "images": 2,
        "identical": 1,
        "pixels": 1,
        "near": 1,
    }
    assert leaks.leaks


def test_images_excluded_by_the_patient_split_are_reported_apart_from_leaks(
    tmp_path: Path, open_tree: Opened, cache: Path
) -> None:
    root = write(tmp_path / "tree")
    plant(root)
    _, leaks = found(root, open_tree, cache)
    assert leaks.left_out.count("bytes") == 1
    assert leaks.left_out.patients == ("testA3",)
    kinds = sorted(pair.kind for leak in leaks.pairs for pair in leak.pairs)
    assert kinds == ["near", "pixels"]
    assert not any(leak.patients for leak in leaks.pairs)


def test_pixels_that_are_equal_only_after_resizing_are_a_near_duplicate(
    tmp_path: Path, open_tree: Opened, cache: Path
) -> None:
    root = write(tmp_path / "tree")
    pixels = np.asarray(test_image(root, 1)).copy()
    pixels[40, 40] ^= 1
    (root / "train" / "A" / "other_0.png").write_bytes(png(Image.fromarray(pixels)))
    data, leaks = found(root, open_tree, cache, size=32, policy="all")
    assert at_original_size(leaks, data.dataset).pairs[1].plain()["pixels"] == 0
    assert at_original_size(leaks, data.dataset).pairs[1].plain()["near"] == 1


def test_equal_images_of_two_patients_within_a_split_are_not_a_leak(
    tmp_path: Path, open_tree: Opened, cache: Path
) -> None:
    root = write(tmp_path / "tree")
    (root / "test" / "A" / "other_0.png").write_bytes(png(test_image(root, 1).resize((80, 80))))
    (root / "test" / "A" / "testA2_9.png").write_bytes(png(test_image(root, 2).resize((80, 80))))
    data, leaks = found(root, open_tree, cache)
    assert not leaks.leaks
    within = near_duplicates_within(data)
    assert {name: len(pairs) for name, pairs in within.items()} == {"train": 0, "validation": 0, "test": 1}


def test_images_too_small_for_near_duplicates_are_compared_by_bytes_and_pixels(
    tmp_path: Path, open_tree: Opened, cache: Path
) -> None:
    root = write(tmp_path / "tree")
    plant(root)
    _, leaks = found(root, open_tree, cache, size=16, policy="all")
    assert not leaks.compared
    assert [pair.kind for pair in leaks.pairs[1].pairs] == ["bytes", "pixels"]


@pytest.mark.parametrize("size", [16, 64])
def test_black_images_of_two_patients_are_not_near_duplicates(
    tmp_path: Path, open_tree: Opened, cache: Path, size: int
) -> None:
    root = write(tmp_path / "tree")
    for pool, compression in (("train", 0), ("test", 9)):
        (root / pool / "A" / f"black{pool}_0.png").write_bytes(png(Image.new("L", (96, 96)), compression))
    assert not found(root, open_tree, cache, size=size, policy="all")[1].leaks
