"""Splits of the records: of the report, by patient, by order."""

from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumo_cli.data.folds import divide
from pneumo_cli.data.records import Record
from pneumo_cli.data.splits import Split, class_table, overlaps, patient_groups, split_records
from pneumo_cli.errors import DataError, UsageError

FRACTION = 0.25


def record(
    number: int, label: int, patient: str, pool: str = "train", digest: str = "", subtype: str = ""
) -> Record:
    return Record(f"{label}/{number:05}", label, patient, pool, digest or f"d{number}", subtype)


def names(records: list[Record], positions: np.ndarray) -> set[str]:
    return {records[position].name for position in positions}


def report_records() -> list[Record]:
    """The number of records of the report, in its order."""
    counts = ((0, "train", 1349), (0, "test", 234), (1, "train", 3883), (1, "test", 390))
    labels = [(label, pool) for label, pool, count in counts for _ in range(count)]
    return [record(number, label, f"p{number}", pool) for number, (label, pool) in enumerate(labels)]


def test_source_is_the_split_of_the_report() -> None:
    records = report_records()
    split = split_records(records, "source")
    rows = class_table(records, ("NORMAL", "PNEUMONIA"), split)
    assert [row.counts for row in rows] == [
        {"NORMAL": 1017, "PNEUMONIA": 2907},
        {"NORMAL": 332, "PNEUMONIA": 976},
        {"NORMAL": 234, "PNEUMONIA": 390},
    ]
    assert [f"{row.ratio:.2f}" for row in rows] == ["2.86", "2.94", "1.67"]


def test_source_equals_random_split_with_the_global_seed() -> None:
    pool = [position for position, item in enumerate(report_records()) if item.pool == "train"]
    torch.manual_seed(42)
    train, validation = torch.utils.data.random_split(pool, [3924, 1308])
    split = split_records(report_records(), "source")
    assert split.train.tolist() == list(train)
    assert split.validation.tolist() == list(validation)


def test_last_is_the_split_of_the_reports_autoencoder() -> None:
    records = report_records()
    split = split_records(records, "last", fraction=0.2).where(lambda position: records[position].label == 1)
    assert (len(split.train), len(split.validation), len(split.test)) == (3106, 777, 390)
    assert split.validation.min() == split.train.max() + 1


def test_all_is_the_split_of_the_reports_gan() -> None:
    records = report_records()
    split = split_records(records, "all").where(lambda position: records[position].label == 1)
    assert (len(split.train), len(split.validation), len(split.test)) == (3883, 0, 390)
    assert all(records[position].pool == "train" for position in split.train)


@st.composite
def populations(draw: st.DrawFn) -> list[Record]:
    """Patients with images of one stratum each, some of whose images are identical to another patient's."""
    records: list[Record] = []
    strata = [(0, ""), (1, "bacteria"), (1, "virus")]
    for patient in range(draw(st.integers(6, 40))):
        stratum = patient % 3 if patient < 12 else draw(st.integers(0, 2))
        label, subtype = strata[stratum]
        pool = draw(st.sampled_from(["train"] * 6 + ["test"]))
        for _ in range(draw(st.integers(1, 4))):
            shared = draw(st.integers(0, 9)) == 0
            digest = f"shared{stratum}-{draw(st.integers(0, 3))}" if shared else ""
            records.append(record(len(records), label, f"p{patient}", pool, digest, subtype))
    return records


def split_or_none(records: list[Record], seed: int) -> Split | None:
    try:
        return split_records(records, "patient", FRACTION, seed)
    except DataError:
        return None  # too few patients of a class


@settings(max_examples=150, deadline=None)
@given(populations(), st.integers(0, 5), st.randoms(use_true_random=False))
def test_patient_split_invariants(records: list[Record], seed: int, random: object) -> None:
    split = split_or_none(records, seed)
    if split is None:
        return
    parts = [*split.parts().values(), split.excluded]
    # A partition.
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(records)))
    # The test pool is the dataset's own.
    assert names(records, split.test) == {item.name for item in records if item.pool == "test"}
    # No patient and no content is in two splits.
    for key in ("patient", "digest"):
        seen = [{getattr(records[position], key) for position in part} for part in parts[:3]]
        assert not seen[0] & seen[1]
        assert not seen[0] & seen[2]
        assert not seen[1] & seen[2]
    # Each stratum's validation images reach the quota within the largest group, and never exceed it.
    usable = [position for part in parts[:2] for position in part]
    groups = [group for group in patient_groups(records) if set(group) <= set(usable)]
    for stratum in {(records[p].label, records[p].subtype) for p in usable}:
        inside = [p for p in usable if (records[p].label, records[p].subtype) == stratum]
        quota = round(FRACTION * len(inside))
        filled = len(set(inside) & set(split.validation.tolist()))
        largest = max(len(group) for group in groups if group[0] in set(inside))
        assert quota - largest < filled <= quota
    # The order of the records does not matter.
    shuffled = list(records)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = split_records(shuffled, "patient", FRACTION, seed)
    assert names(shuffled, again.train) == names(records, split.train)
    assert names(shuffled, again.validation) == names(records, split.validation)


