"""The content of a bundle, and its use without pneumo, without the run's plugins and without onnxruntime."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pneumo_cli.testing import Invocation, TinyDataset

Pneumo = Callable[..., Invocation]
Predict = Callable[..., Any]


def test_the_model_card_s_program_runs_without_pneumo_and_predicts_the_same(
    bundle: Path, images: Path, predict: Predict
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (bundle / "README.md").read_text(), re.DOTALL)
    assert "import pneumo" not in code
    files = sorted(images.iterdir())
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *map(str, files)],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=True,
    )
    own = predict(bundle, *files)
    for line, file, prediction in zip(done.stdout.splitlines(), files, own["predictions"], strict=True):
        match = re.fullmatch(r"(.*): (NORMAL|PNEUMONIA) \(PNEUMONIA ([\d.]+) %\)", line)
        assert match is not None, line
        assert match[1] == str(file)
        # Printed with one digit; the last bits of a logit depend on the processor.
        assert float(match[3]) / 100 == pytest.approx(prediction["probability"], abs=0.0006)
        if abs(prediction["logit"] - own["operating_point"]["logit_threshold"]) > 1e-4:
            assert match[2] == prediction["decision"]


def test_the_model_card_contains_the_results_caveats_and_operating_points_of_the_report(
    bundle: Path, run: Path
) -> None:
    card = (bundle / "README.md").read_text()
    report = json.loads((run / "report.json").read_text())
    assert "no medical device" in card
    for split in ("validation", "test"):
        value, (low, high) = report["evaluations"][split]["auc"], report["intervals"][split]["auc"]
        assert f"{value:.3f} ({low:.3f} to {high:.3f})" in card
    for caveat in report["caveats"]:
        assert " ".join(caveat["text"].split()) in card
    assert report["dataset"]["fingerprint"] in card
    for point in report["details"]["test"]["operating_points"].values():
        assert f"{point['logit_threshold']:.4f}" in card
    assert "`screening` (in use)" in card


def test_a_bundle_contains_nothing_about_the_machine_or_patients(bundle: Path, run: Path) -> None:
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert {path.relative_to(bundle).as_posix() for path in files} == {
        *("README.md", "model.json", "model.onnx", "model.pt2", "run.toml", "environment.json"),
        *("checkpoints/best.pt", "checkpoints/manifest.json"),
    }
    names = [str(run.parents[1]), str(Path(torch.__file__).parent), str(Path(__file__).parents[1])]
    names += [record.name for record in TinyDataset("tiny").records[:3]]
    for path in files:
        content = path.read_bytes()
        if path.suffix in (".pt2", ".pt"):
            archive = zipfile.ZipFile(path)
            content = b"".join(archive.read(name) for name in archive.namelist())
        for name in names:
            assert name.encode() not in content, f"{path.name} names {name}"


def test_exported_models_need_no_plugin_and_a_run_names_a_missing_one(
    run: Path,
    bundle: Path,
    graph: Path,
    images: Path,
    pneumo: Pneumo,
    predict: Predict,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    copy = shutil.copytree(run, tmp_path / "elsewhere" / "run")
    moved = shutil.copytree(bundle, tmp_path / "elsewhere" / "bundle")
    logits = predict(run, images).column("logit").tolist()
    assert predict(copy, images).column("logit") == pytest.approx(logits, abs=1e-4)
    monkeypatch.setenv("PNEUMO_DISABLE_PLUGINS", "fake")
    for exported in (moved, graph):
        assert predict(exported, images).column("logit") == pytest.approx(logits, abs=1e-4)
    for command in (
        ("predict", copy, images),
        ("export", copy, "--format", "torch"),
        ("predict", moved, images, "--cam", "m"),
    ):
        done = pneumo(*command)
        assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert (
            "needs the trainer fake of pneumo-fake 1.0, which PNEUMO_DISABLE_PLUGINS disables" in done.stderr
        )
    settings = copy / "run.toml"
    settings.write_text(settings.read_text().replace("pneumo-fake:tiny-net", "pneumo-other:tiny-net"))
    report = json.loads((copy / "report.json").read_text())
    report["model"] |= {"distribution": "pneumo-other", "version": "2.1"}
    (copy / "report.json").write_text(json.dumps(report))
    monkeypatch.delenv("PNEUMO_DISABLE_PLUGINS")
    done = pneumo("predict", copy, images)
    assert (done.code, len(done.stderr.splitlines())) == (2, 1)
    assert "the model tiny-net of pneumo-other 2.1, which is not installed here" in done.stderr
    assert "pip install pneumo-other==2.1" in done.stderr


def test_without_onnxruntime_a_bundle_uses_its_network_and_other_errors_say_what_to_install(
    run: Path,
    bundle: Path,
    graph: Path,
    images: Path,
    pneumo: Pneumo,
    predict: Predict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits = predict(run, images).column("logit").tolist()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert predict(bundle, images).column("logit") == pytest.approx(logits, abs=1e-4)
    for command in (
        ("predict", graph, images),
        ("export", run, "--out", "new"),
        ("export", run, "--format", "onnx"),
    ):
        done = pneumo(*command)
        assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert "pip install onnx onnxscript onnxruntime" in done.stderr
    assert not Path("new").exists()
