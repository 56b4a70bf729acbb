"""``pneumo_cli.generate``, ``evaluate_images`` and ``tstr``: the numbers and files of the commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_folders import content, pixels

import pneumo_cli
from pneumo_cli.errors import UsageError
from pneumo_cli.testing import Invocation
from pneumo_synthetic import tstr as classifiers

Pneumo = Callable[..., Invocation]


def test_generated_images_are_those_of_the_command_and_so_are_the_files(
    painter: Path, pneumo: Pneumo, fakes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert pneumo("generate", painter, "--out", "command", "-n", 3, "--seed", 7, "--first", 2).code == 0
    arguments: dict[str, Any] = {"count": 3, "seed": 7, "first": 2, "progress": False}
    capfd.readouterr()
    images = pneumo_cli.generate(painter, **arguments)
    assert tuple(capfd.readouterr()) == ("", "")
    assert (images.dtype, images.shape) == (np.uint8, (3, 32, 32))
    assert np.array_equal(images, np.stack([image for _, image in sorted(pixels(fakes / "command").items())]))
    assert [path.name for path in fakes.iterdir()] == ["command"]
    written = pneumo_cli.generate(painter, "own", **arguments)
    assert np.array_equal(written, images)
    assert content(fakes / "own") == content(fakes / "command")


def test_evaluated_images_have_the_numbers_of_the_command(
    painter: Path, pneumo: Pneumo, tmp_path: Path
) -> None:
    runs = [
        Path(shutil.copytree(painter, tmp_path / name / painter.name))
        for name in ("painter", "other/painter")
    ]
    printed = json.loads(pneumo("evaluate-images", runs[0], "-n", 24, "--json").stdout)
    result = pneumo_cli.evaluate_images(runs[1], count=24, progress=False)
    assert json.loads(json.dumps(result.metrics)) == printed["metrics"]
    assert result.content["tables"] == printed["tables"]
    assert result.content == json.loads(next((runs[1] / "evaluations").glob("*.json")).read_text())
    assert printed["tables"][0]["rows"][0][0] in result._repr_html_()


def test_tstr_has_the_numbers_of_the_command(
    painter: Path, normal_painter: Path, pneumo: Pneumo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifiers, "STEPS", 3)
    run = Path(shutil.copytree(painter, tmp_path / "painter" / painter.name))
    printed = json.loads(pneumo("tstr", run, normal_painter, "--seeds", 2, "--json").stdout)
    result = pneumo_cli.tstr(run, normal_painter, seeds=2, progress=False)
    assert json.loads(json.dumps(result.metrics)) == printed["metrics"]
    assert result.content["notes"] == printed["notes"] == result.notes[1:]
    assert set(result.metrics) == {"auc_real", "auc_synthetic", "auc_both", "gain"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "count is a whole number from 1, not 0"),
        ({"seed": -1}, "seed is a whole number from 0, not -1"),
        ({"only_class": "PNEUMONIA"}, "is not conditional on the class"),
        ({"only_class": "X", "reconstruct": ["x.png"]}, "goes with neither"),
        ({"interpolate": "xy"}, "interpolate is a pair of image files, not 'xy'"),
        ({"checkpoint": "first"}, "best"),
    ],
)
def test_what_cannot_be_generated_is_refused_and_nothing_is_written(
    painter: Path, fakes: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        pneumo_cli.generate(painter, "new", progress=False, **values)
    assert list(fakes.iterdir()) == []
