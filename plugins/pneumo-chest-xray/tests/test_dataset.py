"""The dataset on trees and archives in both layouts, complete and incomplete, and on the real radiographs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pneumo_chest_xray.dataset import ChestXray, open_dataset
from pneumo_cli.data.imports import import_data
from pneumo_cli.data.prepare import SplitRequest, prepare
from pneumo_cli.data.records import DatasetRequest
from pneumo_cli.data.splits import class_table, identical_images, overlaps, split_records
from pneumo_cli.errors import DataError, UnreadableImage
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.specs import DatasetSpec, load_reference

Tree = Callable[..., Path]
Opened = Callable[..., ChestXray]


def kaggle_names() -> list[str]:
    """As many names as the archive has: 1349 + 3883 for training (16 of them in val), 234 + 390 for testing."""
    folder = ["val"] * 8 + ["train"] * 3875
    subtypes = ("bacteria", "virus")
    names = [f"{folder[number]}/NORMAL/IM-{number:04}-0001.jpeg" for number in range(1349)]
    names += [
        f"{folder[number]}/PNEUMONIA/person{number}_{subtypes[number % 2]}_{number}.jpeg"
        for number in range(3883)
    ]
    names += [f"test/NORMAL/IM-{number:04}-0001.jpeg" for number in range(2000, 2234)]
    names += [f"test/PNEUMONIA/person{number}_virus_{number}.jpeg" for number in range(5000, 5390)]
    return names


def mendeley_names() -> list[str]:
    names = []
    for folder, normal, pneumonia in (("train", 1349, 3883), ("test", 234, 390)):
        start = 100_000 if folder == "train" else 900_000
        names += [f"{folder}/NORMAL/NORMAL-{start + number}-0001.jpeg" for number in range(normal)]
        names += [
            f"{folder}/PNEUMONIA/{('BACTERIA', 'VIRUS')[number % 2]}-{start + number}-0001.jpeg"
            for number in range(pneumonia)
        ]
    return names


@pytest.mark.parametrize(
    ("names", "above", "zipped"),
    [
        (kaggle_names(), "chest_xray/", False),
        (mendeley_names(), "CellData/chest_xray/", False),
        (kaggle_names(), "chest_xray/", True),
        (mendeley_names(), "CellData/chest_xray/", True),
    ],
    ids=["kaggle", "mendeley", "kaggle-zip", "mendeley-zip"],
)
def test_the_split_source_is_exactly_the_reports(
    names: list[str], above: str, zipped: bool, tree: Tree, archive: Tree, opened: Opened
) -> None:
    dataset = opened((archive if zipped else tree)([above + name for name in names]))
    rows = class_table(dataset.records, dataset.classes, split_records(dataset.records, "source"))
    assert [list(row.counts.values()) for row in rows] == [[1017, 2907], [332, 976], [234, 390]]
    assert [f"{row.ratio:.2f}" for row in rows] == ["2.86", "2.94", "1.67"]
    assert dataset.unknown_names == 0


def test_records_are_ordered_by_label_then_file_name_whatever_the_folder(
    small: list[str], tree: Tree, opened: Opened
) -> None:
    assert [record.name for record in opened(tree(small)).records] == [
        "val/NORMAL/IM-0000-0001.jpeg",
        "train/NORMAL/IM-0001-0001.jpeg",
        "test/NORMAL/IM-0009-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-0001-0001.jpeg",
        "train/PNEUMONIA/person1_bacteria_1.jpeg",
        "train/PNEUMONIA/person1_virus_2.jpeg",
        "val/PNEUMONIA/person2_virus_3.jpeg",
        "test/PNEUMONIA/person9_virus_4.jpeg",
    ]


def test_val_belongs_to_the_train_pool(small: list[str], tree: Tree, opened: Opened) -> None:
    pools = {record.name.split("/")[0]: record.pool for record in opened(tree(small)).records}
    assert pools == {"train": "train", "val": "train", "test": "test"}


def test_a_zip_its_folder_and_a_copy_elsewhere_are_one_dataset(
    small: list[str], tree: Tree, archive: Tree, opened: Opened
) -> None:
    nested = [f"chest_xray/{name}" for name in small]
    roots = (tree(small), tree(nested, "elsewhere"), archive(small), archive(nested, "nested.zip"))
    assert len({opened(root).fingerprint for root in roots}) == 1


def test_the_duplicate_tree_of_the_kaggle_archive_is_not_read_twice(
    small: list[str], tree: Tree, opened: Opened
) -> None:
    names = [above + name for name in small for above in ("chest_xray/", "chest_xray/chest_xray/")]
    names += [f"chest_xray/__MACOSX/{name}" for name in small]
    names += [f"chest_xray/{name.replace('/IM-', '/._IM-')}" for name in small if "/IM-" in name]
    dataset = opened(tree(names))
    assert len(dataset.records) == len(small)
    assert not identical_images(dataset.records)
    assert dataset.read(dataset.records[0]).shape == (1, 1)


def test_the_shallowest_complete_tree_is_read_rather_than_a_shallower_incomplete_one(
    small: list[str], tree: Tree, opened: Opened
) -> None:
    names = [name for name in small if not name.startswith("test")]
    names += [f"a/deep/{name}" for name in small] + [f"b/{name}" for name in small]
    dataset = opened(tree(names))
    assert len(dataset.records) == len(small)
    assert dataset.read(dataset.records[0]).size == 1
    assert dataset.paths["test/NORMAL/IM-0009-0001.jpeg"].startswith("b/")


def test_folders_are_found_in_any_case(small: list[str], tree: Tree, opened: Opened) -> None:
    changed = [name.replace("train/NORMAL", "Train/Normal").replace("test", "TEST") for name in small]
    assert len(opened(tree(changed)).records) == len(small)


def test_names_that_match_no_known_pattern_are_counted_and_reported(
    small: list[str], tree: Tree, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = opened(tree([*small, "train/NORMAL/scan 1.jpeg", "train/PNEUMONIA/scan 2.png"]))
    assert dataset.unknown_names == 2
    assert "2 of 10 file names" in caplog.text
    assert "2 of 10 file names match no known pattern" in dataset.notes[0]
    assert opened(tree(small, "known")).notes == ()


def test_an_unreadable_file_keeps_its_record_and_says_why(
    small: list[str], tree: Tree, opened: Opened
) -> None:
    root = tree([f"chest_xray/{name}" for name in small])
    (root / "chest_xray/train/NORMAL/IM-0001-0001.jpeg").unlink()
    (root / "chest_xray/train/NORMAL/IM-0001-0001.jpeg").symlink_to("nowhere")
    dataset = opened(root)
    record = dataset.records[1]
    assert record.digest == "unreadable:train/NORMAL/IM-0001-0001.jpeg"
    with pytest.raises(UnreadableImage, match="No such file"):
        dataset.read(record)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (lambda name: False, "contains no JPEG or PNG images: the expected folders are train/NORMAL"),
        (lambda name: "NORMAL" not in name, "one class only, PNEUMONIA, and none in a folder NORMAL"),
        (lambda name: "PNEUMONIA" not in name, "one class only, NORMAL, and none in a folder PNEUMONIA"),
        (lambda name: not name.startswith("test"), "no test images"),
        (lambda name: name.startswith("test"), "no train images"),
        (lambda name: not name.startswith("test/NORMAL"), "no images in test/NORMAL"),
    ],
)
def test_one_line_says_what_is_missing(
    small: list[str], tree: Tree, opened: Opened, kept: Callable[[str], bool], message: str
) -> None:
    root = tree([name for name in small if kept(name)])
    root.mkdir(exist_ok=True)
    with pytest.raises(DataError, match=message) as caught:
        opened(root)
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_dataset_is_refused_and_its_folders_are_named(tree: Tree, opened: Opened) -> None:
    with pytest.raises(DataError, match=r"found in cats, dogs; the expected folders are train/NORMAL"):
        opened(tree(["cats/1.jpg", "dogs/2.jpg"]))
    with pytest.raises(DataError, match="found in its top level"):
        opened(tree(["1.jpg"], "flat"))


def test_a_missing_root_is_an_error_that_says_what_to_do(tmp_path: Path, opened: Opened) -> None:
    with pytest.raises(DataError, match=r"--data-root.*kaggle.*rscbjbr9sj.*pneumo data import PATH"):
        opened(None)
    with pytest.raises(DataError, match="No such file"):
        opened(tmp_path / "nowhere")
    (tmp_path / "file.txt").write_text("text")
    with pytest.raises(DataError, match="neither a folder nor a zip"):
        opened(tmp_path / "file.txt")


def test_an_archive_is_imported_through_its_registered_spec(
    small: list[str], archive: Tree, tmp_path: Path, opened: Opened
) -> None:
    (spec,) = load_reference("pneumo_chest_xray.plugin:register_datasets")()
    assert isinstance(spec, DatasetSpec)
    source = archive([f"chest_xray/{name}" for name in small])
    imported = import_data(
        spec,
        source,
        tmp_path / "home",
        copy=True,
        cache=tmp_path / "cache",
        progress=Progress(),
        options={},
    )
    assert opened(imported).fingerprint == opened(source).fingerprint


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> ChestXray:
    """The real radiographs, opened once: their digests take a second."""
    root = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "chest_xray"
    if not root.is_dir():
        pytest.skip("the real radiographs are not at ../shared/data/chest_xray")
    return open_dataset(
        DatasetRequest(root=root, cache=tmp_path_factory.mktemp("cache"), progress=Progress())
    )


@pytest.mark.real_data
def test_the_real_images_have_3654_patients_and_24_groups_of_identical_files(real: ChestXray) -> None:
    assert len(real.records) == 5216
    assert len({record.patient for record in real.records}) == 3654
    assert len(identical_images(real.records)) == 24
    assert real.unknown_names == 0


@pytest.mark.real_data
def test_the_real_images_split_by_patient_without_a_leak_and_at_random_with_many(real: ChestXray) -> None:
    records = real.records
    split = split_records(records, "patient")
    assert not overlaps(records, split).leaks
    assert len(split.excluded) == 0
    assert len(split.validation) == pytest.approx(0.25 * 4592, abs=3)
    pair = overlaps(records, split_records(records, "source")).pairs[0]
    assert pair.images / 1148 == pytest.approx(0.39, abs=0.01)  # SOURCE 10


@pytest.mark.real_data
def test_the_real_images_are_all_readable(real: ChestXray, tmp_path: Path) -> None:
    data = prepare(
        real,
        size=64,
        split=SplitRequest("patient"),
        cache=tmp_path / "cache",
        progress=Progress(),
        skip_unreadable=False,
    )
    assert data.unreadable == ()
    assert 90 < data.images.mean() < 160
    assert (data.images.reshape(len(data.images), -1).std(1) > 10).all()
