"""``pneumo predict`` with classifiers of K exclusive classes and of K labels."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.cli.prediction_output import Csv, Text
from pneumo_cli.cli.prediction_values import values_of
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.calibration import Calibration
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.multi.calibration import ClassCalibration
from pneumo_cli.evaluation.multi.points import MultiPoint
from pneumo_cli.evaluation.multi.rule import MultiRule
from pneumo_cli.inference.predict import predict
from pneumo_cli.inference.predictor import Predictor, Sized
from pneumo_cli.inference.predictors import EnsemblePredictor
from pneumo_cli.runtime.streams import printable
from pneumo_cli.runtime.terminal import display_width

CLASSES = {
    "fake-three": ("normal", "bacteria", "virus"),
    "fake-labels": ("effusion", "fracture", "nodule"),
}


class Fixed(Predictor):
    """Gives the same logits to every image, and remembers which class a map was wanted of."""

    def __init__(
        self,
        logits: Sequence[float],
        task: str = "multiclass",
        classes: Sequence[str] = ("a", "b", "c"),
        calibrations: Sequence[Calibration] = (),
        thresholds: Sequence[float] = (),
        size: int = 8,
    ) -> None:
        count = len(classes)
        point = MultiPoint("default", tuple(thresholds or (0.0,) * count), "", ("",) * count)
        calibration = ClassCalibration(tuple(calibrations or (Calibration(),) * count))
        self.rule = MultiRule(task, tuple(classes), calibration, (point,))
        self.point = self.rule.point
        self.sizes = (size,)
        self.facts = {"run": "fixed"}
        self.given = logits
        self.explained: list[int] = []

    def logits(self, images: Sized) -> NDArray[np.float64]:
        return np.tile(np.array(self.given, float), (len(images[self.sizes[0]]), 1))

    def maps(self, images: Sized, positive: NDArray[np.int64]) -> NDArray[np.float32]:
        self.explained += positive.tolist()
        return np.zeros((len(positive), self.sizes[0], self.sizes[0]), np.float32)


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for number, file in enumerate(files):
        Image.fromarray(np.full((20, 16), 80 * number, np.uint8)).save(file)
    return files


@pytest.fixture(params=CLASSES)
def dataset(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def run(dataset: str, finished_run) -> Path:
    """A finished run of K classes or labels; not to be changed."""
    return finished_run("fake", "--dataset", dataset, "--split", "patient")


@pytest.fixture
def held_out(dataset: str, run: Path, fakes: Path) -> Path:
    """The test images of that run as files, in the folders that their names contain."""
    from pneumo_fake.data import LabelsDataset, ThreeDataset

    source = {"fake-three": ThreeDataset, "fake-labels": LabelsDataset}[dataset](dataset)
    folder = fakes / "films"
    for record in source.records:
        if record.pool == "test":
            path = folder / f"{record.name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(source.read(record)).save(path)
    return folder


def evaluated(run: Path) -> dict[str, dict[str, str]]:
    """Name to row of the run's own predictions for its test images."""
    with (run / "predictions" / "test.csv").open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_files_get_the_logits_probabilities_and_decisions_of_the_run_s_own_evaluation(
    dataset: str, run: Path, held_out: Path, pneumo
) -> None:
    done = pneumo("predict", run, held_out, "--json")
    assert done.code == 0, done.stderr
    content = json.loads(done.stdout)
    assert tuple(content["classes"]) == CLASSES[dataset]
    rows = evaluated(run)
    assert len(content["predictions"]) == len(rows) == 20
    for one in content["predictions"]:
        row = rows[Path(one["file"]).relative_to(held_out).with_suffix("").as_posix()]
        for name in CLASSES[dataset]:
            assert one["logits"][name] == pytest.approx(float(row[f"logits_{name}"]), abs=1e-4)
            assert one["probabilities"][name] == pytest.approx(float(row[f"probabilities_{name}"]), abs=1e-4)
        if dataset == "fake-three":
            assert one["predicted"] == [CLASSES[dataset][int(row["predicted"])]]
            assert sum(one["probabilities"].values()) == pytest.approx(1)
        else:
            found = [name for name in CLASSES[dataset] if row[f"predicted_{name}"] == "1"]
            assert one["predicted"] == found
    assert "no medical device" in done.stderr


