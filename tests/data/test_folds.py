"""K-fold cross-validation: each image is validated once, no patient is in two folds, classes are balanced."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumo_cli.data.folds import divide, fold_split
from pneumo_cli.data.records import Record
from pneumo_cli.data.splits import groups_apart_from_test
from pneumo_cli.errors import DataError, UsageError

STRATA = [(0, ""), (1, "bacteria"), (1, "virus")]


def record(number: int, label: int, patient: str, pool: str, digest: str, subtype: str) -> Record:
    return Record(f"{label}/{number:05}", label, patient, pool, digest or f"d{number}", subtype)


@st.composite
def populations(draw: st.DrawFn) -> list[Record]:
    """Patients with images of one stratum each, some of whose images are identical to another patient's."""
    records: list[Record] = []
    for patient in range(draw(st.integers(12, 40))):
        stratum = patient % 3 if patient < 12 else draw(st.integers(0, 2))
        pool = draw(st.sampled_from(["train"] * 8 + ["test"]))
        for _ in range(draw(st.integers(1, 4))):
            shared = draw(st.integers(0, 9)) == 0
            digest = f"shared{stratum}-{draw(st.integers(0, 3))}" if shared else ""
            label, subtype = STRATA[stratum]
            records.append(record(len(records), label, f"p{patient}", pool, digest, subtype))
    return records


@settings(max_examples=80, deadline=None)
@given(populations(), st.integers(2, 4), st.integers(0, 5), st.randoms(use_true_random=False))
def test_invariants_of_folds(records: list[Record], folds: int, seed: int, random: object) -> None:
    try:
        parts, excluded = divide(records, folds, seed)
    except DataError:
        return  # too few patients of a class
    pool = [i for i, one in enumerate(records) if one.pool == "train"]
    # Each image of the train pool is in one fold, or excluded: its patient or its bytes are in the test pool.
    assert sorted(np.concatenate([*parts, excluded]).tolist()) == pool
    groups, leaking = groups_apart_from_test(records)
    assert sorted(leaking) == excluded.tolist()
    # Each group of patients is in one fold.
    for group in groups:
        assert sum(bool(set(group) & set(part.tolist())) for part in parts) == 1
    # Two folds differ in a stratum by at most its largest group.
    stratum_of = [(one.label, one.subtype) for one in records]
    for stratum in STRATA:
        inside = [[i for i in part.tolist() if stratum_of[i] == stratum] for part in parts]
        largest = max((len(group) for group in groups if stratum_of[group[0]] == stratum), default=0)
        sizes = [len(part) for part in inside]
        assert max(sizes) - min(sizes) <= largest
    # The order of the records does not matter.
    again = list(records)
    random.shuffle(again)  # type: ignore[attr-defined]
    shuffled, _ = divide(again, folds, seed)
    assert [{again[i].name for i in part} for part in shuffled] == [
        {records[i].name for i in p} for p in parts
    ]


def patients(*counts: int) -> list[Record]:
    """One training image per patient, with ``counts`` per stratum; two test patients."""
    records = [record(0, 0, "t0", "test", "", ""), record(1, 1, "t1", "test", "", "virus")]
    for (label, subtype), count in zip(STRATA, counts, strict=True):
        for _ in range(count):
            number = len(records)
            records.append(record(number, label, f"p{number}", "train", "", subtype))
    return records


def test_each_fold_is_the_validation_set_once() -> None:
    records = patients(40, 60, 20)
    splits = [fold_split(records, 5, fold) for fold in range(1, 6)]
    validated = Counter(position for split in splits for position in split.validation.tolist())
    assert set(validated) == set(range(2, 122))
    assert set(validated.values()) == {1}
    for split in splits:
        assert not set(split.train.tolist()) & set(split.validation.tolist())
        assert len(split.train) + len(split.validation) == 120
        assert split.test.tolist() == [0, 1]
        assert Counter(records[i].label for i in split.validation) == {0: 8, 1: 16}
        assert Counter(records[i].subtype for i in split.validation) == {"": 8, "bacteria": 12, "virus": 4}
        assert (split.policy, split.fraction) == ("patient", 1 / 5)


def test_another_seed_gives_other_folds() -> None:
    records = patients(40, 60, 20)
    one, two = (fold_split(records, 5, 1, seed).validation.tolist() for seed in (1, 2))
    assert one != two
    assert fold_split(records, 5, 1, 1).validation.tolist() == one


def test_folds_without_a_class_are_an_error_for_every_fold() -> None:
    records = patients(3, 20, 20)
    for fold in (1, 4):
        with pytest.raises(
            DataError, match=r"no image of NORMAL.* has 3 separable .*choose --folds 3 or fewer"
        ):
            fold_split(records, 4, fold, classes=("NORMAL", "PNEUMONIA"))
    fold_split(records, 3, 1)


def test_one_patient_of_a_class_cannot_be_cross_validated() -> None:
    with pytest.raises(DataError, match=r"class 0.*they cannot be cross-validated"):
        divide(patients(1, 9, 9), 2)


@pytest.mark.parametrize(("folds", "fold"), [(5, 0), (5, 6), (1, 1)])
def test_a_fold_out_of_range_is_an_error(folds: int, fold: int) -> None:
    with pytest.raises(UsageError):
        fold_split(patients(9, 9, 9), folds, fold)
