"""Data and options that do not fit, through the command line: one line, exit code 2, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from image_trees import numbered, write, write_table

from pneumo_cli.testing import Invocation
from tests.training_only import EndsWithTheLastEpoch, TrainedEnough

Pneumo = Callable[..., Invocation]

IMAGES = [f"img/{number:02}.png" for number in range(12)]
TWO = [*numbered("a", 5), *numbered("b", 5)]
LABELLED = [("path", "label"), *((name, "ab"[n % 2]) for n, name in enumerate(IMAGES))]


@pytest.fixture
def refused(pneumo: Pneumo, fakes: Path, tmp_path: Path) -> Callable[..., None]:
    """``refused(dataset, root, flags, message)`` by ``data check`` and by ``run``."""

    def check(dataset: str, root: Path, flags: list[str], message: str) -> None:
        before = sorted(tmp_path.rglob("*"))
        for command in (["data", "check"], ["run", "fake"]):
            ended = pneumo(*command, "--dataset", dataset, "--data-root", root, *flags)
            assert ended.code == 2, ended.stdout + ended.stderr
            said = [line for line in ended.stderr.splitlines() if line]
            assert len(said) == 1, ended.stderr
            assert message in said[0]
            assert len(said[0]) < 700
            assert ended.stdout == ""
        assert sorted(tmp_path.rglob("*")) == before

    return check


@pytest.mark.parametrize(
    ("rows", "flags", "message"),
    [
        ([("name", "sex"), (IMAGES[0], "f")], [], "image: name it with --path-column; it has: name, sex"),
        ([*LABELLED, ("../secret.png", "a")], [], "the path '../secret.png' leads out of"),
        ([*LABELLED, (IMAGES[0], "b")], [], "2 rows with different labels for img/00.png"),
        ([("path", "label"), *((name, "a") for name in IMAGES)], [], "has one value alone, 'a'"),
        ([("path", "label")], [], "has no rows below its header"),
        ([], [], "is empty: its first line has to name the columns"),
        (LABELLED, ["--classes", "a"], "'a' is one class alone"),
        (LABELLED, ["--classes", "a,c"], "no label 'c'; it has: a, b"),
        (LABELLED, ["--classes", "a,b,b"], "'b' is named twice"),
        (LABELLED, ["--label-column", "x", "--label-columns", "y"], "choose one of them"),
        (LABELLED, ["--manifest", "none.csv"], "there is no table none.csv"),
        (LABELLED, ["--uncertain", "maybe"], "uncertain"),
        (LABELLED[:4], [], "too few patients of b (1)"),
        ([*LABELLED, ("img/99.png", "a")], [], "leave them out with --skip-missing-files"),
        ([("c" * 3,) * 1_000_000], [], "has more than 1,048,576 characters in line 1"),
    ],
)  # fmt: skip
def test_tables(
    rows: list[tuple[str, ...]], flags: list[str], message: str, refused: Callable[..., None], tmp_path: Path
) -> None:
    root = write(tmp_path / "root", IMAGES)
    write_table(root / "labels.csv", rows)
    refused("table", root, flags, message)


@pytest.mark.parametrize(
    ("names", "flags", "message"),
    [
        (numbered("NORMAL", 5), [], "images of one class only, NORMAL"),
        (TWO, ["--classes", "a,x"], "no class folder 'x'; it has: a, b"),
        (TWO, ["--classes", "b,B"], "'b' is named twice"),
        (TWO, ["--patient-pattern", "q"], "finds no patient in any of 10 images"),
        (TWO, ["--patient-pattern", "p"], "finds the same patient, 'p'"),
        (TWO, ["--patient-pattern", "(p"], "is no regular expression"),
        (TWO, ["--patient", "name"], "patient"),
        (TWO, ["--manifest", "x.csv"], "no option --manifest; those that do: table"),
        (TWO, ["--test-fraction", "1"], "test_fraction"),
        ([*numbered("a", 9), *numbered("b", 1)], [], "too few patients of b (1)"),
        ([*numbered("test/a", 9), *numbered("test/b", 9)], [], "no training images of a"),
        (["nested.zip"], [], "holds an archive, nested.zip: unpack it first"),
    ],
)  # fmt: skip
def test_folders(
    names: list[str], flags: list[str], message: str, refused: Callable[..., None], tmp_path: Path
) -> None:
    refused("folder", write(tmp_path / "root", names), flags, message)


def test_datasets_to_choose_from_are_named_as_the_flag_takes_them(pneumo: Pneumo, tmp_path: Path) -> None:
    ended = pneumo("data", "check", "--data-root", write(tmp_path / "root", TWO))
    assert ended.code == 2
    names = ended.stderr.rpartition("choose a dataset with --dataset NAME; those that read files: ")[2]
    assert {"chexpert", "folder", "table"} <= set(names.strip().split(", "))


def test_more_folds_than_patients_of_a_class(pneumo: Pneumo, tmp_path: Path) -> None:
    names = [
        *numbered("train/a", 20),
        *numbered("train/b", 3, prefix="q"),
        *numbered("test/a", 2, prefix="t"),
    ]
    root = write(tmp_path / "root", [*names, *numbered("test/b", 2, prefix="u")])
    ended = pneumo("run", "fake", "--dataset", "folder", "--data-root", root, "--folds", 5)
    assert ended.code == 2
    assert "b" in ended.stderr
    assert not (tmp_path / "work" / "runs").exists()


def test_options_come_from_the_settings_file_too(pneumo: Pneumo, fakes: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "root", [*numbered("a", 10, 2, "a"), *numbered("b", 10, 2, "b")])
    (fakes / "pneumo.toml").write_text('patient_pattern = "(.+)-"\n')
    ended = pneumo("data", "check", "--dataset", "folder", "--data-root", root)
    assert ended.code == 0, ended.stderr
    assert "40 images of 20 patients" in ended.stdout


@pytest.mark.parametrize("place", ["root", "work"])
def test_a_run_is_repeated_from_another_folder_with_the_same_table(
    place: str,
    pneumo: Pneumo,
    start_run: Callable[..., object],
    fakes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = write(tmp_path / "root", [f"img/{number:02}.png" for number in range(40)])
    rows = [(f"img/{number:02}.png", "ab"[number % 2]) for number in range(40)]
    write_table(tmp_path / place / "labels.csv", [("path", "label"), *rows])
    settings = {"dataset": "table", "data_root": root, "split": "patient", "epochs": 1}
    with pytest.raises(TrainedEnough):
        start_run("fake", EndsWithTheLastEpoch(), **settings, manifest=Path("labels.csv"))
    (config,) = fakes.glob("runs/*/*/run.toml")
    monkeypatch.chdir(tmp_path)
    again = pneumo("run", "fake", "--config", config, "--output", tmp_path / "again")
    assert again.code == 0, again.stderr
