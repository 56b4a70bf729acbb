"""A run, its ONNX file, its bundle and its torch.export program predict the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.testing import Invocation
from pneumo_export.bundle import DESCRIPTION
from pneumo_export.description import Description, read_plain

Pneumo = Callable[..., Invocation]
Predict = Callable[..., Any]

RADIOGRAPHS = Path(__file__).parents[4] / "shared" / "data" / "chest_xray" / "test"

# Of logits between runtimes and batch sizes, whose last bits depend on the processor; the export allows as much.
TOLERANCE = 1e-4


def stacked(images: Path) -> np.ndarray:
    """The gray levels of all images of a folder, uint8 [N, S, S]."""
    return np.stack([np.asarray(Image.open(file)) for file in sorted(images.iterdir())])


def test_run_onnx_file_and_bundle_predict_the_same(
    run: Path, bundle: Path, graph: Path, images: Path, predict: Predict
) -> None:
    own = predict(run, images, "--operating-point", "screening")
    for exported in (bundle, graph):
        other = predict(exported, images, "--operating-point", "screening")
        for name in ("logit", "probability"):
            assert np.abs(other.column(name) - own.column(name)).max() <= TOLERANCE
        # The same numbers in another order of addition: a processor decides what the last bits are.
        assert np.allclose(other.column("ood_score"), own.column("ood_score"), rtol=1e-5, atol=0)
        margin = own.column("logit") - own["operating_point"]["logit_threshold"]
        clear = np.abs(margin) > TOLERANCE
        assert (other.column("decision")[clear] == own.column("decision")[clear]).all()
        clear = np.abs(own.column("ood_score") / own["ood_threshold"] - 1) > 1e-5
        assert (other.column("out_of_distribution")[clear] == own.column("out_of_distribution")[clear]).all()
        for name in (
            *("classes", "temperature", "bias", "prevalence", "operating_point", "ood_threshold"),
            *("model", "epoch", "synthetic", "data_fingerprint"),
        ):
            assert other[name] == own[name]
    assert np.ptp(own.column("logit")) > 0.01, "the images must not be all the same to the network"
    assert own.column("out_of_distribution")[-1]
    assert len(set(own.column("decision"))) == 2


def test_the_graph_s_probability_is_calibrated_and_its_metadata_have_the_calibration(
    graph: Path, images: Path, predict: Predict
) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    inputs = stacked(images)[:, None] / np.float32(255)
    _, probabilities = session.run(["logit", "probability"], {"images": inputs})
    own = predict(graph, images)
    assert np.abs(probabilities - own.column("probability")).max() <= 1e-5
    metadata = session.get_modelmeta().custom_metadata_map
    rule = json.loads(metadata["pneumo"])["rule"]
    assert (own["temperature"], own["bias"]) == (rule["temperature"], rule["bias"])
    assert (json.loads(metadata["bias"]), json.loads(metadata["prevalence"])) == (
        own["bias"],
        own["prevalence"],
    )
    assert own["bias"] != 0
    # Another prevalence belongs to the request, not to the file.
    rare = predict(graph, images, "--prevalence", "0.05")
    assert (rare.column("probability") < own.column("probability")).all()


def test_a_model_of_format_1_is_read_with_a_bias_of_0(
    bundle: Path, images: Path, predict: Predict, tmp_path: Path
) -> None:
    old = shutil.copytree(bundle, tmp_path / "old")
    plain = json.loads((old / "model.json").read_text())
    plain["format"] = 1
    del plain["rule"]["bias"]
    (old / "model.json").write_text(json.dumps(plain))
    predictions = predict(old, images)
    assert (predictions["temperature"], predictions["bias"]) == (plain["rule"]["temperature"], 0.0)


def test_the_chosen_operating_point_is_the_exported_model_s_default(
    bundle: Path, graph: Path, images: Path, predict: Predict
) -> None:
    assert predict(bundle, images)["operating_point"]["name"] == "screening"
    assert predict(graph, images)["operating_point"]["name"] == "default"
    # A bundle is also a run folder, whose network is used for Grad-CAM: with the same default.
    assert predict(bundle, images, "--cam", "maps")["operating_point"]["name"] == "screening"
    assert len(list(Path("maps").iterdir())) == 17


def test_the_torch_program_takes_any_batch_size(
    bundle: Path, run: Path, images: Path, predict: Predict
) -> None:
    own = predict(run, images)
    inputs = torch.from_numpy(stacked(images)[:, None] / np.float32(255))
    extra = {"model.json": ""}
    program = torch.export.load(bundle / "model.pt2", extra_files=extra).module()
    for batch in (1, 2, 17):
        logits, probabilities = program(inputs[:batch])
        assert logits.shape == probabilities.shape == (batch,)
        assert np.abs(logits.detach().numpy() - own.column("logit")[:batch]).max() <= TOLERANCE
        assert np.abs(probabilities.detach().numpy() - own.column("probability")[:batch]).max() <= TOLERANCE
    assert json.loads(extra["model.json"])["classes"] == ["NORMAL", "PNEUMONIA"]


def test_the_graph_includes_normalisation_flip_tta_and_calibration(trained_run: Callable[..., Path]) -> None:
    from pneumo_cli.evaluation.calibration import Calibration
    from pneumo_cli.inference.run_predictors import RunPredictor
    from pneumo_cli.plugins.discovery import discover
    from pneumo_cli.runs.folder import RunFolder
    from pneumo_cli.trainers.loading import load_trained
    from pneumo_export.graph import Graph
    from pneumo_export.verification import probe_images

    unusual = {"flip_tta": True, "standardize": True, "precision": "fp32"}
    folder = RunFolder.open(trained_run("fake", epochs=1, dataset="tiny", **unusual))
    predictor = RunPredictor(load_trained(discover(), folder, "last"))
    probes = probe_images(predictor.size)
    graph = Graph(predictor.trained.model, predictor.transform, predictor.flip_tta, Calibration(2.0, -0.5))
    logits, probabilities = graph(torch.from_numpy(probes[:, None] / np.float32(255)))
    assert predictor.flip_tta
    assert np.abs(logits.numpy() - predictor.logits({predictor.size: probes})).max() <= 1e-5
    torch.testing.assert_close(probabilities, torch.sigmoid(logits / 2 - 0.5))


def test_the_description_keeps_the_detectors_of_orientation_and_of_ood_images(
    bundle: Path, run: Path
) -> None:
    own = DecisionRule.from_state(Checkpoints(run / "checkpoints").load("best")["calibration"])
    description = read_plain(json.loads((bundle / DESCRIPTION).read_text()), DESCRIPTION)
    assert isinstance(description, Description)
    rule = description.rule
    levels = np.random.default_rng(0).integers(0, 256, (8, 32, 32), dtype=np.uint8)
    assert rule.presentations(levels) == own.presentations(levels)
    assert own.ood_detector is not None
    assert rule.ood_detector is not None
    assert np.allclose(rule.ood_detector.scores(levels), own.ood_detector.scores(levels), rtol=1e-6, atol=0)


def test_a_run_and_the_models_exported_from_it_are_no_ensemble(
    run: Path, bundle: Path, graph: Path, images: Path, pneumo: Pneumo, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "other-name")
    for first, second in ((run, bundle), (run, graph), (graph, bundle), (run, copy)):
        done = pneumo("predict", first, "--with", second, images)
        assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert f"{first} and {second} are the same model" in done.stderr
    last = pneumo("predict", run, "--with", copy, images, "--checkpoint", "last")
    assert "are the same model" in last.stderr


@pytest.mark.real_data
@pytest.mark.skipif(not RADIOGRAPHS.is_dir(), reason="the radiographs are not in ../shared/data")
def test_on_100_radiographs_the_onnx_file_gives_the_run_s_logits(
    run: Path, graph: Path, predict: Predict
) -> None:
    radiographs = sorted(RADIOGRAPHS.rglob("*.jpeg"))
    files = radiographs[:: len(radiographs) // 100][:100]
    own, other = predict(run, *files), predict(graph, *files)
    assert len(own["predictions"]) == 100
    assert np.ptp(own.column("logit")) > 0.01
    assert np.abs(own.column("logit") - other.column("logit")).max() <= TOLERANCE
