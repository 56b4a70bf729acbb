"""Cached images are those that this dataset, at this version and with this source, gives now."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumo_cli.data.cache import cache_usage, decoded_images
from pneumo_cli.data.records import Dataset, DatasetSource
from pneumo_cli.errors import DataError, UnreadableImage
from pneumo_cli.registry import Entry, Provenance
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.specs import DatasetSpec
from tests.data.studies import Studies

SIZE = 16
SPEC = DatasetSpec(name="studies", summary="Studies", factory="tests.data.studies:Studies")


class Negative(Studies):
    """The same records, and other pixels."""

    name = "studies-negative"

    def read(self, record: Any, size: int | None = None) -> np.ndarray:
        return 255 - super().read(record, size)


def decoded(dataset: Dataset, cache: Path) -> np.ndarray:
    return np.array(decoded_images(dataset, SIZE, cache, Progress()).images)


def opened(
    dataset: Dataset,
    *,
    spec: DatasetSpec = SPEC,
    version: str = "1.0",
    root: str = "",
    options: dict[str, Any] | None = None,
) -> Dataset:
    """The dataset, as pneumo opens it."""
    entry = Entry(spec, Provenance("pneumo-studies", version))
    dataset.opened_from = DatasetSource(entry, root, options or {})
    return dataset


def test_another_dataset_with_the_same_records_has_its_own_images(cache: Path) -> None:
    positive, negative = decoded(Studies(), cache), decoded(Negative(), cache)
    assert Studies().fingerprint == Negative().fingerprint
    assert np.abs(negative.astype(int) + positive - 255).max() <= 1  # each is rounded
    assert np.array_equal(decoded(Studies(), cache), positive)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "1.1"},
        {"spec": replace(SPEC, version=2)},
        {"root": "/elsewhere"},
        {"options": {"window": "lung"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_version_or_request_is_decoded_again(cache: Path, changes: dict[str, Any]) -> None:
    decoded(opened(Studies()), cache)
    same, other = opened(Studies()), opened(Studies(), **changes)
    decoded(same, cache)
    decoded(other, cache)
    assert same.reads < len(same.records) <= other.reads


def test_an_entry_of_another_version_is_replaced_and_not_kept_beside(cache: Path) -> None:
    decoded(opened(Studies()), cache)
    before = sorted(os.listdir(cache / "decoded"))
    decoded(opened(Studies(), version="1.1"), cache)
    assert sorted(os.listdir(cache / "decoded")) == before


PACKAGE = """
import numpy as np

from tests.data.studies import Studies as Base
from {name}.levels import altered


class Studies(Base):
    def read(self, record, size=None):
        return altered(super().read(record, size))
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Dataset]:
    """Write ``altered`` of a package's module beside the dataset's, and open the dataset as a new process would."""
    name = f"author_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / "site" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "dataset.py").write_text(PACKAGE.format(name=name))
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def written(body: str) -> Dataset:
        (folder / "levels.py").write_text(f"def altered(image):\n    return {body}\n")
        for module in [module for module in sys.modules if module.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)
        importlib.invalidate_caches()
        dataset: Dataset = importlib.import_module(f"{name}.dataset").Studies()
        return opened(dataset, spec=replace(SPEC, factory=f"{name}.dataset:Studies"))

    return written


def test_an_author_who_mends_the_package_gets_the_mended_images(
    package: Callable[[str], Dataset], cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = decoded(package("image // 2"), cache)
    again = package("image // 2")
    assert np.array_equal(decoded(again, cache), wrong)
    assert again.reads < len(again.records)  # type: ignore[attr-defined]
    mended = decoded(package("image"), cache)
    assert mended.mean() > 1.8 * wrong.mean()
    assert np.array_equal(mended, decoded(package("image"), cache))
    assert not caplog.records  # it was known from the source: nothing to warn of


def test_images_that_changed_under_the_same_identity_are_noticed_and_decoded_again(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = decoded(opened(Studies()), cache)
    changed = opened(Studies())
    changed.read = lambda record, size=None: 255 - changed.pixels(record)  # type: ignore[attr-defined, method-assign]
    after = decoded(changed, cache)
    (warning,) = caplog.messages
    assert warning.startswith("the dataset studies (pneumo-studies 1.0) gives other images than those in")
    assert warning.endswith("decoding them again")
    assert np.array_equal(after, decoded(changed, cache))
    assert not np.array_equal(after, before)
    assert len(caplog.messages) == 1


def test_images_that_cannot_be_read_for_the_comparison_are_used_from_the_cache(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = decoded(Studies(), cache)
    away = Studies()

    def missing(record: Any, size: int | None = None) -> np.ndarray:
        raise UnreadableImage("the drive is not there")

    away.read = missing  # type: ignore[method-assign]
    assert np.array_equal(decoded(away, cache), before)
    assert not caplog.records


def test_a_dataset_that_gives_another_image_each_time_is_refused(cache: Path) -> None:
    rng = np.random.default_rng(0)
    dataset = opened(Studies())
    dataset.read = lambda record, size=None: rng.integers(0, 256, (20, 20), dtype=np.uint8)  # type: ignore[method-assign]
    with pytest.raises(
        DataError, match=r"studies \(pneumo-studies 1\.0\): record 'study-\d+': read\(\) gives another"
    ):
        decoded(dataset, cache)
    assert cache_usage(cache) == (0, 0)


def test_a_dataset_whose_images_depend_on_what_was_read_before_is_refused(cache: Path) -> None:
    dataset = opened(Studies())
    read: set[str] = set()

    def darker_at_first(record: Any, size: int | None = None) -> np.ndarray:
        first = record.name not in read
        read.add(record.name)
        return dataset.pixels(record) // (2 if first else 1)

    dataset.read = darker_at_first  # type: ignore[method-assign]
    with pytest.raises(
        DataError, match=r"record 'study-\d+': read\(\) gave another image when all were decoded"
    ):
        decoded(dataset, cache)
    assert cache_usage(cache) == (0, 0)


def test_the_compared_images_are_of_all_classes_and_few(cache: Path) -> None:
    dataset = Studies(classes=("A", "B", "C", "D"))
    decoded(dataset, cache)
    seen: list[int] = []
    again = Studies(classes=("A", "B", "C", "D"))
    again.read = lambda record, size=None: (seen.append(record.label), again.pixels(record))[1]  # type: ignore[func-returns-value, method-assign]
    decoded(again, cache)
    assert len(seen) == 8
    assert set(seen) == {0, 1, 2, 3}


def test_an_entry_of_the_former_format_is_not_served_and_is_removed(cache: Path) -> None:
    dataset = Studies()
    former = cache / "decoded" / f"{dataset.fingerprint[:32]}-{SIZE}.u8"
    former.parent.mkdir(parents=True)
    former.write_bytes(bytes(len(dataset.records) * SIZE**2))
    former.with_suffix(".json").write_text(json.dumps({"format": 2, "fingerprint": dataset.fingerprint}))
    assert decoded(dataset, cache).any()
    assert not former.exists()
    assert not former.with_suffix(".json").exists()
    assert cache_usage(cache)[0] == 1


def test_the_digest_tells_pixels_apart_that_records_do_not(cache: Path) -> None:
    digests = [decoded_images(one(), SIZE, cache, Progress()).digest for one in (Studies, Negative, Studies)]
    assert digests[0] == digests[2] != digests[1]
