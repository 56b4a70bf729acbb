"""What every dataset does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from pneumo_cli.data.records import Dataset, Record
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.schema import MachineSettings
from pneumo_cli.trainers.session import open_dataset


class DatasetConformance:
    """What every dataset does. The author's whole test, where the images lie in a folder::

        class TestClinic(DatasetConformance):
            name = "clinic"

            @pytest.fixture
            def data_root(self, tmp_path):
                return write_some_images(tmp_path)

    Attributes:
        name: the registered name, or ``distribution:name``.
        size: the height and width in pixels that images are asked for.
        reads: how many images, spread over the records, are read.
    """

    name: ClassVar[str]
    size: ClassVar[int] = 64
    reads: ClassVar[int] = 12

    @pytest.fixture
    def data_root(self) -> Path | None:
        """Where the images lie; None for a dataset without a folder of the user's."""
        return None

    @pytest.fixture
    def dataset(self, data_root: Path | None, tmp_path: Path) -> Dataset:
        """The dataset under test, opened."""
        return self._open(data_root, tmp_path / "cache")

    def test_every_record_is_complete(self, dataset: Dataset) -> None:
        assert len({record.name for record in dataset.records}) == len(dataset.records) > 0
        for record in dataset.records:
            assert 0 <= record.label < len(dataset.classes), record
            assert record.patient, record
            assert record.digest, record

    def test_both_pools_hold_every_class(self, dataset: Dataset) -> None:
        found = {(record.pool, record.label) for record in dataset.records}
        labels = range(len(dataset.classes))
        assert found == {(pool, label) for pool in ("train", "test") for label in labels}

    def test_records_stand_in_the_order_of_their_labels(self, dataset: Dataset) -> None:
        labels = [record.label for record in dataset.records]
        assert labels == sorted(labels)

    def test_it_says_what_it_is(self, dataset: Dataset) -> None:
        assert dataset.name == discover().datasets.get(self.name).spec.name
        assert dataset.origin.strip()
        assert dataset.place.strip()

    def test_two_openings_have_one_fingerprint(
        self, dataset: Dataset, data_root: Path | None, tmp_path: Path
    ) -> None:
        assert self._open(data_root, tmp_path / "other cache").fingerprint == dataset.fingerprint

    def test_images_are_grey_levels_that_lose_nothing_at_the_size_asked_for(self, dataset: Dataset) -> None:
        for record in self._some(dataset):
            whole, asked = dataset.read(record), dataset.read(record, self.size)
            for image in (whole, asked):
                assert image.dtype == np.uint8, record
                assert image.ndim == 2, record
            enough = [min(2 * self.size, side) for side in whole.shape]
            exact = asked.shape == (self.size, self.size)
            assert exact or all(a >= e for a, e in zip(asked.shape, enough, strict=True)), record

    def test_images_are_the_same_in_whatever_order_and_thread(self, dataset: Dataset) -> None:
        records = self._some(dataset)
        expected = [dataset.read(record, self.size) for record in records]
        with ThreadPoolExecutor(4) as pool:
            actual = list(pool.map(lambda record: dataset.read(record, self.size), records[::-1]))[::-1]
        for record, one, other in zip(records, expected, actual, strict=True):
            assert np.array_equal(one, other), record

    def _some(self, dataset: Dataset) -> list[Record]:
        spread = np.unique(np.linspace(0, len(dataset.records) - 1, self.reads).astype(int))
        return [dataset.records[position] for position in spread]

    def _open(self, root: Path | None, cache: Path) -> Dataset:
        entry = discover().datasets.get(self.name)
        return open_dataset(entry, MachineSettings(data_root=root, cache=cache), Progress())
