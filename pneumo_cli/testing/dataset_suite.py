"""The tests that every dataset has to pass."""

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
    """The tests that every dataset has to pass; for a dataset that reads a folder::

        class TestClinic(DatasetConformance):
            name = "clinic"

            @pytest.fixture
            def data_root(self, tmp_path):
                return write_some_images(tmp_path)

    Attributes:
        name: the registered name, or ``distribution:name``.
        size: the height and width of the requested images, in pixels.
        reads: number of images that are read, spread over the records.
    """

    name: ClassVar[str]
    size: ClassVar[int] = 64
    reads: ClassVar[int] = 12

    @pytest.fixture
    def data_root(self) -> Path | None:
        """The folder of the images; None for a dataset that has none."""
        return None

    @pytest.fixture
    def dataset(self, data_root: Path | None, tmp_path: Path) -> Dataset:
        """The dataset under test."""
        return self._open(data_root, tmp_path / "cache")

    def test_every_record_is_complete(self, dataset: Dataset) -> None:
        assert len({record.name for record in dataset.records}) == len(dataset.records) > 0
        for record in dataset.records:
            assert 0 <= record.label < len(dataset.classes), record
            assert record.patient, record
            assert record.digest, record

    def test_its_classes_are_different_names(self, dataset: Dataset) -> None:
        assert len(set(dataset.classes)) == len(dataset.classes) > 0
        assert all(name.strip() and name.isprintable() for name in dataset.classes)

    def test_several_labels_are_present_absent_or_unknown(self, dataset: Dataset) -> None:
        for record in dataset.records:
            if dataset.multilabel:
                assert record.label == 0, record
                assert len(record.labels) == len(dataset.classes), record
                assert set(record.labels) <= {1, 0, -1}, record
            else:
                assert record.labels == (), record

    def test_both_pools_hold_every_class(self, dataset: Dataset) -> None:
        labels = range(len(dataset.classes))
        expected = {(pool, label) for pool in ("train", "test") for label in labels}
        found = {(record.pool, label) for record in dataset.records for label in record.present}
        assert found == expected

    def test_records_are_sorted_by_label(self, dataset: Dataset) -> None:
        labels = [record.label for record in dataset.records]
        assert labels == sorted(labels)

    def test_it_states_its_name_origin_and_place(self, dataset: Dataset) -> None:
        assert dataset.name == discover().datasets.get(self.name).spec.name
        assert dataset.origin.strip()
        assert dataset.place.strip()

    def test_the_fingerprint_is_the_same_when_opened_again(
        self, dataset: Dataset, data_root: Path | None, tmp_path: Path
    ) -> None:
        assert self._open(data_root, tmp_path / "other cache").fingerprint == dataset.fingerprint

    def test_images_are_uint8_gray_levels_of_sufficient_size(self, dataset: Dataset) -> None:
        for record in self._sample(dataset):
            whole, sized = dataset.read(record), dataset.read(record, self.size)
            for image in (whole, sized):
                assert image.dtype == np.uint8, record
                assert image.ndim == 2, record
            enough = [min(2 * self.size, side) for side in whole.shape]
            exact = sized.shape == (self.size, self.size)
            assert exact or all(s >= e for s, e in zip(sized.shape, enough, strict=True)), record

    def test_images_depend_on_neither_order_nor_thread(self, dataset: Dataset) -> None:
        records = self._sample(dataset)
        expected = [dataset.read(record, self.size) for record in records]
        with ThreadPoolExecutor(4) as pool:
            actual = list(pool.map(lambda record: dataset.read(record, self.size), records[::-1]))[::-1]
        for record, one, other in zip(records, expected, actual, strict=True):
            assert np.array_equal(one, other), record

    def _sample(self, dataset: Dataset) -> list[Record]:
        spread = np.unique(np.linspace(0, len(dataset.records) - 1, self.reads).astype(int))
        return [dataset.records[position] for position in spread]

    def _open(self, root: Path | None, cache: Path) -> Dataset:
        entry = discover().datasets.get(self.name)
        return open_dataset(entry, MachineSettings(data_root=root, cache=cache), Progress())
