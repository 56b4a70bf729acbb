"""Settings, metrics and intervals of many runs take little memory, and are the mappings that they were."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.runs.index import search
from pneumo_cli.runs.packed import packed

_MAPPINGS: list[dict[str, Any]] = [
    {},
    {"auc": 0.1 + 0.2, "loss": -0.0, "ece": 5e-324},
    {"epochs": 1, "lr": 1.0, "augment": True, "model": "cnn", "classes": ["a"], "none": None},
    {"auc": [0.25, 0.1 + 0.2], "f1": [0.0, 1.0]},
    {"auc": [0.25, 1]},
    {"auc": [0.25, 0.5], "mcc": None},
    {"auc": [0.25], "f1": []},
]


@pytest.mark.parametrize("values", _MAPPINGS)
def test_the_same_names_and_values_in_their_order(values: dict[str, Any]) -> None:
    found = packed(values)
    assert found == values
    assert json.dumps(dict(found)) == json.dumps(values)  # 1, 1.0 and True are equal, and not the same
    assert repr(found) == repr(values)
    assert pickle.loads(pickle.dumps(found)) == values
    assert found.get("absent", 3) == 3
    assert "absent" not in found
    with pytest.raises(KeyError):
        found["absent"]


def test_a_listed_run_takes_three_kilobytes(tmp_path: Path) -> None:
    settings = [{"name": f"setting_{place}", "value": place} for place in range(55)]
    names = [f"metric_{place}" for place in range(12)]
    for number in range(200):
        values = {name: (number + place) / 977 for place, name in enumerate(names)}
        ends = {name: [value, value + 0.1] for name, value in values.items()}
        report = {
            "run": {"started": f"2026-01-01T00:{number % 60:02}:00"},
            "trainer": {"name": "cnn"},
            "settings": [*settings, {"name": "epochs", "value": 2}],
            "history": [{"epoch": 2}],
            "evaluations": dict.fromkeys(("train", "validation", "test"), values),
            "intervals": dict.fromkeys(("validation", "test"), ends),
        }
        run = tmp_path / "cnn" / f"run-{number}"
        run.mkdir(parents=True)
        (run / "run.toml").write_text('trainer = "cnn"\nepochs = 2\n')
        (run / "report.json").write_text(json.dumps(report))
    assert len(search(tmp_path).runs) == 200  # what is loaded and kept once
    tracemalloc.start()
    try:
        found = search(tmp_path)
        assert tracemalloc.get_traced_memory()[0] / len(found.runs) < 4000
    finally:
        tracemalloc.stop()
