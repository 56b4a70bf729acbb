"""Predictions name the orientation of turned and inverted images and the remedy; checkpoints keep the detector."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.decision_rule import DecisionRule, Fitting, fit_decision_rule
from pneumo_cli.evaluation.orientation import UPRIGHT, Presentation
from pneumo_cli.inference.predict import predict
from pneumo_cli.inference.predictor import Predictor, Sized
from pneumo_cli.inference.predictors import EnsemblePredictor
from pneumo_cli.runs.checkpoints import check_plain

SIDE = 32
Gray = NDArray[np.uint8]


def films(n: int, seed: int) -> Gray:
    """Bright at the foot, dark at the head, with a bright line down the middle."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    slopes = rng.uniform(100, 160, (n, 1, 1)) * y + 60 * np.exp(
        -(((x - rng.normal(0.5, 0.02, (n, 1, 1))) / 0.1) ** 2)
    )
    return (slopes + rng.normal(20, 3, (n, SIDE, SIDE))).round().clip(0, 255).astype(np.uint8)


def fitted(train: Gray, validation: Gray) -> DecisionRule:
    labels = np.arange(len(validation)) % 2
    data = Fitting(("dark", "bright"), labels * 2.0 - 1, labels, train, np.arange(len(train)) % 2, validation)
    return fit_decision_rule(data, chosen="default", wanted_sensitivity=0.95, miss_cost=10, seed=0)


@pytest.fixture(scope="module")
def rule() -> DecisionRule:
    found = fitted(films(200, 1), films(120, 2))
    assert found.orientation is not None
    return found


class AlwaysPositive(Predictor):
    """Predicts class 1 for everything, with a rule that has an orientation detector, or not."""

    def __init__(self, rule: DecisionRule) -> None:
        self.rule, self.point, self.sizes = rule, rule.point, (SIDE,)
        self.facts = {"run": "sure"}

    def logits(self, images: Sized) -> NDArray[np.float64]:
        return np.full(len(images[SIDE]), 2.0)

    def maps(self, images: Sized, positive: NDArray[np.bool_]) -> NDArray[np.float32]:
        raise NotImplementedError


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    film = films(200, 1)[0]  # of the training images: certainly in distribution
    pictures = {
        "upright": film,
        "upside down": film[::-1, ::-1],
        "turned left": np.rot90(film),
        "negative, turned right": 255 - np.rot90(film, -1),
        "noise": np.random.default_rng(1).integers(0, 256, film.shape, dtype=np.uint8),
    }
    found = {}
    for number, (name, picture) in enumerate(pictures.items()):
        found[name] = tmp_path / f"{number}.png"
        Image.fromarray(np.ascontiguousarray(picture)).save(found[name])
    return found


def without(rule: DecisionRule) -> DecisionRule:
    return DecisionRule.from_state({name: one for name, one in rule.state().items() if name != "orientation"})


def test_each_file_gets_its_orientation_except_an_out_of_distribution_one(
    rule: DecisionRule, files: dict[str, Path]
) -> None:
    found = dict(zip(files, predict(AlwaysPositive(rule), files.values()), strict=True))
    assert {
        name: one.presentation.name if one.presentation is not None else None for name, one in found.items()
    } == {name: None if name == "noise" else name for name in files}
    assert found["noise"].out_of_distribution
    # The images themselves are not corrected: the predictions are the same.
    assert {(one.logit, one.positive) for one in found.values()} == {(2.0, True)}


def test_a_checkpoint_without_orientation_detector_predicts_no_orientation(
    rule: DecisionRule, files: dict[str, Path]
) -> None:
    old = without(rule)
    assert old.orientation is None
    assert old.ood_detector is not None
    assert {one.presentation for one in predict(AlwaysPositive(old), files.values())} == {None}


def test_an_ensemble_predicts_the_orientation_by_majority_of_the_members_with_a_detector(
    rule: DecisionRule,
) -> None:
    down = {SIDE: np.ascontiguousarray(films(200, 1)[:1, ::-1, ::-1])}
    assert rule.orientation is not None
    permissive = replace(rule, orientation=replace(rule.orientation, threshold=1000.0))
    for members, expected in (
        ([rule, rule, permissive], [Presentation(2)]),
        ([rule, without(rule)], [Presentation(2)]),
        ([rule, permissive], [UPRIGHT]),
        ([without(rule), without(rule)], None),
    ):
        assert EnsemblePredictor([AlwaysPositive(one) for one in members]).presentations(down) == expected


def test_a_checkpoint_keeps_the_orientation_detector(
    rule: DecisionRule, files: dict[str, Path], tmp_path: Path
) -> None:
    check_plain(rule.state())
    torch.save(rule.state(), tmp_path / "rule.pt")
    saved = DecisionRule.from_state(torch.load(tmp_path / "rule.pt", weights_only=True))
    restored = [one.presentation for one in predict(AlwaysPositive(saved), files.values())]
    assert restored == [one.presentation for one in predict(AlwaysPositive(rule), files.values())]
    with pytest.raises(PneumoError, match="the orientation detector in the checkpoint is damaged"):
        DecisionRule.from_state(rule.state() | {"orientation": {"template": 1}})


def test_no_orientation_detector_is_fitted_without_an_ood_detector() -> None:
    tiny = np.zeros((120, 8, 8), np.uint8)
    found = fitted(tiny, tiny)
    assert (found.ood_detector, found.orientation) == (None, None)


@pytest.fixture
def ask(
    rule: DecisionRule, monkeypatch: pytest.MonkeyPatch, pneumo: Callable[..., Any]
) -> Callable[..., Any]:
    """``pneumo predict`` with that rule in place of a run's."""
    monkeypatch.setattr("pneumo_cli.inference.predictors.model_places", lambda plugins, paths: paths)
    monkeypatch.setattr(
        "pneumo_cli.inference.predictors.open_models", lambda *given, **named: AlwaysPositive(rule)
    )
    return lambda *arguments: pneumo("predict", "RUN", *arguments)


def test_the_table_names_the_problem_and_the_remedy(ask: Callable[..., Any], files: dict[str, Path]) -> None:
    done = ask(*files.values())
    assert done.code == 0
    notes = dict(zip(files, done.stdout.splitlines()[1:], strict=True))
    assert notes["upright"].endswith("bright")
    assert notes["upside down"].endswith("upside down: do not trust it; turn it by 180° first")
    assert "invert its gray levels and turn it anticlockwise by 90° first" in notes["negative, turned right"]
    assert "unlike the training images" in notes["noise"]
    assert "3 of 5 images are turned or inverted" in done.stderr
    assert "turned or inverted" not in ask(files["upright"]).stderr


def test_json_and_csv_have_it_as_a_field(
    ask: Callable[..., Any], files: dict[str, Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    items = json.loads(ask(*files.values(), bad, "--json").stdout)["predictions"]
    rows = list(csv.DictReader(io.StringIO(ask(*files.values(), bad, "--csv").stdout)))
    expected = [None if name == "noise" else name for name in files]
    assert [one["presentation"] for one in items[:-1]] == expected
    assert [row["presentation"] or None for row in rows[:-1]] == expected
    assert "presentation" not in items[-1]
    assert rows[-1]["presentation"] == ""
    assert rows[-1]["error"]
