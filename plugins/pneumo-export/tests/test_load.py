"""``pneumo.load(path).predict(images)`` of exported models: the numbers of ``pneumo predict``, and maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pneumo_cli as pneumo
from pneumo_cli.errors import UsageError


@pytest.fixture
def load(fakes: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pneumo.Model]:
    monkeypatch.setattr("pneumo_cli.workflows.installed._found", [])
    return pneumo.load


def test_an_exported_model_s_predictions_are_those_of_the_command(
    load: Callable[..., pneumo.Model], bundle: Path, graph: Path, images: Path, predict: Callable[..., Any]
) -> None:
    for exported in (bundle, graph):
        content = predict(exported, images)
        found = load(exported).predict(images)
        assert np.array_equal(found.logits, content.column("logit"))
        assert np.array_equal(found.probabilities[:, 1], content.column("probability"))
        assert [one.predicted for one in found] == [(name,) for name in content.column("decision")]


def test_maps_are_those_of_a_bundle_s_network_and_a_graph_has_none(
    load: Callable[..., pneumo.Model], run: Path, bundle: Path, graph: Path, images: Path
) -> None:
    model = load(bundle)
    graphs = model.predict(images)
    maps = model.predict(images, maps=True)
    assert np.array_equal(maps[0].saliency, load(run).predict(images, maps=True)[0].saliency)
    assert np.array_equal(model.predict(images).logits, graphs.logits), "without maps those of the graph"
    with pytest.raises(UsageError, match="is an ONNX graph, from which Grad-CAM cannot be computed"):
        load(graph).predict(images, maps=True)