def test_patients_linked_by_a_chain_of_identical_images_stay_together() -> None:
    chain = [record(0, 0, "a", digest="x"), record(1, 0, "b", digest="x"), record(2, 0, "b", digest="y")]
    chain += [record(3, 0, "c", digest="y"), record(4, 0, "d")]
    assert patient_groups(chain) == [[0, 1, 2, 3], [4]]


def test_another_seed_gives_another_split_and_the_same_seed_the_same() -> None:
    records = [record(number, number % 2, f"p{number}") for number in range(200)]
    first, again, other = (split_records(records, "patient", seed=seed) for seed in (1, 1, 2))
    assert first.validation.tolist() == again.validation.tolist() != other.validation.tolist()


def test_records_that_would_leak_into_the_test_pool_are_excluded() -> None:
    records = [record(number, number % 2, f"p{number}") for number in range(40)]
    records.append(record(40, 1, "p1", "test"))
    split = split_records(records, "patient")
    assert split.excluded.tolist() == [1]
    assert split.test.tolist() == [40]


def test_overlaps_count_patients_images_and_identical_files() -> None:
    records = [
        record(0, 0, "a", digest="same"),
        record(1, 0, "a"),
        record(2, 1, "b"),
        record(3, 1, "c", digest="same"),
        record(4, 1, "a", "test"),
    ]
    split = Split(*(np.array(part) for part in ([0, 2], [1, 3], [4], [])), "source", 0, 0.5)
    found = overlaps(records, split)
    assert [(p.first, p.second, p.patients, p.images, p.identical) for p in found.pairs] == [
        ("train", "validation", 1, 1, 1),
        ("train", "test", 1, 1, 0),
        ("validation", "test", 1, 1, 0),
    ]
    (group,) = found.identical
    assert (group.names, group.patients, group.labels) == (("0/00000", "1/00003"), 2, 2)
    assert found.leaks
    assert not overlaps(records, split.without([0, 1, 4])).leaks


def test_excluded_records_do_not_move_the_others() -> None:
    records = [record(number, number % 2, f"p{number}") for number in range(80)]
    split = split_records(records, "patient")
    lost = [int(split.train[3]), int(split.validation[0])]
    rest = split.without(lost)
    assert rest.train.tolist() == [p for p in split.train.tolist() if p not in lost]
    assert rest.validation.tolist() == [p for p in split.validation.tolist() if p not in lost]


@pytest.mark.parametrize("policy", ["source", "patient"])
def test_a_class_without_images_in_a_split_is_an_error(policy: str) -> None:
    records = [record(number, 0, f"p{number}") for number in range(40)] + [record(40, 1, "q")]
    with pytest.raises(DataError, match="leaves no image of class 1"):
        split_records(records, policy)


def test_images_that_the_test_pool_shows_too_are_named_where_they_are_missed() -> None:
    records = [record(number, number % 2, f"p{number}") for number in range(40)]
    copies = [replace(one, name=f"test/{one.name}", pool="test") for one in records]
    with pytest.raises(DataError, match=r"0 images \(without 40 that the test pool shows, too\) has too few"):
        split_records([*records, *copies], "patient")


def test_unknown_policy_and_bad_fraction_are_errors() -> None:
    records = [record(number, number % 2, f"p{number}") for number in range(40)]
    with pytest.raises(UsageError, match="choose source or patient"):
        split_records(records, "random")
    for fraction in (0, 1, float("nan")):
        with pytest.raises(UsageError, match="between 0 and 1"):
            split_records(records, "source", fraction)


