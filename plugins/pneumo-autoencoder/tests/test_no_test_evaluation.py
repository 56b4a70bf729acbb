"""With ``--no-evaluate-test`` no test image is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumo_cli.data.prepare import PreparedData
from pneumo_cli.testing import SMALL, runner_of


@pytest.mark.parametrize("model", ["autoencoder", "vae"])
def test_without_test_evaluation_no_test_image_is_read_and_validation_images_are_evaluated(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[int] = set()
    gray_levels = PreparedData.gray_levels
    monkeypatch.setattr(
        PreparedData,
        "gray_levels",
        lambda data, positions: (read.update(positions.tolist()), gray_levels(data, positions))[1],
    )
    monkeypatch.setenv("PNEUMO_DATA_HOME", str(tmp_path / "home"))
    small = {
        "dataset": SMALL.name,
        "model": model,
        "image_size": 32,
        "latent": 4,
        "width": 4,
        "batch_size": 48,
    }
    machine = {"device": "cpu", "output": tmp_path / "runs", "cache": tmp_path / "cache"}
    runner = runner_of(
        "autoencoder",
        **small,
        **machine,
        epochs=1,
        split="patient",
        fidelity_images=16,
        extractor="pixels",
        evaluate_test=False,
    )
    runner.start()
    split = runner.run.data.split
    test, validation = set(split.test.tolist()), set(split.validation.tolist())
    assert test
    assert not read & test
    assert read & validation
    report = runner.run.folder.report_markdown.read_text()
    assert "validation" in report
    assert not (tmp_path / "home" / "test-access").exists()
