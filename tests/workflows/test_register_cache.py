"""Decoded images of a dataset that a notebook registers: those of the code that it has now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumo_cli.data.cache import decoded_images
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.schema import MachineSettings
from pneumo_cli.trainers.session import open_dataset
from pneumo_cli.workflows.installed import installed
from tests.workflows.test_register import DATASET, cell

__all__ = ["cell"]


@pytest.fixture
def decoded(tmp_path: Path) -> Callable[[str], tuple[np.ndarray, int]]:
    """The images of a registered dataset, as a run gets them, and how many were read for them."""

    def images(name: str) -> tuple[np.ndarray, int]:
        cache = tmp_path / "cache"
        dataset = open_dataset(installed().datasets.get(name), MachineSettings(cache=cache), Progress())
        reads, read = [], dataset.read
        dataset.read = lambda record, size=None: (reads.append(record), read(record, size))[1]  # type: ignore
        return np.array(decoded_images(dataset, 16, cache, Progress()).images), len(reads)

    return images


def test_a_helper_or_constant_of_another_cell_that_changes_is_decoded_anew_and_nothing_else_is(
    cell: Callable[..., Any], decoded: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    names = cell(DATASET, SHIFT=0)
    first, reads = decoded("discs")
    assert reads >= 64
    cell(DATASET + "other = 3", SHIFT=0)  # the cell again, and more
    again, reads = decoded("discs")
    assert np.array_equal(again, first)
    assert reads < 64
    names["SHIFT"] = 3  # without registering again
    shifted, reads = decoded("discs")
    assert np.array_equal(shifted, first + 3)
    cell(DATASET.replace("image // 2", "image // 4"), SHIFT=3)
    quarter, reads = decoded("discs")
    assert quarter.max() < 70
    assert reads >= 64
    assert not caplog.records  # all of it was known from the code


def test_a_dataset_whose_code_cannot_be_told_is_decoded_each_time(
    cell: Callable[..., Any], decoded: Callable[[str], Any]
) -> None:
    cell(
        "import threading\n" + DATASET.replace("return image", "with LOCK: return image"), SHIFT=0, LOCK=None
    )
    cell("import threading\nLOCK = threading.Lock()")
    assert decoded("discs")[1] >= 64
    assert decoded("discs")[1] >= 64


def test_an_instance_is_told_apart_by_its_attributes(
    cell: Callable[..., Any], decoded: Callable[[str], Any]
) -> None:
    source = """
class Shifted(TinyDataset):
    def __init__(self, shift):
        super().__init__("shifted")
        self.shift = shift

    def read(self, record, size=None):
        return super().read(record, size) // 2 + self.shift

pneumo.register(Shifted({shift}))
"""
    cell(source.format(shift=1))
    first, _ = decoded("shifted")
    cell(source.format(shift=5))
    assert np.array_equal(decoded("shifted")[0], first + 4)
    cell(source.format(shift=5))
    assert decoded("shifted")[1] < 64
