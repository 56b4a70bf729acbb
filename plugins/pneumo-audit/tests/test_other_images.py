"""``pneumo data audit`` of images of several channels and 16 bits, without classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

DEEP = """
import numpy as np
from dataclasses import replace
from pneumo_cli.api import DatasetSpec, SplitSpec, hookimpl
from pneumo_cli.data import Target
from pneumo_cli.testing import TinyDataset

api_version = 1

class Deep(TinyDataset):
    channels, bits = 2, 16
    targets = (Target("age", "number", "age in years"),)

    def __init__(self):
        super().__init__("deep", images=160)
        self.classes = ()
        self.records = [replace(one, label=0, numbers=(1.0,)) for one in self.records]
        train = next(one for one in self.records if one.pool == "train")
        test = next(one for one in self.records if one.pool == "test")
        self._pixels[test.name] = self._pixels[train.name][:, ::-1].copy()

    def read(self, record, size=None):
        gray = super().read(record, size).astype(np.uint16) * 257
        return np.stack([gray, gray // 2])

def open_deep(request):
    return Deep()

def halves(records, fraction, seed):
    pool = [place for place, one in enumerate(records) if one.pool == "train"]
    return pool[: len(pool) // 2], pool[len(pool) // 2 :]

@hookimpl
def register_datasets():
    yield DatasetSpec(name="deep", summary="Two channels", factory="deep_plugin:open_deep", synthetic=True)

@hookimpl
def register_splits():
    yield SplitSpec(name="halves", summary="Two halves", split="deep_plugin:halves")
"""


def test_a_flipped_copy_is_found_among_them(
    pneumo: Callable[..., object], install: Callable[..., None], fakes: Path
) -> None:
    install("pneumo-deep", {"deep": "deep_plugin"}, {"deep_plugin": DEEP})
    ended = pneumo("data", "audit", "--dataset", "deep", "--split", "halves", "--out", "page")
    assert ended.code == 1, ended.stderr  # type: ignore[attr-defined]
    found = json.loads((fakes / "page" / "audit.json").read_text())
    assert found["split"]["policy"] == "halves"
    assert [pair["near"] for pair in found["leaks"]] == [0, 1, 0]
    assert [one["class"] for one in found["shift"]] == ["all images"]
    page = (fakes / "page" / "audit.html").read_text()
    assert "data:image/" in page