def test_an_operating_point_has_a_threshold_for_each_class_and_changes_no_probability(
    run: Path, held_out: Path, pneumo
) -> None:
    default, screening = (
        json.loads(pneumo("predict", run, held_out, "--json", "--operating-point", name).stdout)
        for name in ("default", "screening")
    )
    assert default["operating_point"]["logit_thresholds"] == [0.0] * 3
    assert any(screening["operating_point"]["logit_thresholds"])
    shares = [[one["probabilities"] for one in found["predictions"]] for found in (default, screening)]
    assert shares[0] == shares[1]
    decisions = [[one["predicted"] for one in found["predictions"]] for found in (default, screening)]
    assert decisions[0] != decisions[1]


def test_a_class_that_calibration_makes_less_probable_is_not_called_the_most_probable_one() -> None:
    moved = Fixed([0, 1, 2], calibrations=(Calibration(), Calibration(), Calibration(1.0, -3.0)))
    plain = Fixed([0, 1, 2])
    explained = [values_of(one).explanation()[1] for one in (moved, plain)]
    assert all("the class with the largest logit is predicted" in text for text in explained)
    assert ["after calibration is not always the most probable" in text for text in explained] == [
        True,
        False,
    ]


def test_csv_has_a_column_for_each_class(dataset: str, run: Path, held_out: Path, pneumo) -> None:
    content = json.loads(pneumo("predict", run, held_out, "--json").stdout)
    rows = list(csv.DictReader(io.StringIO(pneumo("predict", run, held_out, "--csv").stdout)))
    for row, one in zip(rows, content["predictions"], strict=True):
        assert [name for name in row["predicted"].split("|") if name] == one["predicted"]
        for name, share in one["probabilities"].items():
            assert float(row[f"probability_{name}"]) == share


def test_a_prevalence_is_refused_in_one_line(run: Path, held_out: Path, pneumo) -> None:
    done = pneumo("predict", run, held_out, "--prevalence", "0.05")
    assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "0.05 is that of one of two classes, and this classifier has 3" in done.stderr


def test_saliency_maps_of_every_image_are_written(run: Path, held_out: Path, pneumo) -> None:
    done = pneumo("predict", run, held_out, "--cam", "maps")
    assert done.code == 0, done.stderr
    assert len(list(Path("maps").iterdir())) == 20


@pytest.mark.parametrize(("task", "expected"), [("multiclass", 0), ("multilabel", 1)])
def test_a_map_is_of_the_predicted_class_or_of_the_most_probable_label(
    task: str, expected: int, films: list[Path]
) -> None:
    one = Fixed([0.5, 1.0, -1.0], task, thresholds=(-2.0, 0.0, 0.0))
    found = list(predict(one, films, overlays=True))
    assert one.explained == [expected] * 3
    assert found[0].predicted == (("a",) if task == "multiclass" else ("a", "b"))


@settings(max_examples=25, deadline=None)
@given(
    logits=st.lists(st.lists(st.floats(-8, 8), min_size=3, max_size=3), min_size=2, max_size=4),
    temperature=st.floats(0.5, 4),
    bias=st.floats(-2, 2),
)
def test_an_ensemble_is_the_geometric_mean_of_calibrated_probabilities(
    logits: list[list[float]], temperature: float, bias: float
) -> None:
    calibrations = (Calibration(temperature, bias), Calibration(temperature), Calibration(temperature, -bias))
    members = [Fixed(one, calibrations=calibrations) for one in logits]
    images = {8: np.zeros((1, 8, 8), np.uint8)}
    shares = np.stack([one.rule.probabilities(one.logits(images))[0] for one in members])
    means = np.exp(np.log(shares).mean(axis=0))
    ensemble = EnsemblePredictor(members)
    batch = ensemble.predict_batch(images)
    assert ensemble.rule.probabilities(batch.logits)[0] == pytest.approx(means / means.sum(), rel=1e-6)
    assert np.stack(batch.member_probabilities)[:, 0] == pytest.approx(shares)


