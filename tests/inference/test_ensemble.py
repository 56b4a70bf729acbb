"""``pneumo predict --with``: ensembles of classifiers, each of which gets the same input as alone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.calibration import Calibration
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.operating_points import OperatingPoint
from pneumo_cli.inference.predict import predict
from pneumo_cli.inference.predictor import Predictor, Sized
from pneumo_cli.inference.predictors import EnsemblePredictor
from pneumo_cli.runs.checkpoints import Checkpoints


class Brightness(Predictor):
    """Its logit is the mean gray level in hundreds; it records its input."""

    def __init__(
        self,
        size: int,
        temperature: float = 1.0,
        thresholds: Mapping[str, float] = {"default": 0.0},
        chosen: str = "default",
        classes: tuple[str, str] = ("dark", "bright"),
        bias: float = 0.0,
    ) -> None:
        points = tuple(OperatingPoint(name, threshold, "") for name, threshold in thresholds.items())
        calibration = Calibration(temperature, bias)
        self.rule = DecisionRule(classes, calibration, points, chosen, images=10, prevalence=size / 100)
        self.point = self.rule.point
        self.sizes = (size,)
        self.facts = {"run": f"brightness-{size}"}
        self.seen: list[NDArray[np.uint8]] = []

    def logits(self, images: Sized) -> NDArray[np.float64]:
        levels = images[self.sizes[0]]
        self.seen.append(levels)
        return levels.reshape(len(levels), -1).mean(1) / 100

    def maps(self, images: Sized, positive: NDArray[np.bool_]) -> NDArray[np.float32]:
        size = self.sizes[0]
        return np.full((len(positive), size, size), size / 100, np.float32)


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(3)
    files = []
    for number in range(5):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(rng.integers(0, 256, (70, 50), np.uint8)).save(files[-1])
    return files


def test_calibrated_logits_and_thresholds_are_averaged(films: list[Path]) -> None:
    members = [
        Brightness(16, 2.0, {"default": 0.0, "own": 1.0}, "own", bias=-3.0),
        Brightness(40, 0.5, {"own": 0.4}, "own", bias=1.0),
    ]
    mean = EnsemblePredictor(members)
    assert mean.sizes == (16, 40)
    assert mean.point.logit_threshold == pytest.approx((1.0 / 2 - 3 + 0.4 / 0.5 + 1) / 2)
    alone = [list(predict(member, films)) for member in members]
    for one, first, second in zip(predict(mean, films), *alone, strict=True):
        assert one.logit == pytest.approx((first.logit / 2 - 3 + second.logit / 0.5 + 1) / 2, abs=1e-12)
        assert one.probability == pytest.approx(1 / (1 + np.exp(-one.logit)))
        assert one.members == (first.probability, second.probability)
        assert one.positive == (one.logit >= mean.point.logit_threshold)
    assert not alone[0][0].members


def test_each_member_is_adjusted_to_a_prevalence_from_its_own_and_decisions_do_not_change(
    films: list[Path],
) -> None:
    """Fitted where 16 % and 40 % were positive; wanted for 5 %."""
    members = [Brightness(size, size / 20, {"own": 1.275}, "own") for size in (16, 40)]
    before = list(predict(EnsemblePredictor(members), films))
    for one in members:
        one.rule = one.rule.for_prevalence(0.05)
    mean = EnsemblePredictor(members)
    after = list(predict(mean, films))
    assert mean.rule.assumed == 0.05
    gain = np.log(0.05 / 0.95) - np.mean([np.log(share / (1 - share)) for share in (0.16, 0.4)])
    for one, other in zip(before, after, strict=True):
        assert other.logit == pytest.approx(one.logit + gain)
        assert other.probability == pytest.approx(1 / (1 + np.exp(-other.logit)))
        assert other.positive == one.positive
    assert len({one.positive for one in after}) == 2, "both decisions have to occur"


def test_each_member_gets_the_pixels_that_it_gets_alone(films: list[Path]) -> None:
    members = [Brightness(16), Brightness(40), Brightness(16)]
    list(predict(EnsemblePredictor(members), films))
    for member in members:
        alone = Brightness(member.sizes[0])
        list(predict(alone, films))
        assert np.array_equal(member.seen[0], alone.seen[0])


def test_an_ensemble_of_equal_members_predicts_as_one_of_them(films: list[Path]) -> None:
    alone, mean = Brightness(16, 3.0), EnsemblePredictor([Brightness(16, 3.0), Brightness(16, 3.0)])
    for one, other in zip(predict(alone, films), predict(mean, films), strict=True):
        assert (one.probability, one.positive) == pytest.approx((other.probability, other.positive))


def test_maps_are_averaged_at_the_largest_size(films: list[Path]) -> None:
    mean = EnsemblePredictor([Brightness(16), Brightness(40)])
    maps = mean.maps({16: np.zeros((2, 16, 16), np.uint8)}, np.array([True, False]))
    assert maps.shape == (2, 40, 40)
    assert maps == pytest.approx(0.28)


def test_an_image_is_out_of_distribution_if_it_is_so_for_the_members_on_average(films: list[Path]) -> None:
    class WithDetector(Brightness):
        def __init__(self, size: int, threshold: float) -> None:
            super().__init__(size)
            self.threshold = threshold

        @property
        def ood_threshold(self) -> float:
            return self.threshold

        def predict_batch(self, images: Sized) -> Any:
            from pneumo_cli.inference.predictor import BatchPrediction

            count = len(images[self.sizes[0]])
            return BatchPrediction(self.logits(images), np.linspace(0, 4, count))

    members = [WithDetector(16, 2.0), WithDetector(16, 6.0), Brightness(16)]
    predictions = list(predict(EnsemblePredictor(members), films))
    # Scores 0 to 4 are 0 to 2 and 0 to 2/3 times the thresholds; the third member has no detector and is ignored.
    assert [one.ood_score for one in predictions] == pytest.approx(np.linspace(0, 4 / 3, 5).tolist())
    assert [one.out_of_distribution for one in predictions] == [False, False, False, False, True]
    assert not any(
        one.out_of_distribution for one in predict(EnsemblePredictor([Brightness(16), Brightness(20)]), films)
    )


def test_models_of_other_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="different classes"):
        EnsemblePredictor([Brightness(16), Brightness(16, classes=("cat", "dog"))])


def test_runs_are_averaged_from_the_command_line(
    trained_run: Callable[..., Path], pneumo: Callable[..., Any], films: list[Path], tmp_path: Path
) -> None:
    runs = [trained_run("fake", epochs=1, dataset="tiny", precision="fp32", seed=seed) for seed in (1, 2)]

    def predicted(*arguments: object) -> dict[str, Any]:
        done = pneumo("predict", *arguments, "--checkpoint", "last", "--json")
        assert done.code == 0, done.stderr
        return json.loads(done.stdout)

    single = [predicted(run, *films)["predictions"] for run in runs]
    both = predicted(runs[0], "--with", runs[1], *films)
    assert [one["run"] for one in both["runs"]] == [str(run) for run in runs]
    for one, first, second in zip(both["predictions"], *single, strict=True):
        assert first["logit"] != second["logit"]
        assert one["logit"] == pytest.approx((first["logit"] + second["logit"]) / 2, abs=1e-9)
        assert one["members"] == [first["probability"], second["probability"]]
    group = tmp_path / "group"
    group.mkdir()
    # The settings of a group of two seeds.
    alone = (runs[0] / "run.toml").read_text()
    assert alone.count("\nseeds = 1\n") == 1
    (group / "group.toml").write_text(alone.replace("\nseeds = 1\n", "\nseeds = 2\n"))
    done = pneumo("predict", group, *films)
    assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "no member of" in done.stderr
    for number, run in enumerate(runs, 1):
        member = shutil.copytree(run, group / "members" / f"seed-{number}")
        (member / "report.json").write_text("{}")  # which marks a member as finished
    of_group = predicted(group, *films)
    assert [one["logit"] for one in of_group["predictions"]] == [one["logit"] for one in both["predictions"]]
    assert of_group["synthetic"] is True
    (group / "members" / "seed-2" / "report.json").unlink()
    done = pneumo("predict", group, *films)
    assert done.code == 0
    assert f"seed-2 of 2 is not finished: {group} predicts with the other 1" in done.stderr
    shutil.rmtree(group / "members" / "seed-2")
    assert "seed-2 of 2 is missing" in pneumo("predict", group, *films).stderr
    os.truncate(group / "group.toml", 20)
    done = pneumo("predict", group, *films)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == pneumo("resume", group).stderr == pneumo("evaluate", group).stderr
    assert "is damaged" in done.stderr


def test_models_of_different_data_are_averaged_with_a_warning(
    trained_run: Callable[..., Path], pneumo: Callable[..., Any], films: list[Path], tmp_path: Path
) -> None:
    runs = [trained_run("fake", epochs=1, dataset="tiny", precision="fp32", seed=seed) for seed in (1, 2)]
    assert "different data" not in pneumo("predict", runs[0], "--with", runs[1], *films).stderr
    other = shutil.copytree(runs[1], tmp_path / "other")
    kept = Checkpoints(other / "checkpoints")
    kept.save("best", {**kept.load("best"), "fingerprint": "f" * 64})
    done = pneumo("predict", runs[0], "--with", other, *films)
    assert done.code == 0
    assert "were trained on different data" in done.stderr.splitlines()[0]
