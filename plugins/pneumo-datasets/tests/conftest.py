"""Datasets opened on small trees of readable images."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from pneumo_cli.data.records import Dataset, DatasetRequest
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.specs import load_reference

sys.path.append(str(Path(__file__).parent))  # image_trees; last, so that it hides no other module

from image_trees import PIXEL, write


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    return lambda names, name="root": write(tmp_path / name, names)


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    def written(names: Iterable[str], name: str = "root.zip") -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as zipped:
            for one in names:
                zipped.writestr(one, PIXEL + one.rpartition("/")[2].encode())
        return tmp_path / name

    return written


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Dataset]:
    """``opened(name, root, **options)``: a registered dataset."""

    def open_one(name: str, root: Path | None, **options: object) -> Dataset:
        specs = {spec.name: spec for spec in load_reference("pneumo_datasets.plugin:register_datasets")()}
        request = DatasetRequest(root, tmp_path / "cache", Progress(), options)
        dataset = load_reference(specs[name].factory)(request)
        assert isinstance(dataset, Dataset)
        assert dataset.name == name
        return dataset

    return open_one
