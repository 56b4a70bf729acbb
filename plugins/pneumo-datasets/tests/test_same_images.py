"""The same radiographs through ``chest-xray``, ``folder`` and ``table``: the same split, weights and results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
import torch
from image_trees import write_table

from pneumo_cli.data.records import Dataset, DatasetRequest
from pneumo_cli.data.splits import Policy, split_records
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.testing import Invocation
from tests.programs import disabled

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "chest_xray"
PATTERN = r"(person\d+)_((?P<subtype>bacteria|virus))_|((?:NORMAL2-)?IM)-0*(\d+)"

pytestmark = pytest.mark.real_data


@pytest.fixture(autouse=True)
def _real_images() -> None:
    if not REAL.is_dir():
        pytest.skip("the real radiographs are not at ../shared/data/chest_xray")


def chest_xray(root: Path, cache: Path) -> Dataset:
    """The dataset ``chest-xray``, of another distribution."""
    module = pytest.importorskip("pneumo_chest_xray.dataset", reason="pneumo-chest-xray is not installed")
    dataset = module.open_dataset(DatasetRequest(root, cache, Progress()))
    assert isinstance(dataset, Dataset)
    return dataset


def manifest(dataset: Dataset, path: Path) -> Path:
    """A table of a dataset's records."""
    rows: list[tuple[object, ...]] = [("path", "label", "patient", "split", "subtype")]
    for record in dataset.records:
        split = PurePosixPath(record.name).parts[0]
        rows.append((record.name, dataset.classes[record.label], record.patient, split, record.subtype))
    return write_table(path, rows)


@pytest.mark.parametrize("policy", ["patient", "source", "given", "last"])
def test_the_split_of_all_5216_images_is_the_same(
    policy: Policy, tmp_path: Path, opened: Callable[..., Dataset]
) -> None:
    reference = chest_xray(REAL, tmp_path / "cache")
    table = manifest(reference, tmp_path / "labels.csv")
    expected = split_records(reference.records, policy)
    for dataset in (
        opened("folder", REAL, patient_pattern=PATTERN),
        opened("table", REAL, manifest=table),
    ):
        assert dataset.classes == reference.classes
        assert [record.name for record in dataset.records] == [record.name for record in reference.records]
        assert [record.patient for record in dataset.records] == [one.patient for one in reference.records]
        split = split_records(dataset.records, policy)
        for name, positions in expected.parts().items():
            assert split.parts()[name].tolist() == positions.tolist(), name


@pytest.mark.slow
def test_training_gives_the_same_weights_to_the_bit_and_the_same_report(
    pneumo: Callable[..., Invocation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMO_DISABLE_PLUGINS", disabled("pneumo-datasets", "pneumo-chest-xray"))
    root = tmp_path / "some"
    for folder in sorted(REAL.glob("*/*")):
        target = root / folder.relative_to(REAL)
        target.mkdir(parents=True)
        every = {"train": 120, "val": 1, "test": 30}[folder.parent.name]
        for image in sorted(folder.iterdir())[::every]:
            shutil.copy(image, target)
    table = manifest(chest_xray(root, tmp_path / "cache"), tmp_path / "labels.csv")
    results = []
    for dataset, flags in (
        ("chest-xray", []),
        ("folder", ["--patient-pattern", PATTERN]),
        ("table", ["--manifest", table]),
    ):
        output = tmp_path / dataset
        ended = pneumo(
            "run", "fake", "--dataset", dataset, "--data-root", root, *flags, "--split", "patient", "--epochs", 1,
            "--image-size", 32, "--precision", "fp32", "--threads", 1, "--device", "cpu", "--output", output,
        )  # fmt: skip
        assert ended.code == 0, ended.stderr
        (run,) = output.glob("*/*")
        state = torch.load(run / "checkpoints" / "best.pt", weights_only=True)["model"]
        report = json.loads((run / "report.json").read_text())
        results.append((state, {part: report[part] for part in ("evaluations", "intervals")}))
    (weights, metrics), *others = results
    for other, same in others:
        assert other.keys() == weights.keys()
        assert all(torch.equal(other[name], weights[name]) for name in weights)
        assert same == metrics
