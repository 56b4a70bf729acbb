"""Test images that are to stay sealed (``--no-evaluate-test``) are not looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumo_cli.data.prepare import PreparedData
from pneumo_cli.testing import SMALL, runner_of


@pytest.mark.parametrize("model", ["autoencoder", "vae"])
def test_sealed_images_are_not_read_and_validation_images_judge(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[int] = set()
    honest = PreparedData.gray_levels
    monkeypatch.setattr(
        PreparedData,
        "gray_levels",
        lambda data, wanted: (read.update(wanted.tolist()), honest(data, wanted))[1],
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
    sealed, known = (
        set(map(int, part)) for part in (runner.run.data.split.test, runner.run.data.split.validation)
    )
    assert sealed
    assert not read & sealed
    assert read & known
    report = runner.run.folder.report_markdown.read_text()
    assert "validation" in report
    assert not (tmp_path / "home" / "test-access").exists()
