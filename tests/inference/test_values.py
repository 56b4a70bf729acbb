"""``pneumo predict`` with models of numbers and masks, by third-party trainers that say what their outputs mean."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.errors import UsageError
from pneumo_cli.inference.predictors import open_models, open_predictor
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runtime.devices import choose_device
from pneumo_cli.testing.datasets import open_targets
from pneumo_cli.trainers.feature_extractors import find_extractor
from tests.inference.value_plugin import MODULE, PLUGIN
from tests.reports.report_schema import problems

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture
def installed(install: Callable[..., None]) -> None:
    install("pneumo-values", {"values": "values_plugin"}, {"values_plugin": PLUGIN, "values": MODULE})


@pytest.fixture
def train(finished_run: Callable[..., Path]) -> Callable[..., Path]:
    """The folder of a run (or a group) of a trainer; not to be changed."""
    return finished_run


@pytest.fixture
def films(fakes: Path) -> list[Path]:
    """Images of the dataset as files, at twice their size, and one that is damaged."""
    data = open_targets(None)  # type: ignore[arg-type]
    folder = fakes / "films"
    folder.mkdir()
    for number, record in enumerate(data.records[::16]):
        Image.fromarray(data.read(record)).resize((64, 64)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return sorted(folder.glob("[0-9]*"))


def test_numbers_and_areas_are_printed_with_their_units(train, pneumo, films) -> None:
    run = train("both")
    ended = pneumo("predict", run, "films")
    assert ended.code == 1  # one is damaged
    head, *rows = ended.stdout.splitlines()
    assert head.split() == ["FILE", "AGE", "(years)", "LUNGS", "(AREA)", "NOTE"]
    assert len(rows) == len(films) + 1
    assert rows[0].split()[-1] == "%"
    assert "the model predicts age in years" in ended.stderr
    assert "of lungs the area is shown" in ended.stderr
    assert "1 of 5 files could not be predicted" in ended.stderr


def test_json_and_csv_have_the_same_numbers(train, pneumo, films) -> None:
    run = train("both")
    content = json.loads(pneumo("predict", run, *films, "--json").stdout)
    assert content["task"] == "values"
    assert content["numbers"] == {"age": "years"}
    assert content["masks"] == ["lungs"]
    rows = list(csv.DictReader(io.StringIO(pneumo("predict", run, *films, "--csv").stdout)))
    for one, row in zip(content["predictions"], rows, strict=True):
        assert one["numbers"]["age"] == pytest.approx(float(row["age"]))
        assert one["areas"]["lungs"] == pytest.approx(float(row["lungs_area"]))
        assert 5 < one["numbers"]["age"] < 15
        assert 0 <= one["areas"]["lungs"] <= 1


def test_predictions_of_files_are_those_of_the_run_s_own_evaluation(train, fakes) -> None:
    from pneumo_cli.runs.folder import RunFolder
    from pneumo_cli.trainers.loading import load_trained

    run = train("number")
    data = open_targets(None)  # type: ignore[arg-type]
    images = np.stack([data.read(record) for record in data.records[:6]])
    predictor = open_models(discover(), [run])
    trained = load_trained(discover(), RunFolder.open(run))
    outputs = trained.model(
        trained.trainer.evaluation_transform(None)(_tensor(images), _tensor(np.arange(6)), 0)
    )
    expected = trained.trainer.predictions(outputs)["age"].numpy()
    assert np.allclose(predictor.values({32: images})["age"], expected, atol=1e-5)


def _tensor(array: np.ndarray):
    import torch

    return torch.from_numpy(array)


def test_masks_are_written_at_the_size_of_each_image(train, pneumo, films, fakes) -> None:
    run = train("both")
    ended = pneumo("predict", run, *films, "--cam", "masks", "--json")
    assert ended.code == 0, ended.stderr
    areas = [one["areas"]["lungs"] for one in json.loads(ended.stdout)["predictions"]]
    for film, area in zip(films, areas, strict=True):
        mask = np.asarray(Image.open(fakes / "masks" / f"{film.stem}-lungs.png"))
        assert mask.shape == (64, 64)
        assert set(np.unique(mask)) <= {0, 255}
        assert (mask == 255).mean() == pytest.approx(area, abs=0.05)


def test_of_a_single_number_saliency_maps_are_drawn(train, pneumo, films, fakes) -> None:
    run = train("number")
    assert pneumo("predict", run, *films, "--cam", "maps").code == 0
    assert sorted(file.name for file in (fakes / "maps").iterdir()) == [f"{film.stem}.png" for film in films]


def test_an_ensemble_is_the_mean_of_its_members(train, pneumo, films, fakes) -> None:
    runs = [train("both"), train("both", "--seed", 7, "--image-size", 24)]
    alone = [json.loads(pneumo("predict", run, *films, "--json").stdout)["predictions"] for run in runs]
    ended = pneumo("predict", runs[0], *films, "--with", runs[1], "--json", "--cam", "masks")
    together = json.loads(ended.stdout)["predictions"]
    for first, second, both in zip(*alone, together, strict=True):
        ages = [first["numbers"]["age"], second["numbers"]["age"]]
        assert both["numbers"]["age"] == pytest.approx(np.mean(ages))
        assert [member["age"] for member in both["members"]] == pytest.approx(ages)
    assert "ensemble of 2 models: the mean of their predictions" in ended.stderr
    assert len(list((fakes / "masks").iterdir())) == len(films)


@pytest.mark.parametrize("flags", [("--seeds", 2), ("--folds", 2)])
def test_a_group_of_runs_predicts_as_an_ensemble(flags, train, pneumo, films) -> None:
    group = train("number", *flags, "--epochs", 1)
    content = json.loads(pneumo("predict", group, *films, "--json").stdout)
    assert len(content["runs"]) == 2
    assert {len(one["members"]) for one in content["predictions"]} == {2}


def test_a_group_s_report_has_the_spread_of_its_members_and_says_that_it_has_no_ensemble(
    train, pneumo
) -> None:
    group = train("number", "--folds", 2, "--epochs", 1)
    report = json.loads((group / "report.json").read_text())
    assert (report["predicts"], report["evaluations"]) == (["age"], {})
    assert report["next"] == [f"pneumo predict {group} IMAGE"]
    assert report["spread"]["test"]["loss"]["members"] == 2
    assert problems(report) == []
    page = (group / "report.md").read_text()
    assert "there is no result of an ensemble" in page
    assert "pneumo predict averages the age that the members predict" in page
    assert "## Ensemble" not in page
    ended = pneumo("evaluate", group)
    assert (ended.code, len(ended.stderr.splitlines())) == (2, 1)
    assert "only classifiers are evaluated as an ensemble" in ended.stderr


def test_a_run_is_evaluated_again_and_resumed(train, pneumo, tmp_path) -> None:
    run = shutil.copytree(train("both"), tmp_path / "copy")
    report = json.loads((run / "report.json").read_text())
    found = json.loads(pneumo("evaluate", run, "--on", "validation", "--json").stdout)
    assert found["metrics"]["loss"] == pytest.approx(report["evaluations"]["validation"]["loss"], rel=1e-4)
    assert pneumo("resume", run, "--epochs", 3).code == 0
    assert len(json.loads((run / "report.json").read_text())["history"]) == 4


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("number", "mask", "predicts age (years), and"),
        ("number", "fake", "classifies images, which the other models do not"),
    ],
)
def test_models_that_predict_different_things_are_no_ensemble(
    first, second, words, train, pneumo, films
) -> None:
    runs = [train(first), train(second, "--seed", 7)]
    ended = pneumo("predict", runs[0], *films, "--with", runs[1])
    assert ended.code == 2
    assert words in ended.stderr


@pytest.mark.parametrize("flags", [("--operating-point", "youden"), ("--prevalence", 0.1)])
def test_what_is_for_classes_is_refused(flags, train, pneumo, films) -> None:
    ended = pneumo("predict", train("number"), *films, *flags)
    assert ended.code == 2
    assert "classifies no images" in ended.stderr


def test_predictions_of_another_shape_name_the_plugin_and_what_is_expected(train, pneumo, films) -> None:
    ended = pneumo("predict", train("wrong"), *films)
    assert ended.code == 1
    assert "pneumo-values 1.0): predictions are age [], lungs [1, 32, 32] for 1 images" in ended.stderr


def test_a_transform_that_fails_names_the_plugin_and_the_method(train, pneumo, films) -> None:
    ended = pneumo("predict", train("failing"), *films)
    assert ended.code == 2
    assert "pneumo-values 1.0): its evaluation_transform: AttributeError" in ended.stderr


def test_open_predictor_gives_classifiers_only(train) -> None:
    with pytest.raises(UsageError, match="predicts age, and classifies no images"):
        open_predictor(discover(), [train("number")])


# --- features --------------------------------------------------------------------------------------------------


def test_a_run_of_any_predictor_extracts_features(train) -> None:
    run = train("both")
    extractor = find_extractor(str(run), discover(), choose_device("cpu", "fp32"))
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16), dtype=np.uint8)
    assert extractor(_tensor(images)).shape == (5, 8)


def test_a_registered_extractor_is_found_by_its_name() -> None:
    extractor = find_extractor("brightness", discover(), choose_device("cpu", "fp32"))
    images = np.arange(4, dtype=np.uint8)[:, None, None] + np.zeros((1, 16, 16), np.uint8)
    assert extractor(_tensor(images)).tolist() == [[float(level)] * 3 for level in range(4)]


def test_a_registered_extractor_that_returns_something_else_is_named() -> None:
    with pytest.raises(
        UsageError, match=r"extractor flat \(pneumo-values 1.0\) returned \[1024\] for 1 images"
    ):
        find_extractor("flat", discover(), choose_device("cpu", "fp32"))
