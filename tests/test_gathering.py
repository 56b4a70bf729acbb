"""Folds and seeds: parts that resume by themselves, one look at the test images, one report of them all."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.calibration import Calibration
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.ensemble import MemberPredictions, average, ensemble_rule
from pneumo_cli.evaluation.operating_points import OperatingPoint
from pneumo_cli.inference.ensemble import evaluate_ensemble
from pneumo_cli.reports.group_report import caveats_of, spread
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.groups import asks_for_group, members_of
from pneumo_cli.settings.schema import TrainerSettings

if TYPE_CHECKING:
    from conftest import Ended

# Two folds of a classifier, whose mean is judged; and of a task without a mean, whose reports are quickly drawn.
FOLDS = ("run", "fake", "--folds", 2, "--epochs", 1)
QUICK = ("run", "duel", "--folds", 2, "--epochs", 1)


def only_group(folder: Path) -> Path:
    (path,) = (folder / "runs").glob("*/*")
    assert path.name.endswith(("-folds", "-seeds"))
    return path


def report_of(group: Path) -> dict[str, Any]:
    return dict(json.loads((group / "report.json").read_text()))


def looks_of(group: Path, environ: dict[str, str]) -> int:
    lines = [
        line
        for path in Path(environ["PNEUMO_DATA_HOME"]).glob("test-access/*.jsonl")
        for line in path.read_text().splitlines()
    ]
    return sum(json.loads(line)["run"].startswith(str(group)) for line in lines)


def assert_same_group(expected: Path, actual: Path) -> None:
    """Weights of all parts, and all numbers of both reports, are equal, bit for bit."""
    names = sorted(path.name for path in (expected / "members").iterdir())
    assert names == sorted(path.name for path in (actual / "members").iterdir())
    for name in names:
        folders = [group / "members" / name / "checkpoints" for group in (expected, actual)]
        one, other = (Checkpoints(folder).load("best") for folder in folders)
        assert one["model"].keys() == other["model"].keys()
        assert all(one["model"][key].equal(other["model"][key]) for key in one["model"])
    reports = [report_of(group) for group in (expected, actual)]
    for key in ("spread", "evaluations", "intervals", "tables", "details"):
        assert reports[0][key] == reports[1][key], key
    for path in (expected / "predictions").glob("*"):
        assert path.read_bytes() == (actual / "predictions" / path.name).read_bytes()


@dataclass(frozen=True)
class Recovered:
    """A group of which one part failed at first, and what was there then."""

    group: Path
    failed: Ended
    report: dict[str, Any]
    markdown: str
    looks: int


@pytest.fixture(scope="module")
def recovered(processes, tmp_path_factory, fake_environ) -> Recovered:
    """Two folds of a classifier; the first one's loss was NaN at first, and the group was resumed."""
    folder = tmp_path_factory.mktemp("recovered")
    failed = processes.run(folder, *FOLDS, SABOTAGE="nan@step:1:2", SABOTAGE_FOLD="1")
    group = only_group(folder)
    before = (report_of(group), (group / "report.md").read_text(), looks_of(group, fake_environ))
    ended = processes.run(folder, "resume", group)
    assert ended.code == 0, ended.stderr
    assert "2 members gathered in" in ended.stderr
    return Recovered(group, failed, *before)


@pytest.fixture(scope="module")
def whole(recovered: Recovered) -> Path:
    """The same, finished."""
    return recovered.group


