"""Splits and samplers of plugins: found by name, and refused by the plugin's name where they break a rule."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pneumo_cli.data.class_sampling import ClassSampling, find_sampling
from pneumo_cli.data.prepare import SplitRequest, prepare
from pneumo_cli.data.records import Record
from pneumo_cli.data.registered import RegisteredSampling, find_registered
from pneumo_cli.data.splits import Split
from pneumo_cli.errors import DataError, UsageError
from pneumo_cli.registry import Entry, Provenance, Registries
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.schema import SPLITS
from pneumo_cli.specs import SamplerSpec, SplitSpec
from tests.data.studies import Studies

CLINIC = Provenance("pneumo-clinic", "2.0")
RECORDS = Studies(classes=("A", "B")).records
POOL = np.array([place for place, record in enumerate(RECORDS) if record.pool == "train"])
TRAINING = POOL[:16]


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], Registries]:
    """Registries with a split ``by-year`` and a sampling ``one-each``, both a given function."""

    def registered(function: Callable[..., Any]) -> Registries:
        module = ModuleType("clinic_policies")
        module.policy = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "clinic_policies", module)
        registries = Registries()
        registries.splits.add(
            SplitSpec(name="by-year", summary="By year", split="clinic_policies:policy"), CLINIC
        )
        registries.samplers.add(
            SamplerSpec(name="one-each", summary="One each", sample="clinic_policies:policy"), CLINIC
        )
        return registries

    return registered


def split_of(registries: Registries, policy: str = "by-year") -> Split:
    return SplitRequest.of(registries.splits, policy, 0.25, 7).split(RECORDS, ("A", "B"))


def sampling_of(registries: Registries) -> RegisteredSampling:
    labels = np.array([record.label for record in RECORDS])
    found = find_sampling("one-each", registries.samplers, TRAINING, labels, RECORDS, 3)
    assert isinstance(found, RegisteredSampling)
    return found


def test_a_plugin_divides_the_training_pool(plugin: Callable[..., Registries], cache: Path) -> None:
    asked = []

    def by_year(records: Any, fraction: float, seed: int) -> Any:
        asked.append((len(records), fraction, seed))
        return POOL[:12].tolist(), torch.from_numpy(POOL[14:])

    registries = plugin(by_year)
    data = prepare(
        Studies(classes=("A", "B")),
        size=8,
        split=SplitRequest.of(registries.splits, "by-year", 0.25, 7),
        cache=cache,
        progress=Progress(),
        skip_unreadable=False,
    )
    assert asked[0] == (32, 0.25, 7)
    assert data.split.train.tolist() == POOL[:12].tolist()
    assert data.split.validation.tolist() == POOL[14:].tolist()
    assert [RECORDS[place].pool for place in data.split.test] == ["test"] * 8
    assert (data.split.policy, data.split.seed, data.split.excluded.tolist()) == ("by-year", 7, [])
    assert not data.overlaps.leaks


def test_a_patient_on_both_sides_of_a_plugins_split_is_a_leak(
    plugin: Callable[..., Registries], cache: Path
) -> None:
    registries = plugin(lambda records, fraction, seed: (POOL[::2], POOL[1::2]))
    request = SplitRequest.of(registries.splits, "pneumo-clinic:by-year", 0.25, 7)
    options: dict[str, Any] = {"cache": cache, "progress": Progress(), "skip_unreadable": False}
    data = prepare(Studies(classes=("A", "B")), size=8, split=request, **options)
    assert data.overlaps.pairs[0].patients == 12


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "split() gives NoneType: give (train, validation)"),
        (([1], [2], [3]), "split() gives tuple: give (train, validation)"),
        (([], [4]), "split() gives no image for training"),
        (([0], []), "split() gives no image for validation"),
        (([0.0, 1.0], [4]), "split() gives float64 [2]: give whole numbers [n]"),
        (([[0, 1]], [4]), "split() gives int64 [1, 2]: give whole numbers [n]"),
        (([True, False], [4]), "split() gives bool [2]"),
        ((["a"], [4]), "give whole numbers [n]"),
        (([0, 32], [4]), "split() gives the position 32: there are 32 records, from 0"),
        (([0, -1], [4]), "split() gives the position -1"),
        (([0, 0], [4]), "split() gives a record twice for training"),
        (([0, 1], [4, 1]), "split() gives record 'study-01' for training and for validation"),
        (([0, 1], [4, 7]), "split() gives record 'study-07' of the test pool for validation"),
        (([0, [1]], [4]), "split() gives no positions: ValueError"),
    ],
)
def test_a_wrong_division_is_refused_by_the_plugins_name(
    plugin: Callable[..., Registries], value: Any, words: str
) -> None:
    with pytest.raises(DataError) as caught:
        split_of(plugin(lambda records, fraction, seed: value))
    assert str(caught.value).startswith("the split by-year (pneumo-clinic 2.0): ")
    assert words in str(caught.value)


def test_a_division_that_is_another_each_time_is_refused(plugin: Callable[..., Registries]) -> None:
    rng = np.random.default_rng(0)

    def shuffled(records: Any, fraction: float, seed: int) -> Any:
        order = rng.permutation(POOL)
        return order[:16], order[16:]

    with pytest.raises(DataError, match="gives another division each time"):
        split_of(plugin(shuffled))


def test_a_split_that_raises_is_named(plugin: Callable[..., Registries]) -> None:
    with pytest.raises(
        DataError, match=r"the split by-year \(pneumo-clinic 2\.0\): split\(\) failed: KeyError: 'year'"
    ):
        split_of(plugin(lambda records, fraction, seed: {}["year"]))


def test_a_split_that_cannot_be_imported_is_named(plugin: Callable[..., Registries]) -> None:
    registries = plugin(lambda: None)
    registries.splits.add(SplitSpec(name="gone", summary="Gone", split="clinic_policies:gone"), CLINIC)
    with pytest.raises(
        UsageError, match=r"the split gone \(pneumo-clinic 2\.0\) cannot be imported from clinic_pol"
    ):
        split_of(registries, "gone")


def test_an_unknown_name_is_refused_with_the_nearest_of_all(plugin: Callable[..., Registries]) -> None:
    registries = plugin(lambda: None)
    with pytest.raises(UsageError, match=r"unknown split 'patent'; did you mean patient\?"):
        find_registered(registries.splits, "patent", SPLITS)
    with pytest.raises(UsageError, match=r"unknown split 'by_year'; did you mean by-year\?"):
        find_registered(registries.splits, "by_year", SPLITS)
    with pytest.raises(UsageError, match=r"unknown sampling 'one-eech'; did you mean one-each\?"):
        find_sampling("one-eech", registries.samplers, TRAINING, np.zeros(32, np.int64), RECORDS, 0)


def test_a_plugin_does_not_replace_a_policy_of_pneumo_by_its_name() -> None:
    registries = Registries()
    registries.splits.add(SplitSpec(name="patient", summary="Another", split="clinic:split"), CLINIC)
    assert find_registered(registries.splits, "patient", SPLITS) is None
    found = find_registered(registries.splits, "pneumo-clinic:patient", SPLITS)
    assert isinstance(found, Entry)


def test_repetitions_of_an_image_are_numbered(plugin: Callable[..., Registries]) -> None:
    chosen = np.array([TRAINING[3], TRAINING[0], TRAINING[3], TRAINING[3], TRAINING[1], TRAINING[0]])
    sampling = sampling_of(plugin(lambda positions, records, seed, epoch: chosen))
    assert sampling.size == 6
    assert ((sampling.of(1) - chosen) // 32).tolist() == [0, 0, 1, 2, 0, 1]
    assert (sampling.of(1) % 32).tolist() == chosen.tolist()


@given(st.lists(st.integers(0, 15), min_size=1, max_size=60))
def test_numbered_repetitions_are_all_different_and_of_the_chosen_images(places: list[int]) -> None:
    chosen = TRAINING[np.array(places)]
    module = ModuleType("clinic_repeats")
    module.policy = lambda positions, records, seed, epoch: chosen  # type: ignore[attr-defined]
    sys.modules["clinic_repeats"] = module
    entry = Entry(SamplerSpec(name="again", summary="Again", sample="clinic_repeats:policy"), CLINIC)
    numbered = RegisteredSampling(entry, TRAINING, RECORDS, 0).of(1)
    assert len(np.unique(numbered)) == len(places)
    assert np.array_equal(numbered % 32, chosen)
    for image in np.unique(chosen):
        repetitions = numbered[chosen == image] // 32
        assert repetitions.tolist() == list(range(len(repetitions)))


def test_a_plugins_choice_gets_seed_and_epoch(plugin: Callable[..., Registries]) -> None:
    def some(positions: Any, records: list[Record], seed: int, epoch: int) -> Any:
        rng = np.random.default_rng([seed, epoch])
        return rng.choice(positions, 8, replace=False)

    sampling = sampling_of(plugin(some))
    assert np.array_equal(sampling.of(2), sampling.of(2))
    assert not np.array_equal(sampling.of(2), sampling.of(3))
    assert set(sampling.of(2)) <= set(TRAINING)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda positions, records, seed, epoch: [], "sample() gives no image"),
        (lambda positions, records, seed, epoch: None, "give whole numbers [n]"),
        (lambda positions, records, seed, epoch: positions / 1, "sample() gives float64 [16]"),
        (lambda positions, records, seed, epoch: [99], "the position 99: there are 32 records"),
        (lambda positions, records, seed, epoch: [30], "record 'study-30', which is not for training"),
        (lambda positions, records, seed, epoch: np.random.permutation(positions), "gives others each time"),
        (lambda positions, records, seed, epoch: 1 / 0, "sample() failed: ZeroDivisionError"),
    ],
)
def test_a_wrong_choice_is_refused_by_the_plugins_name(
    plugin: Callable[..., Registries], function: Callable[..., Any], words: str
) -> None:
    with pytest.raises(DataError) as caught:
        sampling_of(plugin(function))
    assert str(caught.value).startswith("the sampling one-each (pneumo-clinic 2.0): ")
    assert words in str(caught.value)


def test_each_epoch_has_as_many_images(plugin: Callable[..., Registries]) -> None:
    sampling = sampling_of(plugin(lambda positions, records, seed, epoch: positions[:-epoch]))
    with pytest.raises(DataError, match=r"14 images for epoch 2 and 15 for the first: give as many for each"):
        sampling.of(2)


def test_a_plugin_that_changes_the_positions_changes_only_its_copy(plugin: Callable[..., Registries]) -> None:
    def spoils(positions: Any, records: Any, seed: int, epoch: int) -> Any:
        positions[:] = positions[0]
        return positions

    before = TRAINING.copy()
    sampling_of(plugin(spoils)).of(1)
    assert np.array_equal(TRAINING, before)


def test_classes_are_not_sampled_where_images_have_several_labels() -> None:
    registries, labels = Registries(), np.zeros((32, 3), np.int64)
    with pytest.raises(UsageError, match="sampling = 'over' is for exclusive classes"):
        find_sampling("over", registries.samplers, TRAINING, labels, RECORDS, 0)
    everything = find_sampling("none", registries.samplers, TRAINING, labels, RECORDS, 0)
    assert isinstance(everything, ClassSampling)
    assert np.array_equal(everything.of(5), TRAINING)
