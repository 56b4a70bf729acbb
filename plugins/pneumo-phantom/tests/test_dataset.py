"""The dataset's records: pools, diagnoses, and what the fingerprint covers."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumo_cli.data.records import Record
from pneumo_cli.errors import UnreadableImage, UsageError
from pneumo_phantom import dataset as dataset_module
from pneumo_phantom.dataset import PhantomDataset


@pytest.fixture(scope="module")
def phantom() -> PhantomDataset:
    return PhantomDataset()


def test_the_default_has_1200_training_and_300_test_images(phantom: PhantomDataset) -> None:
    assert Counter(record.pool for record in phantom.records) == {"train": 1200, "test": 300}


def test_class_ratios_are_those_of_the_source(phantom: PhantomDataset) -> None:
    counts = Counter((record.pool, record.label) for record in phantom.records)
    assert counts["train", 1] / counts["train", 0] == pytest.approx(2.86, abs=0.02)
    assert counts["test", 1] / counts["test", 0] == pytest.approx(1.67, abs=0.02)


def test_pneumonia_has_a_subtype_and_normal_has_none(phantom: PhantomDataset) -> None:
    subtypes = defaultdict(Counter)
    for record in phantom.records:
        subtypes[record.label][record.subtype] += 1
    assert set(subtypes[0]) == {""}
    assert set(subtypes[1]) == {"bacteria", "virus"}
    assert 0.5 < subtypes[1]["bacteria"] / subtypes[1].total() < 0.8


@given(
    train=st.integers(8, 200),
    test=st.integers(8, 100),
    seed=st.integers(0, 2**40),
    other=st.integers(0, 2**40),
)
@settings(max_examples=30, deadline=None)
def test_patients_keep_to_one_pool_and_one_diagnosis(train: int, test: int, seed: int, other: int) -> None:
    phantom = PhantomDataset(train, test, seed)
    assert Counter(record.pool for record in phantom.records) == {"train": train, "test": test}
    assert {record.label for record in phantom.records} == {0, 1}
    facts = defaultdict(set)
    for record in phantom.records:
        facts[record.patient].add((record.pool, record.label, record.subtype))
    assert all(len(values) == 1 for values in facts.values())
    names = [record.name for record in phantom.records]
    digests = {record.digest for record in phantom.records}
    assert len(set(names)) == len(digests) == len(names)
    same = PhantomDataset(train, test, other).fingerprint == phantom.fingerprint
    assert same == (seed == other)


def test_many_patients_have_several_images_and_many_have_one(phantom: PhantomDataset) -> None:
    images = Counter(Counter(record.patient for record in phantom.records).values())
    assert images[1] > 50
    assert sum(count for number, count in images.items() if number > 1) > 200
    assert max(images) <= 5


def test_records_are_in_the_order_of_the_source_report(phantom: PhantomDataset) -> None:
    keys = [(record.label, record.name) for record in phantom.records]
    assert keys == sorted(keys)


def test_a_patients_number_does_not_reveal_the_label(phantom: PhantomDataset) -> None:
    numbers = defaultdict(list)
    for record in phantom.records:
        numbers[record.label].append(int(record.patient.removeprefix("phantom-")))
    largest = max(map(max, numbers.values()))
    assert abs(np.mean(numbers[0]) - np.mean(numbers[1])) < 0.1 * largest


def test_further_images_are_of_further_patients_and_leave_all_others_as_they_are() -> None:
    small, large = PhantomDataset(60, 30), PhantomDataset(60, 30, further_images=200)
    before, after = ({record.name: record for record in one.records} for one in (small, large))
    assert before.items() <= after.items()
    added = [after[name] for name in after.keys() - before.keys()]
    assert {record.pool for record in added} == {"train"}
    assert Counter(record.label for record in added) == {0: 52, 1: 148}
    assert {record.patient for record in added}.isdisjoint(record.patient for record in small.records)
    assert len({record.digest for record in large.records}) == len(large.records)
    assert large.fingerprint == PhantomDataset(60, 30, further_images=200).fingerprint != small.fingerprint


def test_further_images_are_drawn_as_the_others_and_do_not_change_them() -> None:
    small, large = PhantomDataset(8, 8), PhantomDataset(8, 8, further_images=8)
    for record in small.records[:2]:
        assert np.array_equal(small.read(record, 128), large.read(record, 128))
    (added, *_) = (record for record in large.records if record not in small.records)
    assert np.array_equal(large.read(added, 128), PhantomDataset(8, 8, further_images=8).read(added, 128))


def test_a_new_version_of_the_generator_changes_every_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = PhantomDataset(20, 20)
    monkeypatch.setattr(dataset_module, "VERSION", dataset_module.VERSION + 1)
    after = PhantomDataset(20, 20)
    assert before.fingerprint != after.fingerprint
    digests = ({record.digest for record in phantom.records} for phantom in (before, after))
    assert not set.intersection(*digests)


def test_it_states_that_it_is_synthetic(phantom: PhantomDataset) -> None:
    assert phantom.synthetic
    assert "no patient" in phantom.origin


@pytest.mark.parametrize("arguments", [(7, 100, 0), (100, 0, 0), (100, 100, -1), (100, 100, 0, -1)], ids=str)
def test_counts_and_seeds_out_of_bounds_are_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="phantom: "):
        PhantomDataset(*arguments)


def test_a_record_of_another_dataset_is_unreadable(phantom: PhantomDataset) -> None:
    stranger = Record("train/NORMAL/IM-0001.jpeg", 0, "IM-0001", "train", "00")
    with pytest.raises(UnreadableImage, match="IM-0001"):
        phantom.read(stranger)