def test_class_table_of_other_than_two_classes_has_no_ratio() -> None:
    records = [record(number, number % 3, f"p{number}") for number in range(60)]
    rows = class_table(records, ("x", "y", "z"), split_records(records, "patient"))
    assert [row.ratio for row in rows] == [None] * 3
    assert sum((Counter(row.counts) for row in rows), Counter()) == {"x": 20, "y": 20, "z": 20}


# --- labels, and the dataset's own validation split ---------------------------------------------------------------


def labelled(count: int, rare: int = 0) -> list[Record]:
    """Images of two per patient with three labels; the last label has ``rare`` patients, spread over the names."""
    records = []
    for number in range(count):
        patient = number // 2
        labels = (
            int(patient % 3 == 0),
            int(patient % 2 == 0),
            int(bool(rare) and patient % (count // 2 // rare) == 0),
        )
        name = f"{number * 37 % 1000:04d}.png"
        records.append(Record(name, 0, f"p{patient}", "train", f"{number:x}", labels=labels))
    return records


def test_each_label_is_split_by_patient_in_the_wanted_share() -> None:
    records = labelled(400, rare=8)
    split = split_records(records, "patient", 0.25, 3)
    patients = [{records[position].patient for position in part} for part in (split.train, split.validation)]
    assert not patients[0] & patients[1]
    for label in range(3):
        counts = [sum(records[p].labels[label] for p in part) for part in (split.train, split.validation)]
        assert counts[1] / sum(counts) == pytest.approx(0.25, abs=0.05), label


def test_a_label_of_one_patient_cannot_be_split() -> None:
    with pytest.raises(DataError, match="leaves no image of Hernia for"):
        split_records(labelled(100, rare=1), "patient", 0.25, 3, ("A", "B", "Hernia"))


def test_the_given_split_is_kept_as_it_is() -> None:
    records = [
        replace(record, validation=number % 5 == 0) for number, record in enumerate(labelled(100, rare=10))
    ]
    split = split_records(records, "given")
    assert split.validation.tolist() == list(range(0, 100, 5))
    assert len(split.train) == 80
    assert not len(split.excluded)


def test_without_a_validation_split_of_its_own_there_is_none_to_keep() -> None:
    with pytest.raises(DataError, match="no validation split of their own: --split patient"):
        split_records(labelled(20), "given")


def test_a_given_validation_split_may_lack_a_label_and_not_a_class() -> None:
    records = [
        replace(record, validation=number < 20, labels=(*record.labels[:2], int(number > 40)))
        for number, record in enumerate(labelled(100))
    ]
    assert len(split_records(records, "given").validation) == 20
    classes = [replace(record, labels=(), label=record.labels[2]) for record in records]
    with pytest.raises(DataError, match="no image of class 1 for validation"):
        split_records(classes, "given")


def test_folds_balance_every_label() -> None:
    records = labelled(400, rare=10)
    folds, _ = divide(records, 5, 3)
    for label in range(3):
        counts = [sum(records[p].labels[label] for p in fold) for fold in folds]
        assert max(counts) - min(counts) <= 4, label


_FEW = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 9), st.integers(0, 9), st.sampled_from(("train", "test"))),
    min_size=1,
    max_size=20,
)


@given(_FEW, st.randoms(use_true_random=False))
def test_groups_and_overlaps_are_those_of_the_definition(
    rows: list[tuple[int, int, int, str]], random: Random
) -> None:
    records = [
        record(number, label, f"p{patient}", pool, f"d{digest}")
        for number, (label, patient, digest, pool) in enumerate(rows)
    ]
    together = [{place} for place in range(len(records))]
    for one, first in enumerate(records):
        for two, second in enumerate(records):
            if first.patient == second.patient or first.digest == second.digest:
                joined = together[one] | together[two]
                for place in joined:
                    together[place] = joined
    groups = {frozenset(group) for group in patient_groups(records)}
    assert groups == set(map(frozenset, together))
    parts: list[list[int]] = [[], [], [], []]
    for place in range(len(records)):
        parts[random.randrange(4)].append(place)
    split = Split(*(np.array(part, np.int64) for part in parts), policy="patient", seed=0, fraction=0.25)
    for pair in overlaps(records, split).pairs:
        before, after = (
            [records[place] for place in split.parts()[name]] for name in (pair.first, pair.second)
        )
        patients = {one.patient for one in before}
        assert pair.patients == len(patients & {one.patient for one in after})
        assert pair.images == sum(one.patient in patients for one in after)
        assert pair.identical == sum(one.digest in {other.digest for other in before} for one in after)
