"""A split by patient number forms few blocks; a random one does not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pneumo_audit.patient_blocks import count_blocks, find_blocks, patient_number
from pneumo_cli.data.records import Record
from pneumo_cli.data.splits import Split


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("person23-bacteria", ("person#-bacteria", 23)),
        ("IM-115", ("IM-#", 115)),
        ("NORMAL2-IM-27", ("NORMAL2-IM-#", 27)),
        ("007", ("#", 7)),
        ("somebody", None),
        ("", None),
    ],
)
def test_the_last_number_of_a_key_is_the_patient_s(key: str, expected: tuple[str, int] | None) -> None:
    assert patient_number(key) == expected


def test_expectation_and_deviation_are_those_of_random_samples() -> None:
    rng = np.random.default_rng(0)
    flags = np.repeat([1, 0], [30, 70]).astype(np.uint8)
    samples = [count_blocks("test", "A", [rng.permutation(flags)]) for _ in range(3000)]
    blocks = np.array([sample.blocks for sample in samples])
    assert samples[0].expected == pytest.approx(blocks.mean(), abs=0.15)
    assert samples[0].deviation == pytest.approx(blocks.std(), rel=0.05)
    assert not any(sample.contiguous for sample in samples)


def test_a_split_by_number_is_contiguous_in_each_series() -> None:
    series = [
        np.repeat([0, 1, 0], [50, 40, 60]).astype(np.uint8),
        np.repeat([1, 0], [40, 90]).astype(np.uint8),
    ]
    found = count_blocks("test", "A", series)
    assert (found.blocks, found.patients) == (2, 80)
    assert found.expected > 40
    assert found.contiguous


@pytest.mark.parametrize(
    "series", [[], [np.zeros(5, np.uint8)], [np.ones(5, np.uint8)], [np.ones(1, np.uint8)]]
)
def test_without_a_choice_of_patients_there_is_no_deviation(series: list[np.ndarray]) -> None:
    found = count_blocks("test", "A", series)
    assert found.z == 0
    assert not found.contiguous


@pytest.mark.parametrize(
    ("flags", "verdict"),
    [
        (np.repeat([0, 1, 0], [50, 40, 60]), "chosen by number, so"),
        (
            np.random.default_rng(0).permutation(np.repeat([1, 0], [40, 110])),
            "consistent with a random sample",
        ),
        (np.tile([1, 0], 60), "more than in a random sample"),
        (np.tile([1, 1, 1, 0, 0, 1, 1, 0, 0, 0], 100), "fewer than in a random sample"),
    ],
)
def test_each_number_of_blocks_is_explained_in_words(flags: np.ndarray, verdict: str) -> None:
    found = count_blocks("test", "A", [flags.astype(np.uint8)])
    assert verdict in found.verdict
    assert found.contiguous == ("by number" in verdict)
    assert found.plain()["verdict"] == found.verdict


def test_validation_patients_are_compared_with_those_they_were_sampled_from() -> None:
    # The test patients are the first 200 of 400: no sample can put validation patients between them.
    records = [Record(f"{n}", 0, f"p{n}", "test" if n < 200 else "train", f"{n}") for n in range(400)]
    pool = np.arange(200, 400)
    chosen = np.random.default_rng(1).permutation(pool)[:100]
    none = np.zeros(0, np.int64)
    split = Split(np.setdiff1d(pool, chosen), chosen, np.arange(200), none, "patient", 0, 0.5)
    dataset = SimpleNamespace(records=records, classes=("A",))
    data = SimpleNamespace(dataset=dataset, labels=np.zeros(400, int), split=split)
    validation, test = find_blocks(data)
    assert validation.expected == pytest.approx(100 * 101 / 200)
    assert abs(validation.z) < 3
    assert test.contiguous
