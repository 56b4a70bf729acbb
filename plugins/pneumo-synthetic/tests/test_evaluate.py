"""``pneumo evaluate-images`` and ``tstr``, and errors of generative runs before they begin."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from image_folders import assert_one_line

from pneumo_cli.testing import Invocation


@pytest.fixture
def copied(painter: Path, tmp_path: Path) -> Path:
    """A copy of the first, in which evaluations are kept."""
    return Path(shutil.copytree(painter, tmp_path / "copy"))


def evaluations(run: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((run / "evaluations").glob("*.json"))]


def assert_misuse(ended: Invocation, *words: str) -> None:
    assert_one_line(ended, 2, *words)


# --- before a run begins ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--images-of", "NOTHING"), ("has no class 'NOTHING'", "NORMAL, PNEUMONIA")),
        (("--images-of", "PNEUMONA"), ("did you mean PNEUMONIA?",)),
        (("--images-of", "../NORMAL"), ("has no class '../NORMAL'", "NORMAL")),
        (("--dataset", "tiny", "--batch-size", 64), ("more than the 18 images of PNEUMONIA", "--batch-size")),
        (("--image-size", 12), ("a multiple of 8 px, not 12",)),
        (("--extractor", "pixel"), ("unknown extractor 'pixel'", "did you mean pixels?")),
        (("--extractor", "tiny-net"), ("has no ImageNet weights",)),
        (("--extractor", "absent/run"), ("there is no run folder absent/run",)),
        (("--fidelity-images", -1), ("fidelity_images",)),
    ],
)  # fmt: skip
def test_invalid_settings_are_one_line_and_nothing_is_written(
    flags: tuple[object, ...], words: tuple[str, ...], pneumo, fakes
) -> None:
    assert_misuse(pneumo("run", "painter", *flags), *words)
    assert list(fakes.iterdir()) == []


@pytest.mark.parametrize("flags", [{"fidelity_images": 0}, {"model": "copyist-net"}])
def test_an_extractor_that_is_not_needed_is_not_opened(flags: dict, trained_run) -> None:
    run = trained_run("painter", extractor="absent/run", epochs=1, **flags)
    assert (run / "checkpoints" / "best.pt").is_file()


# --- one run ---------------------------------------------------------------------------------------------------


def test_an_evaluation_is_two_tables_and_conclusions(copied: Path, pneumo) -> None:
    ended = pneumo("evaluate-images", copied)
    assert (ended.code, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0] == "Distance to real images of held-out patients"
    assert lines[1].split("  ")[0] == "IMAGES"
    assert "Memorization and diversity" in lines
    rows = [line.split("  ")[0] for line in lines]
    for title in ("generated", "Real, other patients", "PCA Gaussian", "Mean image", "Noise"):
        assert rows.count(title) == 2  # in both tables
    assert lines[-1]
    assert "By KID the generated images are " in ended.stdout
    assert "(pixels at 32 px)" in ended.stdout
    assert max(ended.stdout.count("\n\n\n"), ended.stdout.count("<")) == 0


def test_an_evaluation_as_json_is_kept_with_its_run(copied: Path, pneumo) -> None:
    ended = pneumo("evaluate-images", copied, "--json", "-n", 20, "--checkpoint", "last")
    assert (ended.code, ended.stderr) == (0, "")
    result = json.loads(ended.stdout)
    assert evaluations(copied) == [result]
    assert result["checkpoint"] == "last"
    assert {"kid_pixels", "kid_spread_pixels", "frechet_pixels", "kid_real_pixels", "copies"} <= result[
        "metrics"
    ].keys()
    assert result["metrics"]["kid_real_pixels"] < result["metrics"]["kid_noise_pixels"]
    assert "20 (generated) images" in result["tables"][1]["note"]


def test_evaluating_again_gives_the_same_numbers(copied: Path, pneumo) -> None:
    command = ("evaluate-images", copied, "-n", 20, "--json")
    first, second = (json.loads(pneumo(*command).stdout)["metrics"] for _ in range(2))
    assert first == second


def test_a_flag_replaces_the_extractor_and_a_wrong_one_is_one_line(copied: Path, trained_run, pneumo) -> None:
    classifier = trained_run("fake", epochs=1)
    ended = pneumo("evaluate-images", copied, "--extractor", classifier, "--json")
    assert ended.code == 0, ended.stderr
    (kid,) = [name for name in json.loads(ended.stdout)["metrics"] if name.startswith("kid_fake-")]
    assert classifier.name in kid
    assert_misuse(pneumo("evaluate-images", copied, "--extractor", "pixles"), "did you mean pixels?")
    assert len(evaluations(copied)) == 1


@pytest.mark.parametrize("flags", [(), ("--against",)])
def test_too_few_images_are_not_evaluated_and_the_reason_is_given(
    flags: tuple[str, ...], copied: Path, trained_run, pneumo
) -> None:
    other = [trained_run("painter", image_size=16, seed=1, epochs=1)] if flags else []
    ended = pneumo("evaluate-images", copied, *flags, *other, "-n", 4)
    assert_misuse(ended, "are not evaluated: there are 4 of ", "at least 8")
    assert evaluations(copied) == []


def test_images_that_were_not_evaluated_at_the_end_of_a_run_can_be_evaluated_later(
    trained_run, tmp_path: Path, pneumo
) -> None:
    run = shutil.copytree(
        trained_run("painter", fidelity_images=0, extractor="absent/run", epochs=1), tmp_path / "copy"
    )
    ended = pneumo("evaluate-images", run, "--extractor", "pixels")
    assert ended.code == 0, ended.stderr
    assert "of 1,000 (generated) images" in ended.stdout


@pytest.mark.parametrize(
    "command", [("evaluate-images",), ("evaluate-images", "--against", "{painter}"), ("tstr",)]
)
def test_a_classifier_s_run_has_no_images_to_evaluate(
    command: tuple[str, ...], painter: Path, trained_run, pneumo
) -> None:
    run = trained_run("fake", epochs=1)
    name, *flags = (part.format(painter=painter) for part in command)
    assert_misuse(pneumo(name, run, *flags), f"{run} is a run of fake, which generates no images")


def test_a_model_that_only_reconstructs_is_refused(trained_run, painter: Path, pneumo) -> None:
    run = trained_run("painter", model="copyist-net", epochs=1)
    assert_misuse(pneumo("evaluate-images", run), "there is nothing to evaluate", "generates no new images")
    assert_misuse(
        pneumo("evaluate-images", run, "--against", painter), "copyist-net", "generates no new images"
    )
    assert_misuse(
        pneumo("evaluate-images", painter, "--against", run), "copyist-net", "generates no new images"
    )


def test_a_run_is_not_evaluated_on_other_data(copied: Path, pneumo) -> None:
    """The tiny dataset has fewer images than a batch; that is not the error here."""
    text = (copied / "run.toml").read_text()
    (copied / "run.toml").write_text(text.replace('dataset = "small"', 'dataset = "tiny"'))
    assert_misuse(pneumo("evaluate-images", copied), "not the data that the run was trained on")
    assert evaluations(copied) == []


def test_an_access_to_the_test_images_is_recorded_before_they_are_evaluated_on(
    copied: Path, trained_run, pneumo, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PNEUMO_DATA_HOME", str(tmp_path / "home"))
    recorded = tmp_path / "home" / "test-access"
    for run in (copied, trained_run("painter", evaluate_test=False)):
        text = (run / "run.toml").read_text()
        place = shutil.copytree(run, tmp_path / f"{run.name}-{run == copied}")
        (place / "run.toml").write_text(
            re.sub('data_home = ".*"', f'data_home = "{tmp_path / "home"}"', text)
        )
        with monkeypatch.context() as patched:
            patched.setattr("pneumo_fake.painting.PainterTrainer.extractor", lambda self, run: 1 / 0)
            assert pneumo("evaluate-images", place).code == 1
        lines = [line for log in recorded.glob("*.jsonl") for line in log.read_text().splitlines()]
        assert [json.loads(line)["run"] for line in lines] == [str(tmp_path / f"{copied.name}-True")], (
            "of the first alone: the test images of the second stay sealed"
        )


# --- two runs --------------------------------------------------------------------------------------------------


def test_two_runs_are_compared_with_the_same_real_images_at_the_size_of_the_smaller(
    copied: Path, trained_run, pneumo
) -> None:
    other = trained_run("painter", image_size=16, seed=1, epochs=1)
    ended = pneumo("evaluate-images", copied, "--against", other, "--json")
    assert ended.code == 0, ended.stderr
    result = json.loads(ended.stdout)
    names = [f"painter/{run.name}" for run in (copied, other)]
    assert result["against"] == names[1]
    assert [row[0] for row in result["tables"][0]["rows"]][:3] == [*names, "Real, other patients"]
    slugs = [name.replace("/", "-") for name in names]
    assert {f"kid_{slug}_pixels" for slug in slugs} <= result["metrics"].keys()
    assert evaluations(copied) == [result]
    assert not (other / "evaluations").exists()


def test_runs_that_are_not_comparable_are_one_line(
    painter: Path, normal_painter: Path, trained_run, pneumo
) -> None:
    elsewhere = trained_run("painter", dataset="tiny", epochs=1)
    every = trained_run("painter", images_of="", epochs=1)
    for other, words in (
        (normal_painter, "generate images of NORMAL and PNEUMONIA"),
        (every, "generate images of PNEUMONIA and all classes"),
        (elsewhere, f"{elsewhere} was trained on other data"),
        (painter, "with another run, not with itself"),
        (painter / "checkpoints", "is no run folder"),
    ):
        assert_misuse(pneumo("evaluate-images", painter, "--against", other), words)
    assert not (painter / "evaluations").exists()


# --- TSTR ------------------------------------------------------------------------------------------------------


def test_tstr_is_a_table_and_two_conclusions(copied: Path, normal_painter: Path, pneumo, monkeypatch) -> None:
    monkeypatch.setattr("pneumo_synthetic.tstr.STEPS", 5)
    ended = pneumo("tstr", copied, normal_painter, "--seeds", 2)
    assert (ended.code, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0] == "Train on synthetic, test on real (TSTR): a small classifier on each training set"
    assert [line.split("  ")[0] for line in lines[1:5]] == [
        "TRAINED ON",
        "real (144 images)",
        "generated (144 images)",
        "real and generated (288 images)",
    ]
    assert "tested on 64 real images of other patients" in lines[5]
    assert lines[-2].startswith("Adding generated images to real ones ")
    assert lines[-1].startswith("Replacing real images by generated ones changes the AUC by ")
    (kept,) = evaluations(copied)
    assert kept["metrics"].keys() == {"auc_real", "auc_synthetic", "auc_both", "gain"}
    assert (kept["runs"], kept["seeds"]) == ([f"painter/{run.name}" for run in (copied, normal_painter)], 2)
    home = re.search(r'data_home = "(.*)"', (copied / "run.toml").read_text())[1]
    logs = (Path(home) / "test-access").glob("*.jsonl")  # one for each dataset
    last = [json.loads(log.read_text().splitlines()[-1]) for log in logs]
    assert (str(copied), "tstr") in [(one["run"], one["by"]) for one in last]


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (lambda p, n, o: [p], "these generate images of PNEUMONIA (train the missing one with --images-of)"),
        (lambda p, n, o: [p, p], "these generate images of PNEUMONIA"),
        (lambda p, n, o: [p, n, p], "these generate images of PNEUMONIA, NORMAL"),
        (lambda p, n, o: [n, o], "was trained on other data"),
    ],
)
def test_tstr_takes_a_run_for_each_class_of_the_same_data(
    runs: Callable[..., list[Path]], words: str, painter: Path, normal_painter: Path, trained_run, pneumo
) -> None:
    elsewhere = trained_run("painter", dataset="tiny", epochs=1)
    assert_misuse(pneumo("tstr", *runs(painter, normal_painter, elsewhere)), words)
    assert not (painter / "evaluations").exists()


@pytest.mark.parametrize(
    ("dataset", "images_of", "words"),
    [
        ("fake-three", "virus", "fake-three has 3 classes (normal, bacteria, virus)"),
        ("fake-labels", "", "fake-labels has 3 labels (effusion, fracture, nodule)"),
    ],
)
def test_tstr_is_for_two_classes(
    dataset: str, images_of: str, words: str, trained_run: Callable[..., Path], pneumo
) -> None:
    run = trained_run("painter", dataset=dataset, images_of=images_of)
    assert_misuse(pneumo("tstr", run, run), words)
