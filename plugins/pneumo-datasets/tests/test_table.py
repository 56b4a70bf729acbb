"""Tables of images: which column, which file, which label; what is merged, left out, counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_trees import kinds, write_table

from pneumo_cli.data.records import Dataset
from pneumo_cli.errors import DataError, UsageError
from pneumo_datasets.file_search import FileSearch
from pneumo_datasets.labels import labels_of_columns
from pneumo_datasets.settings import TableSettings

Tree = Callable[..., Path]
Opened = Callable[..., Dataset]
Rows = list[tuple[object, ...]]

IMAGES = [f"img/{number:02}.png" for number in range(20)]


@pytest.fixture
def made(tree: Tree, opened: Opened) -> Callable[..., Dataset]:
    """``made(rows, **options)``: the dataset of 20 images and the table ``labels.csv``."""

    def open_table(rows: Rows, **options: object) -> Dataset:
        root = tree(IMAGES)
        write_table(root / "labels.csv", rows)
        return opened("table", root, **options)

    return open_table


def labelled(*header: object, **columns: Callable[[int], object]) -> Rows:
    """Rows for all images: their path, then a value of each column by number."""
    rows: Rows = [("path", *columns)]
    return rows + [(name, *(value(n) for value in columns.values())) for n, name in enumerate(IMAGES)]


def test_a_column_of_classes_with_usual_names_of_all_columns(made: Callable[..., Dataset]) -> None:
    dataset = made(
        labelled(
            Label=lambda n: ("Healthy", "covid")[n % 2],
            Patient_ID=lambda n: f"P{n // 2 * 2 + n % 2}",
            Split=lambda n: ("train", "val", "test", "train")[n // 5],
            subtype=lambda n: f"s{n % 3}",
            ViewPosition=lambda n: "PA",
        )
    )
    assert dataset.classes == ("Healthy", "covid")
    assert Counter(record.label for record in dataset.records) == {0: 10, 1: 10}
    assert Counter((r.pool, r.validation) for r in dataset.records) == {
        ("train", False): 10, ("train", True): 5, ("test", False): 5,
    }  # fmt: skip
    first = next(record for record in dataset.records if record.name == "img/03.png")
    assert (first.patient, first.subtype, first.view) == ("P3", "s0", "PA")
    assert dataset.unused == ()
    assert "patient 'Patient_ID'" in dataset.notes[0]
    names = [record.name for record in dataset.records]
    assert names == sorted(names, key=lambda name: (int(name[4:6]) % 2, name))


def test_a_column_of_0_and_1_is_binary(made: Callable[..., Dataset]) -> None:
    dataset = made(labelled(Pneumonia=lambda n: ("0", "1.0")[n % 2]), label_column="pneumonia")
    assert dataset.classes == ("no Pneumonia", "Pneumonia")
    assert dataset.task == "binary"
    same = made(
        labelled(Pneumonia=lambda n: n % 2), label_column="pneumonia", classes="no pneumonia,Pneumonia"
    )
    assert same.classes == dataset.classes
    with pytest.raises(UsageError, match="has no label 'covid'"):
        made(labelled(Pneumonia=lambda n: n % 2), label_column="pneumonia", classes="covid")


def test_yes_and_no_are_1_and_0(made: Callable[..., Dataset]) -> None:
    for option in ({"label_column": "Edema"}, {"label_columns": "Edema"}):
        dataset = made(labelled(Edema=lambda n: ("No", "yes")[n % 2]), **option)
        assert dataset.classes == ("no Edema", "Edema")
        assert Counter(record.label for record in dataset.records) == {0: 10, 1: 10}


def test_spellings_that_differ_in_case_are_one_class_and_said(made: Callable[..., Dataset]) -> None:
    dataset = made(labelled(label=lambda n: ("Normal", "COVID", "normal", "Covid")[n % 4]))
    assert dataset.classes == ("Normal", "COVID")
    assert Counter(record.label for record in dataset.records) == {0: 10, 1: 10}
    assert any("('Covid' as 'COVID', 'normal' as 'Normal')" in note for note in dataset.notes)
    several = made(labelled(label=lambda n: ("Edema|mass", "edema|Mass", "Edema")[n % 3]))
    assert several.classes == ("Edema", "Mass")


def test_an_empty_label_is_unknown_or_none(made: Callable[..., Dataset]) -> None:
    rows = labelled(label=lambda n: ("Edema", "", "NA")[n % 3])
    with pytest.raises(DataError, match="if an empty one means without it: --missing zeros"):
        made(rows)
    dataset = made(rows, missing="zeros")
    assert dataset.classes == ("no Edema", "Edema")
    assert Counter(record.label for record in dataset.records) == {0: 13, 1: 7}


def test_labels_of_which_each_row_has_one_are_doubted(made: Callable[..., Dataset]) -> None:
    rows = labelled(a=lambda n: n % 2, b=lambda n: 1 - n % 2)
    assert any("Each row has exactly one" in note for note in made(rows, label_columns="a,b").notes)
    rows[1] = (rows[1][0], 1, 1)
    assert not any("Each row has exactly one" in note for note in made(rows, label_columns="a,b").notes)


def test_columns_of_labels_are_multilabel_with_unknown_ones(made: Callable[..., Dataset]) -> None:
    rows = labelled(Edema=lambda n: ("1", "0", "-1", "")[n % 4], Mass=lambda n: n % 2)
    dataset = made(rows, label_columns="Mass,Edema")
    assert (
        "Labels are from 2 columns of 1 and 0; uncertain ones (-1) are unknown; empty ones are unknown."
        in dataset.notes
    )
    ignored = {r.name: r.labels for r in dataset.records}
    assert [ignored[name] for name in IMAGES[:4]] == [(0, 1), (1, 0), (0, -1), (1, -1)]
    counted = {
        r.name: r.labels
        for r in made(rows, label_columns="Edema, Mass", uncertain="ones", missing="zeros").records
    }
    assert [counted[name] for name in IMAGES[:4]] == [(1, 0), (0, 1), (1, 0), (0, 1)]
    chosen = made(rows, label_columns="Edema,Mass", classes="edema")
    assert chosen.classes == ("no Edema", "Edema")
    assert kinds(chosen) == {"without a known label": 10}
    assert "Labels are from the column 'Mass' of 1 and 0." in made(rows, label_column="Mass").notes


@pytest.mark.parametrize("separator", ["|", ";", ","])
def test_several_labels_in_one_column(separator: str, made: Callable[..., Dataset]) -> None:
    texts = ("No Finding", f"Mass{separator}Edema", "Edema", "Mass")
    dataset = made(labelled(findings=lambda n: texts[n % 4]))
    assert dataset.classes == ("Edema", "Mass")
    assert dataset.multilabel
    labels = {record.name: record.labels for record in dataset.records}
    assert [labels[name] for name in IMAGES[:4]] == [(0, 0), (1, 1), (1, 0), (0, 1)]


def test_views_are_chosen_and_the_others_counted(made: Callable[..., Dataset]) -> None:
    rows = labelled(label=lambda n: "ab"[n % 2], view=lambda n: ("PA", "PA", "AP", "LATERAL", "")[n // 4])
    dataset = made(rows, views="pa,AP")
    assert Counter(record.view for record in dataset.records) == {"PA": 8, "AP": 4}
    assert kinds(dataset) == {"with the view LATERAL": 4, "with the view (unknown)": 4}
    with pytest.raises(UsageError, match="has no column with the view"):
        made(labelled(label=lambda n: "ab"[n % 2]), views="PA")


def test_rows_of_equal_labels_are_merged_and_counted(made: Callable[..., Dataset]) -> None:
    rows = labelled(label=lambda n: "ab"[n % 2])
    dataset = made([*rows, *rows[1:4]])
    assert len(dataset.records) == 20
    assert "3 images have several rows, which were joined (refuse)." not in dataset.notes
    assert any("3 images have several rows with equal labels" in note for note in dataset.notes)
    assert any("1 image has several rows with equal" in note for note in made([*rows, rows[1]]).notes)


def test_rows_of_different_labels_are_refused_or_joined(made: Callable[..., Dataset]) -> None:
    rows = labelled(a=lambda n: int(n % 2), b=lambda n: int(n % 3 == 0))
    more: Rows = [(IMAGES[0], 1, 0), (IMAGES[0], 1, 0)]
    with pytest.raises(DataError, match=r"3 rows with different labels for img/00\.png: correct them"):
        made([*rows, *more], label_columns="a,b")
    joined = {
        how: {r.name: r.labels for r in made([*rows, *more], label_columns="a,b", repeated_rows=how).records}
        for how in ("any", "majority")
    }
    assert joined["any"][IMAGES[0]] == (1, 1)
    assert joined["majority"][IMAGES[0]] == (1, 0)
    exclusive = [*labelled(label=lambda n: "abc"[n % 3]), (IMAGES[0], "b")]
    for how, remedy in (
        ("refuse", "--repeated-rows majority$"),
        ("any", "as --repeated-rows any cannot join them$"),
    ):
        with pytest.raises(DataError, match=remedy):
            made(exclusive, repeated_rows=how)


def test_rows_without_a_file_stop_or_are_counted(made: Callable[..., Dataset]) -> None:
    rows = [*labelled(label=lambda n: "ab"[n % 2]), ("img/99.png", "a"), ("img/98.png", "b")]
    with pytest.raises(
        DataError, match=r"2 of 22 rows of labels.csv have no image below .*'img/99.png', 'img/98.png'"
    ):
        made(rows)
    dataset = made(rows, skip_missing_files=True)
    assert len(dataset.records) == 20
    assert any("2 of 22 rows of labels.csv have no image and are left out" in note for note in dataset.notes)


def test_files_without_a_row_and_of_other_classes_are_counted(made: Callable[..., Dataset]) -> None:
    rows = labelled(label=lambda n: "abc"[n % 3] if n < 18 else "")
    dataset = made(rows[:-1], classes="c,a")
    assert dataset.classes == ("c", "a")
    assert kinds(dataset) == {
        "of other classes": 6, "without a known label": 1, "without a row in labels.csv": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "called",
    [
        lambda name: name,
        lambda name: f"./{name}",
        lambda name: name.replace("/", "\\"),
        lambda name: f"Archive-v1/{name}",
        lambda name: name.rpartition("/")[2],
        lambda name: name.rpartition("/")[2].removesuffix(".png"),
    ],
)
def test_a_file_is_found_by_whatever_a_table_calls_it(
    called: Callable[[str], str], tree: Tree, opened: Opened
) -> None:
    root = tree(IMAGES)
    rows = [(called(name), "ab"[n % 2]) for n, name in enumerate(IMAGES)]
    write_table(root / "labels.csv", [("image", "class"), *rows])
    assert len(opened("table", root).records) == 20


def test_absolute_paths_below_the_root_and_paths_relative_to_the_table(tree: Tree, opened: Opened) -> None:
    root = tree([f"deep/{name}" for name in IMAGES])
    absolute = [(str(root / "deep" / name), "ab"[n % 2]) for n, name in enumerate(IMAGES)]
    write_table(root / "labels.csv", [("image", "class"), *absolute])
    relative = [(name, "ab"[n % 2]) for n, name in enumerate(IMAGES)]
    write_table(root / "deep" / "labels.csv", [("image", "class"), *relative])
    for manifest in ("labels.csv", "deep/labels.csv"):
        dataset = opened("table", root, manifest=Path(manifest))
        assert len(dataset.records) == 20


@pytest.mark.parametrize("text", ["../x.png", "a/../../x.png", "/etc/passwd", "C:\\x.png", "..\\x.png"])
def test_a_path_that_leads_out_of_the_root_is_refused(text: str, made: Callable[..., Dataset]) -> None:
    with pytest.raises(DataError, match="leads out of"):
        made([*labelled(label=lambda n: "ab"[n % 2]), (text, "a")], skip_missing_files=True)


def test_a_name_of_two_files_is_refused(tmp_path: Path) -> None:
    search = FileSearch(["a/x.png", "b/x.png", "b/y.png"], tmp_path)
    with pytest.raises(DataError, match=r"'x\.png' may be 2 files: a/x\.png, b/x\.png"):
        search.find("x.png")
    assert search.find("y") == "b/y.png"
    assert search.find("b/x") == "b/x.png"


def test_the_longest_end_of_a_path_decides_in_time_that_does_not_grow_with_equal_names(
    tmp_path: Path,
) -> None:
    images = [f"batch {n % 3}/patient{n:05}/study1/view1_frontal.jpg" for n in range(20_000)]
    search = FileSearch(images, tmp_path)
    started = time.monotonic()
    for number, path in enumerate(images):
        assert search.find(f"CheXpert-v1.0/train/patient{number:05}/study1/view1_frontal.jpg") == path
    assert time.monotonic() - started < 5


@given(st.text(max_size=30))
def test_a_search_never_finds_a_file_that_is_not_listed(text: str) -> None:
    images = ["a/x.png", "b.png", "c/d/e.png"]
    try:
        found = FileSearch(images, Path("/data")).find(text)
    except DataError:
        return
    assert found is None or found in images


@given(st.lists(st.sampled_from(["1", "0", "-1", "", "1.0", "-1.0", "True"]), min_size=2, max_size=30))
def test_every_label_is_present_absent_or_unknown(texts: list[str]) -> None:
    other = ["1", "0"] * len(texts)
    labels = labels_of_columns(["A", "B"], [texts, other[: len(texts)]], (), TableSettings())
    assert {value for row in labels.rows for value in row} <= {1, 0, -1}
    present = sum(text in ("1", "1.0", "True") for text in texts)
    assert sum(row[0] == 1 for row in labels.rows) == present


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([("a", "b"), ("1", "2")], {}, "no column with the image: name it with --path-column; it has: a, b"),
        ([("path", "b"), ("1", "2")], {}, "no column with the class: name it with --label-column"),
        ([("path", "label")], {}, "has no rows below its header"),
        ([("path", "label", "label"), (IMAGES[0], 0, 1)], {}, "has 2 columns 'label'; it has: path, label, label"),
        ([("path", "label"), (IMAGES[0], "a")], {}, "'label' has one value alone, 'a'"),
        ([("path", "label"), (IMAGES[0], "")], {}, "'label' has no values"),
        ([("path", "x"), (IMAGES[0], "1")], {"label_column": "y"}, "has no column 'y'; it has: path, x"),
        (labelled(x=lambda n: n % 2, y=lambda n: "maybe"), {"label_columns": "x,y"}, "'y' has 'maybe' in row 1"),
        (labelled(x=lambda n: n % 2), {"label_columns": "x,x"}, "'x' is named twice"),
        (labelled(label=lambda n: "ab"[n % 2]), {"classes": "a,q"}, "has no label 'q'; it has: a, b"),
        (labelled(label=lambda n: "ab\x1b"[n % 3]), {}, r"has a class '\\x1b' with characters that cannot"),
        (labelled(label=lambda n: "ab"[n % 2]), {"classes": "a,A"}, "'a' is named twice"),
        (labelled(label=lambda n: "ab"[n % 2]), {"classes": "a"}, "'a' is one class alone"),
        (labelled(label=lambda n: "ab"[n % 2], split=lambda n: "fold1"), {}, "'split' has 'fold1'"),
        (labelled(label=lambda n: "ab"[n % 19 == 0]), {"test_fraction": 0.1}, "too few patients of b"),
        (
            labelled(x=lambda n: n % 2, y=lambda n: 0, z=lambda n: int(n == 7)), {"label_columns": "x,y,z"},
            r"too few patients of y \(0\), z \(1\) to set .*, or fewer classes \(--classes\)$",
        ),
    ],
)  # fmt: skip
def test_one_line_says_what_is_wrong(
    rows: Rows, options: dict[str, object], message: str, made: Callable[..., Dataset]
) -> None:
    with pytest.raises((DataError, UsageError), match=message) as caught:
        made(rows, **options)
    assert "\n" not in str(caught.value)


def test_the_only_table_at_the_top_level_is_the_manifest(tree: Tree, opened: Opened) -> None:
    root = tree(IMAGES)
    with pytest.raises(UsageError, match="has no table at its top level: name one with --manifest"):
        opened("table", root)
    for name in ("a.csv", "b.tsv"):
        write_table(root / name, [("path", "label")])
    with pytest.raises(UsageError, match=r"has 2 tables \(a\.csv, b\.tsv\) at its top level"):
        opened("table", root)
