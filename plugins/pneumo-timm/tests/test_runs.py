"""Runs with timm's models: frozen features are cached, and a transformer's report says that it has no maps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pneumo_timm.models import build
from pneumo_timm.stages import stages
from tests.programs import disabled

QUICK = (
    "--weights",
    "none",
    "--epochs",
    "1",
    "--image-size",
    "32",
    "--threads",
    "1",
    "--dataset",
    "tiny",
)


@pytest.fixture(autouse=True)
def with_a_trainer(fakes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer that models with stages are for is installed too."""
    monkeypatch.setenv("PNEUMO_DISABLE_PLUGINS", disabled("pneumo-timm", "pneumo-feature-extraction"))


@pytest.mark.parametrize(
    ("model", "maps"), [("timm/test_vit", False), ("timm/test_convnext", True), ("timm/regnetx_002", True)]
)
def test_a_run_finishes_with_a_report(
    model: str, maps: bool, pneumo: Callable[..., object], tmp_path: Path
) -> None:
    ended = pneumo("run", "feature-extraction", "--model", model, *QUICK, "--output", str(tmp_path))
    assert ended.code == 0, ended.stderr
    (report,) = tmp_path.rglob("report.json")
    text = report.read_text()
    assert ("There are no saliency maps: the model VisionTransformer has no" in text) != maps
    assert json.loads(text)["model"]["name"] == model
    # All but the head, its pooling and a dropout of 0 too.
    assert f"output of the {len(stages(build(model))) - 1} frozen stages for" in ended.stderr
    evaluated = pneumo("predict", str(report.parent), str(report.parent / "figures" / "class-balance.png"))
    assert evaluated.code == 0, evaluated.stderr


def test_without_weights_nothing_is_read_or_written(
    pneumo: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    words = [word for word in QUICK if word not in ("--weights", "none")]
    ended = pneumo(
        "run", "feature-extraction", "--model", "timm/test_vit", *words, "--output", str(tmp_path / "runs")
    )
    assert (ended.code, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert "the weights of timm/test_vit could not be downloaded" in line
    assert not (tmp_path / "runs").exists()


def test_an_image_size_that_a_model_cannot_take_is_named(
    pneumo: Callable[..., object], tmp_path: Path
) -> None:
    ended = pneumo(
        "run",
        "feature-extraction",
        "--model",
        "timm/test_vit_relpos",
        *QUICK,
        "--output",
        str(tmp_path / "runs"),
    )
    assert ended.code == 2
    line = ended.stderr.splitlines()[-1]
    assert "cannot take images of 3 x 32 x 32" in line
    assert line.endswith("(it was made for 160 px: --image-size 160)")
    assert not (tmp_path / "runs").exists()
