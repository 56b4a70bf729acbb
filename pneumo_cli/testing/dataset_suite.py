"""The tests that every dataset has to pass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from pneumo_cli.data.records import Dataset, Record
from pneumo_cli.data.splits import split_records
from pneumo_cli.errors import DataError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.registry import Entry
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.classes import options_class
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.settings.schema import DatasetSettings, MachineSettings
from pneumo_cli.specs import DatasetSpec
from pneumo_cli.testing.contract import ensure, keeping, skip, some
from pneumo_cli.testing.suite import SettingsConformance, environment_of, written_toml
from pneumo_cli.testing.transfer import PROBE
from pneumo_cli.trainers.session import open_dataset

_SAME = "the same in every call, whatever was read before and in whichever thread"


class DatasetConformance(SettingsConformance):
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
        options: values of its own settings, such as a small number of images.
    """

    size: ClassVar[int] = 64
    reads: ClassVar[int] = 12
    options: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture
    def entry(self, plugins: Plugins) -> Entry[DatasetSpec]:
        """The dataset under test."""
        return plugins.datasets.get(self.name)

    @pytest.fixture
    def data_root(self) -> Path | None:
        """The folder of the images; None for a dataset that has none."""
        return None

    @pytest.fixture
    def dataset(self, entry: Entry[DatasetSpec], data_root: Path | None, tmp_path: Path) -> Dataset:
        """The dataset under test, opened."""
        return self._open(entry, data_root, tmp_path / "cache")

    def settings_of(self, entry: Entry[Any]) -> type[DatasetSettings] | None:
        return options_class(entry) if entry.spec.settings else None

    def test_every_record_is_complete(self, dataset: Dataset) -> None:
        names = [record.name for record in dataset.records]
        ensure(
            len(set(names)) == len(names) > 0,
            "every record has a name of its own, and there is one",
            f"there are {len(names)} records with {len(set(names))} names",
            "use the path below the root as the name",
        )
        for record in dataset.records:
            ensure(
                0 <= record.label < max(1, len(dataset.classes)),
                "a label is an index into Dataset.classes",
                f"{record.name} has the label {record.label} of {len(dataset.classes)} classes",
                "map class names to their positions in classes",
            )
            ensure(
                isinstance(record.patient, str) and record.patient,
                "every record has the key of its patient",
                f"{record.name} has none",
                "use the name of the image where patients are not known, and say so in notes",
            )
            ensure(
                isinstance(record.digest, str) and record.digest,
                "every record has a hash of its content",
                f"{record.name} has none",
                "use FileDataset.digests, or hashlib.sha256 of the bytes",
            )
            ensure(
                record.pool in ("train", "test"),
                "the pool of a record is train or test",
                f"that of {record.name} is {record.pool!r}",
                "say which images are held out",
            )

    def test_its_classes_are_different_names(self, dataset: Dataset) -> None:
        rule, mend = "classes are different, printable names; none for images without labels", "rename them"
        ensure(len(set(dataset.classes)) == len(dataset.classes), rule, f"they are {dataset.classes}", mend)
        plain = all(name.strip() and name.isprintable() for name in dataset.classes)
        ensure(plain, rule, f"they are {dataset.classes}", mend)

    def test_several_labels_are_present_absent_or_unknown(self, dataset: Dataset) -> None:
        rule = "labels of a multilabel dataset are 1, 0 or -1, one per class, and label is 0; else there are none"
        for record in dataset.records:
            right = record.labels == ()
            if dataset.multilabel:
                right = record.label == 0 and len(record.labels) == len(dataset.classes)
                right = right and set(record.labels) <= {1, 0, -1}
            broken = f"{record.name} has the label {record.label} and the labels {record.labels}"
            ensure(right, rule, broken, "set labels, and multilabel = True on the dataset")

    def test_both_pools_hold_every_class(self, dataset: Dataset) -> None:
        if not dataset.classes:
            found = {record.pool for record in dataset.records}
            ensure(
                len(found) == 2, "there are training and test images", f"there are {found}", "hold some out"
            )
            return
        labels = range(len(dataset.classes))
        expected = {(pool, label) for pool in ("train", "test") for label in labels}
        there = {(record.pool, label) for record in dataset.records for label in record.present}
        missing = [f"{dataset.classes[label]} in {pool}" for pool, label in sorted(expected - there)]
        ensure(
            not missing,
            "the train pool and the test pool hold images of every class",
            f"there is no image of {some(missing)}",
            "hold out some patients of each class as the pool test",
        )

    def test_records_are_sorted_by_label(self, dataset: Dataset) -> None:
        labels = [record.label for record in dataset.records]
        rule = "records are sorted by label, then by name: seeds decide by position"
        ensure(labels == sorted(labels), rule, "they are not", "sort them by (record.label, record.name)")

    def test_no_image_or_patient_is_in_two_pools(self, dataset: Dataset) -> None:
        for what in ("patient", "digest"):
            pools = {
                pool: {getattr(record, what) for record in dataset.records if record.pool == pool}
                for pool in ("train", "test")
            }
            both = sorted(pools["train"] & pools["test"])
            if both and dataset.notes:
                skip(f"{some(both)} are in both pools; its notes: {' '.join(dataset.notes)}")
            ensure(
                not both,
                f"no {'patient' if what == 'patient' else 'identical image'} is in the train and the test pool",
                f"{some(both)} are in both",
                "divide by patient; where the publisher did not, say so in the dataset's notes",
            )

    def test_a_split_by_patient_is_disjoint_and_seeded(self, dataset: Dataset) -> None:
        try:
            split, again = (
                split_records(dataset.records, "patient", 0.25, 1, dataset.classes) for _ in range(2)
            )
        except DataError as error:
            pytest.skip(str(error))
        sides = [{dataset.records[i].patient for i in part} for part in (split.train, split.validation)]
        both = sorted(sides[0] & sides[1])
        ensure(
            not both and np.array_equal(split.train, again.train),
            "a split by patient has no patient on both sides, and is decided by its seed",
            f"{some(both) or 'another call'} gives another split",
            "give all images of a patient the same key",
        )

    def test_it_states_its_name_origin_and_place(self, entry: Entry[DatasetSpec], dataset: Dataset) -> None:
        rule, mend = (
            "a dataset states its registered name, its origin and its place",
            "set name, origin and place",
        )
        ensure(dataset.name == entry.spec.name, rule, f"its name is {dataset.name!r}", mend)
        ensure(dataset.origin.strip() and dataset.place.strip(), rule, "one of them is empty", mend)

    def test_the_fingerprint_is_the_same_when_opened_again(
        self, entry: Entry[DatasetSpec], dataset: Dataset, data_root: Path | None, tmp_path: Path
    ) -> None:
        again = self._open(entry, data_root, tmp_path / "other cache")
        ensure(
            again.fingerprint == dataset.fingerprint,
            "a dataset that is opened twice has the same records",
            "its fingerprint differs",
            "let neither time, the order of a folder nor random numbers without a seed decide records",
        )

    def test_images_are_uint8_gray_levels_of_sufficient_size(self, dataset: Dataset) -> None:
        dtype = np.dtype(np.uint8 if dataset.bits == 8 else np.uint16)
        axes = 2 if dataset.channels == 1 else 3
        rule = f"read() returns {dtype} [{'C, ' * (axes - 2)}H, W], of the requested size or twice as large"
        mend = "convert to gray levels 0 black to 255 white, and let pneumo resize"
        for record in self._sample(dataset):
            whole, sized = self._read(dataset, record), self._read(dataset, record, self.size)
            for image in (whole, sized):
                right = isinstance(image, np.ndarray) and image.dtype == dtype and image.ndim == axes
                ensure(
                    right and (axes == 2 or len(image) == dataset.channels), rule, _shown(record, image), mend
                )
            enough = [min(2 * self.size, side) for side in whole.shape[-2:]]
            exact = sized.shape[-2:] == (self.size, self.size)
            large = all(s >= e for s, e in zip(sized.shape[-2:], enough, strict=True))
            ensure(exact or large, rule, _shown(record, sized), mend)

    def test_images_depend_on_neither_order_nor_thread(self, dataset: Dataset) -> None:
        records = self._sample(dataset)
        expected = [self._read(dataset, record, self.size) for record in records]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda record: self._read(dataset, record, self.size), records[::-1]))[::-1]
        for record, one, other in zip(records, expected, found, strict=True):
            mend = "share nothing that changes between calls of read(), and seed by the record"
            ensure(np.array_equal(one, other), f"an image is {_SAME}", f"{record.name} differs", mend)

    def test_targets_are_those_that_it_states(self, dataset: Dataset) -> None:
        kinds = [target.kind for target in dataset.targets]
        if not kinds:
            if any(record.numbers or record.boxes for record in dataset.records):
                ensure(
                    False,
                    "numbers and boxes are stated",
                    "there are no targets",
                    "list them in Dataset.targets",
                )
            skip(f"{self.name} has classes alone")
        for record in dataset.records:
            ensure(
                len(record.numbers) == kinds.count("number") and not any(map(math.isinf, record.numbers)),
                "a record has one number for each target of kind number; NaN is unknown",
                f"{record.name} has {record.numbers} for {kinds.count('number')} targets",
                "set Record.numbers in the order of Dataset.targets",
            )
            ensure(
                all(0 <= left < right <= 1 and 0 <= top < low <= 1 for left, top, right, low in record.boxes),
                "boxes are (left, top, right, bottom) as shares of width and height",
                f"{record.name} has {record.boxes}",
                "divide pixels by width and height",
            )
        for target in (one for one in dataset.targets if one.kind == "mask"):
            for record in self._sample(dataset):
                with keeping(
                    "read_mask gives the mask of every record", "return zeros where there is nothing"
                ):
                    mask = dataset.read_mask(record, target.name)
                image = self._read(dataset, record)
                ratios = [array.shape[-1] / array.shape[-2] for array in (mask, image)]
                ensure(
                    mask.dtype == np.uint8 and mask.ndim == 2 and abs(ratios[0] / ratios[1] - 1) < 0.05,
                    "a mask is uint8 [H, W], of the proportions of its image",
                    f"{_shown(record, mask)}, and its image {image.shape[-2]} x {image.shape[-1]}",
                    "cut and scale it as the image",
                )

    def resolve_settings(
        self, plugins: Plugins, entry: Entry[Any], layer: Literal["flags", "environment", "file"], values: Any
    ) -> DatasetSettings:
        environ = environment_of(values) if layer == "environment" else {}
        flags = {"dataset": entry.qualified_name, **(values if layer == "flags" else {})}
        with TemporaryDirectory() as folder:
            config = written_toml(Path(folder), values if layer == "file" else {})
            probe = plugins.trainers.get(PROBE.name)
            return resolve(plugins, probe, flags, config=config, environ=environ).options

    def _read(self, dataset: Dataset, record: Record, size: int | None = None) -> NDArray[Any]:
        with keeping("read() decodes every record", "raise UnreadableImage for a damaged image alone"):
            return dataset.read(record, size)

    def _sample(self, dataset: Dataset) -> Sequence[Record]:
        spread = np.unique(np.linspace(0, len(dataset.records) - 1, self.reads).astype(int))
        return [dataset.records[position] for position in spread]

    def _open(self, entry: Entry[DatasetSpec], root: Path | None, cache: Path) -> Dataset:
        if entry.spec.needs_root and root is None:
            skip(
                f"it reads a folder: override the fixture data_root, or pneumo check {self.name} --data-root …"
            )
        with keeping("a dataset opens", "see what its factory raises; name its folder with data_root"):
            options = options_class(entry)(**self.options) if self.options else None
            machine = MachineSettings(data_root=root, cache=cache)
            return open_dataset(entry, machine, Progress(), options=options)


def _shown(record: Record, image: Any) -> str:
    shape = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
    return f"{record.name} gives {shape}"
