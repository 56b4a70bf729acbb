"""What every dataset does, asked of each of these on small data of its layout."""

from __future__ import annotations

from pathlib import Path

import archives_on_disk
import numpy as np
import pytest
from image_trees import write_table
from PIL import Image

from pneumo_cli.testing import DatasetConformance


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise in class folders, and a table of it; not to be changed."""
    root = tmp_path_factory.mktemp("radiographs")
    rows: list[tuple[object, ...]] = [("path", "label")]
    for number in range(20):
        name = f"{('NORMAL', 'COVID')[number % 2]}/{number:02}.png"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        gray = np.random.default_rng(number).integers(0, 256, (400 + number, 500), np.uint8)
        Image.fromarray(gray).save(root / name)
        rows.append((name, name.split("/")[0]))
    write_table(root / "labels.csv", rows)
    return root


class TestFolder(DatasetConformance):
    name = "folder"

    @pytest.fixture
    def data_root(self, radiographs: Path) -> Path:
        return radiographs


class TestTable(DatasetConformance):
    name = "table"

    @pytest.fixture
    def data_root(self, radiographs: Path) -> Path:
        return radiographs


class TestCovid(DatasetConformance):
    name = "covid19-radiography"

    @pytest.fixture
    def data_root(self, tmp_path: Path) -> Path:
        return archives_on_disk.covid(tmp_path / "data")


class TestPneumoniaMnist(DatasetConformance):
    name = "pneumonia-mnist"

    @pytest.fixture
    def data_root(self, tmp_path: Path) -> Path:
        return archives_on_disk.mnist(tmp_path / "pneumoniamnist_64.npz", 1, 64)
