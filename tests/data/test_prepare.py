"""Decoding and splitting a dataset for a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pneumo_cli.data.prepare import PreparedData, SplitRequest, prepare
from pneumo_cli.errors import DataError, UsageError
from pneumo_cli.runtime.progress import Progress


@pytest.fixture
def prepared(tree: Path, cache: Path, open_tree: Callable) -> Callable[..., PreparedData]:
    def run(**changes: Any) -> PreparedData:
        arguments: dict[str, Any] = {
            "size": 8,
            "split": SplitRequest("patient"),
            "cache": cache,
            "progress": Progress(),
            "skip_unreadable": False,
        }
        return prepare(open_tree(tree), **(arguments | changes))

    return run


def test_images_labels_and_splits_belong_together(prepared: Callable[..., PreparedData]) -> None:
    data = prepared()
    assert data.images.shape == (48, 8, 8)
    assert data.labels.tolist() == [record.label for record in data.dataset.records]
    assert [row.images for row in data.table()] == [24, 8, 16]
    assert data.table()[1].counts == {"A": 4, "B": 4}
    assert not data.overlaps.leaks
    assert data.fingerprint == data.dataset.fingerprint


def test_images_on_the_cpu_share_the_mapped_file(
    prepared: Callable[..., PreparedData], recwarn: pytest.WarningsRecorder
) -> None:
    data = prepared()
    tensor = data.images_on(torch.device("cpu"))
    assert tensor.data_ptr() == data.images.ctypes.data
    assert np.array_equal(tensor.numpy(), data.images)
    assert not recwarn.list


def test_unreadable_images_stop_the_run_and_are_named(
    tree: Path, prepared: Callable[..., PreparedData]
) -> None:
    broken = sorted((tree / "train" / "A").iterdir())[:7]
    for path in broken:
        path.write_bytes(b"broken")
    with pytest.raises(DataError) as caught:
        prepared()
    message = str(caught.value)
    assert "7 of 48 images" in message
    assert message.count("train/A/") == 5
    assert "and 2 more" in message
    assert "--skip-unreadable" in message
    assert "\n" not in message


def test_skipped_images_are_in_no_split_and_the_others_do_not_move(
    tree: Path, prepared: Callable[..., PreparedData]
) -> None:
    before = prepared()
    names = [record.name for record in before.dataset.records]
    lost = [int(before.split.train[0]), int(before.split.validation[0]), int(before.split.test[0])]
    # With the same content, as after a download that failed: which does not make them images of one patient.
    for position in lost:
        (tree / names[position]).write_bytes(b"broken")
    after = prepared(skip_unreadable=True)
    assert sorted(name for name, _ in after.unreadable) == sorted(names[position] for position in lost)
    for name, part in before.split.parts().items():
        assert after.split.parts()[name].tolist() == [p for p in part.tolist() if p not in lost]


def test_a_class_whose_images_are_all_unreadable_is_an_error(
    tree: Path, prepared: Callable[..., PreparedData]
) -> None:
    for path in (tree / "test" / "B").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match="no readable B image for test"):
        prepared(skip_unreadable=True)


def test_no_test_pool_is_an_error(tree: Path, prepared: Callable[..., PreparedData]) -> None:
    for path in (tree / "test").rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match="no test images"):
        prepared()


def test_a_size_below_one_is_an_error(prepared: Callable[..., PreparedData]) -> None:
    with pytest.raises(UsageError, match="at least 1 pixel"):
        prepared(size=0)


def test_one_class_alone_is_split_as_among_all(
    prepared: Callable[..., PreparedData],
) -> None:
    whole, one = prepared(), prepared(only="B")
    for name, positions in whole.split.parts().items():
        of_class = [position for position in positions.tolist() if whole.labels[position] == 1]
        assert one.split.parts()[name].tolist() == of_class
        rest = [position for position in positions.tolist() if whole.labels[position] == 0]
        assert one.others.parts()[name].tolist() == rest
    assert not any(len(part) for part in whole.others.parts().values())


def test_the_split_all_has_no_validation_images(prepared: Callable[..., PreparedData]) -> None:
    data = prepared(split=SplitRequest("all"), only="B")
    assert (len(data.split.train), len(data.split.validation), len(data.split.test)) == (16, 0, 8)


def test_an_unknown_class_is_an_error_that_names_the_nearest(prepared: Callable[..., PreparedData]) -> None:
    with pytest.raises(UsageError, match=r"no class 'C'; known: A, B"):
        prepared(only="C")
