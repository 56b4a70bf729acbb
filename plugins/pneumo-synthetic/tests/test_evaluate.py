"""``pneumo evaluate-images`` and ``tstr``, and what is found wrong with a generative run before it begins."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pneumo_cli.testing import Invocation


@pytest.fixture
def painter(trained_run) -> Path:
    """A run that draws PNEUMONIA."""
    return trained_run("painter")


@pytest.fixture
def normal_painter(trained_run) -> Path:
    """A run that draws NORMAL."""
    return trained_run("painter", images_of="NORMAL")


@pytest.fixture
def copied(painter: Path, tmp_path: Path) -> Path:
    """A copy of the first, to be judged: what is found is kept in it."""
    return Path(shutil.copytree(painter, tmp_path / "copy"))


def judgements(run: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((run / "evaluations").glob("*.json"))]


def assert_one_line(ended: Invocation, *words: str) -> None:
    assert ended.code == 2, ended
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stderr.startswith("pneumo: ")
    for word in words:
        assert word in ended.stderr


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
def test_what_cannot_be_trained_or_judged_is_one_line_and_nothing_is_written(
    flags: tuple[object, ...], words: tuple[str, ...], pneumo, fakes
) -> None:
    assert_one_line(pneumo("run", "painter", *flags), *words)
    assert list(fakes.iterdir()) == []


@pytest.mark.parametrize("flags", [{"fidelity_images": 0}, {"model": "copyist-net"}])
def test_an_extractor_that_nothing_is_compared_with_is_not_looked_for(flags: dict, trained_run) -> None:
    run = trained_run("painter", extractor="absent/run", epochs=1, **flags)
    assert (run / "checkpoints" / "best.pt").is_file()


# --- one run ---------------------------------------------------------------------------------------------------


def test_a_judgement_is_two_tables_and_sentences_about_them(copied: Path, pneumo) -> None:
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
    assert any(line.startswith("KID to held-out images is ") and "pixels at 32 px" in line for line in lines)
    assert max(ended.stdout.count("\n\n\n"), ended.stdout.count("<")) == 0


def test_a_judgement_as_json_is_kept_with_its_run(copied: Path, pneumo) -> None:
    ended = pneumo("evaluate-images", copied, "--json", "-n", 20, "--checkpoint", "last")
    assert (ended.code, ended.stderr) == (0, "")
    result = json.loads(ended.stdout)
    assert judgements(copied) == [result]
    assert result["checkpoint"] == "last"
    assert {"kid_pixels", "kid_spread_pixels", "frechet_pixels", "kid_real_pixels", "copies"} <= result[
        "metrics"
    ].keys()
    assert result["metrics"]["kid_real_pixels"] < result["metrics"]["kid_noise_pixels"]
    assert "20 (generated) images" in result["tables"][1]["note"]


def test_judging_again_gives_the_same_numbers(copied: Path, pneumo) -> None:
    one, other = (json.loads(pneumo("evaluate-images", copied, "--json").stdout)["metrics"] for _ in range(2))
    assert one == other


def test_a_flag_replaces_what_compares_and_a_wrong_one_is_one_line(copied: Path, trained_run, pneumo) -> None:
    classifier = trained_run("fake", epochs=1)
    ended = pneumo("evaluate-images", copied, "--extractor", classifier, "--json")
    assert ended.code == 0, ended.stderr
    (kid,) = [name for name in json.loads(ended.stdout)["metrics"] if name.startswith("kid_fake-")]
    assert classifier.name in kid
    assert_one_line(pneumo("evaluate-images", copied, "--extractor", "pixles"), "did you mean pixels?")
    assert len(judgements(copied)) == 1


@pytest.mark.parametrize("flags", [(), ("--against",)])
def test_too_few_images_are_not_judged_and_the_reason_is_said(
    flags: tuple[str, ...], copied: Path, trained_run, pneumo
) -> None:
    other = [trained_run("painter", image_size=16, seed=1, epochs=1)] if flags else []
    ended = pneumo("evaluate-images", copied, *flags, *other, "-n", 4)
    assert_one_line(ended, "are not judged: there are 4 of ", "and it takes 8")
    assert judgements(copied) == []


def test_a_run_that_was_not_judged_at_its_end_can_be_judged_later(
    trained_run, tmp_path: Path, pneumo
) -> None:
    run = shutil.copytree(
        trained_run("painter", fidelity_images=0, extractor="absent/run", epochs=1), tmp_path / "copy"
    )
    ended = pneumo("evaluate-images", run, "--extractor", "pixels")
    assert ended.code == 0, ended.stderr
    assert "for 1,000 (generated) images" in ended.stdout


@pytest.mark.parametrize(
    "command", [("evaluate-images",), ("evaluate-images", "--against", "{painter}"), ("tstr",)]
)
def test_a_classifier_s_run_is_not_judged_as_images(
    command: tuple[str, ...], painter: Path, trained_run, pneumo
) -> None:
    run = trained_run("fake", epochs=1)
    name, *flags = (part.format(painter=painter) for part in command)
    assert_one_line(pneumo(name, run, *flags), f"{run} is a run of fake, which makes no images")


def test_a_model_that_draws_nothing_has_nothing_to_judge(trained_run, painter: Path, pneumo) -> None:
    run = trained_run("painter", model="copyist-net", epochs=1)
    assert_one_line(pneumo("evaluate-images", run), "there is nothing to evaluate", "generates no new images")
    assert_one_line(
        pneumo("evaluate-images", run, "--against", painter), "copyist-net", "draws no new images"
    )
    assert_one_line(
        pneumo("evaluate-images", painter, "--against", run), "copyist-net", "draws no new images"
    )


def test_a_run_is_not_judged_on_other_data(copied: Path, pneumo) -> None:
    """The tiny dataset has fewer images than a batch, too; that is of no importance here."""
    text = (copied / "run.toml").read_text()
    (copied / "run.toml").write_text(text.replace('dataset = "small"', 'dataset = "tiny"'))
    assert_one_line(pneumo("evaluate-images", copied), "not the data that the run was trained on")
    assert judgements(copied) == []


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
        lines = [line for ledger in recorded.glob("*.jsonl") for line in ledger.read_text().splitlines()]
        assert [json.loads(line)["run"] for line in lines] == [str(tmp_path / f"{copied.name}-True")], (
            "of the first alone, for the test images of the second stay sealed"
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
    assert judgements(copied) == [result]
    assert not (other / "evaluations").exists()


def test_runs_that_do_not_compare_are_one_line(
    painter: Path, normal_painter: Path, trained_run, pneumo
) -> None:
    elsewhere = trained_run("painter", dataset="tiny", epochs=1)
    every = trained_run("painter", images_of="", epochs=1)
    for other, words in (
        (normal_painter, "draw images of NORMAL and PNEUMONIA"),
        (every, "draw images of PNEUMONIA and all classes"),
        (elsewhere, f"{elsewhere} was trained on other data"),
        (painter, "with another run, not with itself"),
        (painter / "checkpoints", "is no run folder"),
    ):
        assert_one_line(pneumo("evaluate-images", painter, "--against", other), words)
    assert not (painter / "evaluations").exists()


# --- usefulness ------------------------------------------------------------------------------------------------


def test_usefulness_is_a_table_and_a_plain_verdict(
    copied: Path, normal_painter: Path, pneumo, monkeypatch
) -> None:
    monkeypatch.setattr("pneumo_synthetic.tstr.STEPS", 5)
    ended = pneumo("tstr", copied, normal_painter, "--seeds", 2)
    assert (ended.code, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0] == "A small classifier, trained on one sort of images and tested on real ones"
    assert [line.split("  ")[0] for line in lines[1:5]] == [
        "TRAINED ON",
        "real (144 images)",
        "generated (144 images)",
        "real and generated (288 images)",
    ]
    assert "tested on 64 real images of other patients" in lines[5]
    assert lines[-2].startswith("Generated images in addition ")
    assert lines[-1].startswith("Instead of real images they cost ")
    (kept,) = judgements(copied)
    assert kept["metrics"].keys() == {"auc_real", "auc_synthetic", "auc_both", "gain"}
    assert (kept["runs"], kept["seeds"]) == ([f"painter/{run.name}" for run in (copied, normal_painter)], 2)


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (lambda p, n, o: [p], "these draw images of PNEUMONIA (train the missing one with --images-of)"),
        (lambda p, n, o: [p, p], "these draw images of PNEUMONIA"),
        (lambda p, n, o: [p, n, p], "these draw images of PNEUMONIA, NORMAL"),
        (lambda p, n, o: [n, o], "was trained on other data"),
    ],
)
def test_usefulness_wants_a_run_for_each_class_of_the_same_data(
    runs: Callable[..., list[Path]], words: str, painter: Path, normal_painter: Path, trained_run, pneumo
) -> None:
    elsewhere = trained_run("painter", dataset="tiny", epochs=1)
    assert_one_line(pneumo("tstr", *runs(painter, normal_painter, elsewhere)), words)
    assert not (painter / "evaluations").exists()