def test_members_with_other_classes_or_another_task_form_no_ensemble() -> None:
    one = Fixed([0, 0, 0])
    with pytest.raises(UsageError, match="different classes"):
        EnsemblePredictor([one, Fixed([0, 0, 0], classes=("a", "c", "b"))])
    with pytest.raises(UsageError, match="different tasks"):
        EnsemblePredictor([one, Fixed([0, 0, 0], "multilabel")])


def test_runs_of_other_classes_are_refused_in_one_line(
    run: Path, held_out: Path, finished_run, pneumo
) -> None:
    binary = finished_run("fake", "--epochs", "1")
    done = pneumo("predict", run, held_out, "--with", binary)
    assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "different classes" in done.stderr


def test_the_predictor_of_a_plugin_that_returns_another_shape_is_named(films: list[Path]) -> None:
    short, flat = Fixed([0.0, 1.0]), Fixed([0.0])
    flat.rule = DecisionRule(("a", "b"))
    flat.point = flat.rule.point
    for one, shape, expected in ((short, r"\[3, 2\]", r"\[3, 3\]"), (flat, r"\[3, 1\]", r"\[3\]")):
        with pytest.raises(PneumoError, match=rf"fixed: .*\.Fixed returned .* {shape} .* {expected}"):
            list(predict(one, films))


def test_the_table_shows_a_class_with_the_next_ones_and_all_predicted_labels(
    films: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    classes = ("normal", "bacteria", "virus", "COVID-19")
    for one in (Fixed([0, 3, 2, 1], classes=classes), Fixed([-1, 3, 2, -2], "multilabel", classes)):
        with Text(one, films).open() as out:
            out.write(next(predict(one, films)))
    none = Fixed([-3, -1, -2, -4], "multilabel", classes)
    with Text(none, films).open() as out:
        out.write(next(predict(none, films)))
    shown = [line.split("  ")[-1] for line in capsys.readouterr().out.splitlines()[1::2]]
    assert shown == [
        "bacteria 64.4 % (virus 23.7 %, COVID-19 8.7 %)",
        "bacteria 95.3 %, virus 88.1 %",
        "none (highest: bacteria 26.9 %)",
    ]


def test_control_characters_in_names_of_classes_are_not_printed(
    films: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("\x1b[2Jclear", "new\nline", "b")
    one = Fixed([0, 1, 2], "multilabel", names)
    for writer in (Text, Csv):
        with writer(one, films).open() as out:
            out.write(next(predict(one, films)))
    printed = capsys.readouterr().out + "".join(values_of(one).explanation())
    assert "\x1b" not in printed
    assert r"\x1b[2Jclear" in printed
    assert r"new\nline" in printed
    assert printable("Ödem 肺") == "Ödem 肺"


def test_names_of_wide_characters_keep_the_columns_and_no_console_is_needed(
    films: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Fixed([0.0, 3.0, 2.0])
    found = next(predict(one, films))
    named = [Path("\u80ba\u75c5.png"), Path("chest.png")]
    with Text(one, named).open() as out:
        for file in named:
            out.write(replace(found, file=file))
    _, *rows = capsys.readouterr().out.splitlines()
    starts = [display_width(row[: row.rindex("  b")]) for row in rows]
    assert len(set(starts)) == 1
    monkeypatch.setattr(sys, "stdout", None)
    with Text(one, named).open() as out:
        out.write(found)