@pytest.fixture(scope="module")
def undisturbed(processes, tmp_path_factory) -> Path:
    """Two quick folds that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    ended = processes.run(folder, *QUICK)
    assert ended.code == 0, ended.stderr
    return only_group(folder)


def test_every_fold_validates_once_and_the_report_pools_them(whole: Path) -> None:
    report = report_of(whole)
    assert [(part["name"], part["state"]) for part in report["members"]] == [
        ("fold-1", "finished"),
        ("fold-2", "finished"),
    ]
    validated = []
    for part in report["members"]:
        with (whole / part["folder"] / "predictions" / "validation.csv").open() as file:
            validated += [row["name"] for row in csv.DictReader(file)]
    with (whole / "predictions" / "validation.csv").open() as file:
        pooled = [row["name"] for row in csv.DictReader(file)]
    assert sorted(validated) == sorted(pooled)
    assert len(set(pooled)) == len(pooled) == report["dataset"]["split"]["rows"][0]["images"]
    low, high = report["intervals"]["validation"]["auc"]
    assert low <= report["evaluations"]["validation"]["auc"] <= high
    assert {rule["rule"] for rule in report["caveats"]} >= {"synthetic-data", "one-seed-per-fold"}


def test_spread_is_that_of_the_parts(whole: Path) -> None:
    report = report_of(whole)
    own = [
        json.loads((whole / "members" / name / "report.json").read_text())["evaluations"]["validation"]["auc"]
        for name in ("fold-1", "fold-2")
    ]
    of = report["spread"]["validation"]["auc"]
    assert of["mean"] == pytest.approx(np.mean(own))
    assert of["sd"] == pytest.approx(abs(own[0] - own[1]) / 2**0.5)
    assert (of["min"], of["max"]) == (min(own), max(own))


def test_the_spread_of_one_part_has_no_standard_deviation() -> None:
    assert spread({"a": {"test": {"auc": 0.5}}})["test"]["auc"]["sd"] is None


def test_the_test_images_are_opened_once_for_the_whole_group(whole: Path, fake_environ) -> None:
    assert looks_of(whole, fake_environ) == 1
    for part in (whole / "members").iterdir():
        assert not (part / "predictions" / "test.csv").exists()
        assert "test" not in json.loads((part / "report.json").read_text())["evaluations"]
    assert report_of(whole)["spread"]["test"]["auc"]["members"] == 2


def test_pages_show_spread_and_link_to_the_parts(whole: Path) -> None:
    page, markdown = ((whole / name).read_text() for name in ("report.html", "report.md"))
    assert '<a href="members/fold-1/report.html">fold-1</a>' in page
    assert "[fold-2](members/fold-2/report.html)" in markdown
    assert "Standard deviation" in markdown
    assert "out of fold" in page
    assert "Missing figure" not in page + markdown


def test_a_part_s_settings_run_it_again_alone(undisturbed: Path, processes, tmp_path: Path) -> None:
    part = undisturbed / "members" / "fold-2"
    ended = processes.run(
        tmp_path, "run", "duel", "--config", part / "run.toml", "--output", tmp_path / "again"
    )
    assert ended.code == 0, ended.stderr
    (again,) = (tmp_path / "again").glob("*/*")
    one, other = (Checkpoints(run / "checkpoints").load("best")["model"] for run in (part, again))
    assert all(one[key].equal(other[key]) for key in one)


def test_a_group_that_is_killed_and_stopped_again_and_again_ends_with_the_same_bits(
    undisturbed: Path, processes, tmp_path: Path
) -> None:
    killed = processes.run(tmp_path, *QUICK, SABOTAGE="SIGKILL@last:1", SABOTAGE_FOLD="1")
    assert killed.code == -signal.SIGKILL, killed.stderr
    group = only_group(tmp_path)
    killed = processes.run(tmp_path, "resume", group, SABOTAGE="SIGKILL@step:1:2", SABOTAGE_FOLD="1")
    assert killed.code == -signal.SIGKILL, killed.stderr
    stopped = processes.run(tmp_path, "resume", group, SABOTAGE="SIGTERM@step:1:2", SABOTAGE_FOLD="2")
    assert stopped.code == 143
    assert f"go on with: pneumo resume {group}\n" in stopped.stderr
    first = (group / "members" / "fold-1" / "report.json").stat().st_mtime_ns
    killed = processes.run(tmp_path, "resume", group, SABOTAGE="SIGKILL@epoch:1", SABOTAGE_FOLD="2")
    assert killed.code == -signal.SIGKILL, killed.stderr
    resumed = processes.run(tmp_path, "resume", group)
    assert resumed.code == 0, resumed.stderr
    assert_same_group(undisturbed, group)
    assert (group / "members" / "fold-1" / "report.json").stat().st_mtime_ns == first


def test_a_part_that_was_killed_before_its_first_checkpoint_begins_again(
    undisturbed: Path, processes, tmp_path: Path
) -> None:
    group = tmp_path / "group"
    shutil.copytree(undisturbed, group)
    (group / "report.json").unlink()
    shutil.rmtree(group / "members" / "fold-2" / "checkpoints")
    (group / "members" / "fold-2" / "report.json").unlink()
    assert processes.run(tmp_path, "resume", group).code == 0
    assert_same_group(undisturbed, group)


def test_a_group_killed_while_it_gathers_goes_on_and_does_not_look_twice(
    whole: Path, processes, tmp_path: Path, fake_environ
) -> None:
    # The ledger knows the group by its place, so it is moved there and back.
    away = tmp_path / "kept"
    shutil.copytree(whole, away)
    (whole / "report.json").unlink()
    killed = processes.run(tmp_path, "resume", whole, SABOTAGE="SIGKILL@evaluate:2", SABOTAGE_FOLD="2")
    assert killed.code == -signal.SIGKILL
    assert processes.run(tmp_path, "resume", whole).code == 0
    assert_same_group(away, whole)
    assert looks_of(whole, fake_environ) == 1


def test_a_failed_part_loses_nothing_and_keeps_the_test_images_sealed(recovered: Recovered) -> None:
    assert recovered.failed.code == 1
    assert "1 of 2 members failed (fold-1: epoch 1" in recovered.failed.stderr
    assert [part["state"] for part in recovered.report["members"]] == ["failed", "finished"]
    assert "test" not in recovered.report["evaluations"]
    assert "The test images stay sealed until all members are finished." in recovered.markdown
    assert recovered.looks == 0


def test_resuming_a_finished_group_changes_nothing_and_says_so(whole: Path, pneumo) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    ended = pneumo("resume", whole)
    assert ended.code == 0
    assert "is finished (2 members of 1 epochs)" in ended.stderr
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()} == before


def test_fewer_epochs_than_are_done_is_an_error(undisturbed: Path, pneumo, tmp_path: Path) -> None:
    group = tmp_path / "copy"
    shutil.copytree(undisturbed, group)
    settings = (group / "group.toml").read_text()
    (group / "group.toml").write_text(settings.replace("\nepochs = 1\n", "\nepochs = 2\n"))
    for path in group.glob("members/*/report.json"):
        report = json.loads(path.read_text())
        path.write_text(json.dumps({**report, "history": [*report["history"], report["history"][-1]]}))
    ended = pneumo("resume", group, "--epochs", 1)
    assert ended.code == 2
    assert "2 epochs already" in ended.stderr


def test_parts_are_named_after_what_differs() -> None:
    def names(**settings: int) -> list[str]:
        return [part.name for part in members_of(TrainerSettings(seed=7, **settings))]

    assert names(seeds=2) == ["seed-7", "seed-8"]
    assert names(folds=2) == ["fold-1", "fold-2"]
    assert names(folds=2, seeds=2) == ["fold-1-seed-7", "fold-2-seed-7", "fold-1-seed-8", "fold-2-seed-8"]
    assert names(folds=2, fold=2, seeds=2) == ["fold-2-seed-7", "fold-2-seed-8"]
    assert not asks_for_group(TrainerSettings(folds=2, fold=1))
    assert asks_for_group(TrainerSettings(folds=2))


def test_several_seeds_silence_the_rule_about_one_seed(whole: Path) -> None:
    first = json.loads((whole / "members" / "fold-1" / "report.json").read_text())
    report = {**report_of(whole), "seeds": [7, 8]}
    assert not [rule for rule in caveats_of(report, first) if rule["rule"].startswith("one-seed")]


def test_a_task_without_a_mean_is_gathered_part_by_part(undisturbed: Path, fake_environ) -> None:
    report = report_of(undisturbed)
    assert report["evaluations"] == {}
    assert report["spread"]["test"]["loss"]["members"] == 2
    assert looks_of(undisturbed, fake_environ) == 1


def test_a_signal_between_two_parts_ends_the_group_whoever_takes_it_for_an_error(
    pneumo, fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pneumo_fake import data

    honest = data.open_tiny

    def told(request: Any) -> Any:
        if list((fakes / "runs").glob("*/*/members/*/report.json")):
            try:
                signal.raise_signal(signal.SIGTERM)
            except Exception as error:  # as whoever imports a plugin does
                raise RuntimeError("the images cannot be had") from error
        return honest(request)

    monkeypatch.setattr(data, "open_tiny", told)
    ended = pneumo("run", "duel", "--seeds", 2, "--epochs", 1)
    group = only_group(fakes)
    assert (ended.code, ended.stderr.splitlines()[-1]) == (
        143,
        f"pneumo: stopped between two members; go on with: pneumo resume {group.relative_to(fakes)}",
    )
    assert not (group / "report.json").exists()


def test_a_ctrl_c_while_a_part_writes_its_report_begins_no_further_part(processes, tmp_path: Path) -> None:
    ended = processes.run(tmp_path, "run", "duel", "--seeds", 2, "--epochs", 1, SABOTAGE="SIGINT@report")
    group = only_group(tmp_path)
    assert (ended.code, ended.stderr.splitlines()[-1]) == (
        130,
        "pneumo: stopped after the last epoch, before the report was written; go on with: "
        f"pneumo resume {group.relative_to(tmp_path)}",
    )
    assert len(list(group.glob("members/*"))) == 1


@pytest.fixture(scope="module")
def painted(processes, tmp_path_factory) -> Path:
    """Two seeds of a trainer that makes images."""
    folder = tmp_path_factory.mktemp("painted")
    ended = processes.run(folder, "run", "painter", "--seeds", 2, "--epochs", 1)
    assert ended.code == 0, ended.stderr
    assert "ENSEMBLE" not in ended.stdout
    assert ended.stdout.splitlines()[1].startswith("whole  ")
    return only_group(folder)


def test_distances_of_made_images_are_gathered_beside_those_of_what_costs_no_training(painted: Path) -> None:
    report = report_of(painted)
    own = [json.loads(path.read_text()) for path in sorted(painted.glob("members/*/report.json"))]
    for name in ("kid_pixels", "diversity"):
        found = [one["summary"]["metrics"][name] for one in own]
        assert report["spread"]["whole"][name]["mean"] == pytest.approx(np.mean(found))
    noise = [one["summary"]["metrics"]["kid_noise_pixels"] for one in own]
    assert report["baselines"]["kid_noise_pixels"]["mean"] == pytest.approx(np.mean(noise))
    assert not [name for name in report["baselines"] if "spread" in name or name in report["spread"]["whole"]]
    markdown = (painted / "report.md").read_text()
    for said in (
        "The result as a whole",
        "Baselines that cost no training",
        "| KID × 1000 of noise (pixels) |",
    ):
        assert said in markdown
    # A figure of the shares of one metric alone says less than the table.
    assert not (painted / "figures" / "spread.png").exists()


def test_parts_that_judge_by_themselves_are_one_look_of_their_group(painted: Path, fake_environ) -> None:
    assert looks_of(painted, fake_environ) == 1
    own = [
        json.loads(path.read_text())["test_access"]["count"] for path in painted.glob("members/*/report.json")
    ]
    assert {report_of(painted)["test_access"]["count"]} == set(own)
    assert "Each member was evaluated on the test set" in (painted / "report.md").read_text()


def test_what_the_parts_make_with_the_weights_that_they_kept_is_shown_side_by_side(
    painted: Path, pneumo, tmp_path: Path
) -> None:
    from PIL import Image

    group = tmp_path / "group"
    shutil.copytree(painted, group)
    for part in report_of(group)["members"]:
        samples = group / part["folder"] / "samples"
        Image.new("L", (40, 40), 128).save(samples / f"epoch-{part['epoch']:03}.png")
    (group / "report.json").unlink()
    assert pneumo("resume", group).code == 0
    (figure,) = (figure for figure in report_of(group)["figures"] if figure["group"] == "samples")
    assert (group / figure["file"]).is_file()
    markdown = (group / "report.md").read_text()
    assert "What the members generate" in markdown
    assert "Missing figure" not in markdown


def test_pictures_of_several_runs_are_shown_in_their_order_and_a_damaged_one_as_such(tmp_path: Path) -> None:
    from PIL import Image

    from pneumo_cli.reports.figures.spread import side_by_side

    for number in range(4):
        Image.fromarray(np.full((20, 30), 60 * number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"no picture")
    figure = side_by_side({f"run {number}": tmp_path / f"{number}.png" for number in range(4)})
    assert [axes.get_title() for axes in figure.axes] == ["run 0", "run 1", "run 2", "run 3", "", ""]
    shown = [axes.images[0].get_array().max() if axes.images else None for axes in figure.axes]
    assert shown == [0, None, 120, 180, None, None]
    with pytest.raises(ValueError, match="at least one"):
        side_by_side({})


@pytest.mark.slow
def test_a_group_on_two_devices_has_one_report_and_one_look(processes, tmp_path: Path, fake_environ) -> None:
    settings = ("--folds", 2, "--epochs", 1, "--devices", 2, "--device", "cpu", "--threads", 1)
    ended = processes.run(tmp_path, "run", "fake", *settings)
    assert ended.code == 0, ended.stderr
    assert ended.stderr.count("2 members gathered in") == 1
    group = only_group(tmp_path)
    report = report_of(group)
    assert [part["state"] for part in report["members"]] == ["finished", "finished"]
    with (group / "predictions" / "validation.csv").open() as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert len(set(names)) == len(names) == report["dataset"]["split"]["rows"][0]["images"]
    assert looks_of(group, fake_environ) == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--folds", 90), "with 90 folds, fold"),
        (("--folds", 1), "at least 2"),
        (("--folds", 3, "--fold", 4), "there are 3 folds"),
        (("--folds", 3, "--split", "source"), "with folds"),
        (("--seeds", 2, "--model", "two-nets"), "kind"),
    ],
)
def test_a_group_that_cannot_be_writes_nothing(
    flags: tuple[Any, ...], said: str, pneumo, fakes: Path
) -> None:
    ended = pneumo("run", "fake", *flags)
    assert ended.code == 2
    assert said in ended.stderr
    assert not (fakes / "runs").exists()


# --- several runs as one ----------------------------------------------------------------------------------------


def test_evaluating_a_group_gives_what_its_report_says(whole: Path, pneumo) -> None:
    ended = pneumo("evaluate", whole, "--json")
    assert ended.code == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert result["metrics"] == report_of(whole)["evaluations"]["test"]
    assert len(result["runs"]) == 2
    assert len(list((whole / "evaluations").iterdir())) == 1


def test_a_group_with_a_part_missing_is_judged_with_a_warning(whole: Path, pneumo, tmp_path: Path) -> None:
    group = shutil.copytree(whole, tmp_path / "group")
    shutil.rmtree(group / "members" / "fold-2")
    ended = pneumo("evaluate", group, "--json")
    assert ended.code == 0, ended.stderr
    assert [one["folder"] for one in json.loads(ended.stdout)["runs"]] == [str(group / "members" / "fold-1")]
    assert f"fold-2 of 2 is missing: {group} answers by the other 1" in ended.stderr
    assert f"pneumo resume {group}" in ended.stderr


def test_runs_are_judged_by_their_mean(trained_run, pneumo, tmp_path: Path) -> None:
    runs = []
    for seed in (1, 2):
        runs.append(tmp_path / f"seed-{seed}")
        shutil.copytree(trained_run("fake", epochs=1, seed=seed), runs[-1])
    ended = pneumo("evaluate", runs[0], "--with", runs[1], "--on", "validation", "--json")
    assert ended.code == 0, ended.stderr
    result = json.loads(ended.stdout)
    alone = [json.loads(pneumo("evaluate", run, "--on", "validation", "--json").stdout) for run in runs]
    for one, other in zip(result["runs"], alone, strict=True):
        assert one["metrics"]["auc"] == other["metrics"]["auc"]
    assert result["metrics"]["brier"] not in [other["metrics"]["brier"] for other in alone]
    assert (runs[0] / "evaluations").is_dir()


def test_runs_that_validate_on_different_images_have_no_mean_there(whole: Path, pneumo) -> None:
    ended = pneumo("evaluate", whole, "--on", "validation")
    assert ended.code == 2
    assert "do not have the same validation images" in ended.stderr


def test_a_run_named_twice_is_refused_under_another_name_too(whole: Path, pneumo, tmp_path: Path) -> None:
    ended = pneumo("evaluate", whole, "--with", whole / "members" / "fold-1")
    assert ended.code == 2
    assert "named twice" in ended.stderr
    copy = shutil.copytree(whole / "members" / "fold-1", tmp_path / "copy")
    ended = pneumo("evaluate", whole, "--with", copy)
    assert (ended.code, len(ended.stderr.splitlines())) == (2, 1)
    assert f"and {copy} are the same model" in ended.stderr


def member(
    logits: list[float], temperature: float, cut: float, index: list[int] | None = None, bias: float = 0.0
) -> MemberPredictions:
    points = (OperatingPoint("default", 0.0, "d."), OperatingPoint("balanced", cut, "b."))
    rule = DecisionRule(("NORMAL", "PNEUMONIA"), Calibration(temperature, bias), points, "balanced", 10, 0.5)
    places = np.array(index if index is not None else range(len(logits)), np.int64)
    return MemberPredictions(Path("run"), 1, "print", rule, places, np.array(logits), places % 2)


def test_the_mean_calls_positive_what_lies_above_the_members_cuts_on_average() -> None:
    rng = np.random.default_rng(0)
    members = [
        member(rng.normal(size=50).tolist(), t, c, bias=b)
        for t, c, b in ((0.5, 0.3, 1.0), (2.0, -1.0, -3.0), (4.0, 2.0, 0.0))
    ]
    rule = ensemble_rule([one.rule for one in members])
    _, logits, _ = average(members)
    excess = np.mean(
        [(one.logits - one.rule.point.logit_threshold) / one.rule.calibration.temperature for one in members],
        axis=0,
    )
    assert ((logits >= rule.point.logit_threshold) == (excess >= 0)).all()
    assert rule.chosen == "balanced"


def test_each_image_is_judged_by_the_members_that_have_seen_it() -> None:
    index, logits, labels = average([member([2.0, 4.0], 2.0, 0, [3, 0]), member([3.0], 1.0, 0, [3])])
    assert index.tolist() == [0, 3]
    assert logits.tolist() == [2.0, 2.0]
    assert labels.tolist() == [0, 1]
    biased = [member([2.0, 4.0], 2.0, 0, [3, 0], bias=1.0), member([3.0], 1.0, 0, [3], bias=-4.0)]
    assert average(biased)[1].tolist() == [3.0, 0.5]


def test_members_of_other_classes_or_other_data_have_no_mean() -> None:
    with pytest.raises(UsageError, match="different classes"):
        ensemble_rule([DecisionRule(("a", "b")), DecisionRule(("a", "c"))])
    one, other = member([1.0], 1, 0), member([1.0], 1, 0)
    with pytest.raises(UsageError, match="not judged on the same data"):
        average(
            [
                one,
                MemberPredictions(
                    other.folder, 1, "else", other.rule, other.index, other.logits, other.labels
                ),
            ]
        )


def test_the_mean_s_probabilities_are_calibrated_ones() -> None:
    from pneumo_cli.data.records import Record

    records = [Record(f"{i}", i % 2, f"p{i}", "test", f"d{i}", "") for i in range(40)]
    rng = np.random.default_rng(1)
    found = evaluate_ensemble([member(rng.normal(size=40).tolist(), 2.0, 0.1)], records, seed=0)
    assert "brier_calibrated" in found.metrics
    assert "brier" not in found.metrics
    assert set(found.intervals) <= set(found.metrics)
