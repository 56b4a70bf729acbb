"""What every dataset does, asked of the chest radiographs in a small tree of JPEG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.testing import DatasetConformance

NAMES = (
    "train/NORMAL/IM-0001-0001.jpeg",
    "train/NORMAL/IM-0002-0001.jpeg",
    "train/PNEUMONIA/person1_bacteria_1.jpeg",
    "val/PNEUMONIA/person2_virus_3.jpeg",
    "test/NORMAL/IM-0009-0001.jpeg",
    "test/PNEUMONIA/person9_virus_4.jpeg",
)


class TestChestXray(DatasetConformance):
    name = "chest-xray"

    @pytest.fixture
    def data_root(self, tmp_path: Path) -> Path:
        for number, name in enumerate(NAMES):
            path = tmp_path / "chest_xray" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            gray = np.random.default_rng(number).integers(0, 256, (400 + number, 500), np.uint8)
            Image.fromarray(gray).save(path)
        return tmp_path / "chest_xray"
