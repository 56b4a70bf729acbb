"""Public archives: small ones with the folders, tables and columns of the published ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import archives_on_disk
import pytest
from image_trees import kinds, numbered, write, write_table

from pneumo_cli.data import ImageFiles
from pneumo_cli.data.records import Dataset
from pneumo_cli.data.splits import split_records
from pneumo_cli.errors import DataError, UsageError
from pneumo_cli.specs import load_reference
from pneumo_datasets.archives import CHEXPERT_LABELS, NIH_LABELS

Opened = Callable[..., Dataset]

BUILDERS = {
    "nih-chestxray14": archives_on_disk.nih,
    "chexpert": archives_on_disk.chexpert,
    "rsna-pneumonia": archives_on_disk.rsna,
    "vindr-cxr": archives_on_disk.vindr,
    "covid19-radiography": archives_on_disk.covid,
}


def test_nih_has_14_labels_and_the_published_split(tmp_path: Path, opened: Opened) -> None:
    dataset = opened("nih-chestxray14", archives_on_disk.nih(tmp_path / "nih"))
    assert dataset.classes == NIH_LABELS
    assert dataset.task == "multilabel"
    assert len(dataset.records) == 160
    assert Counter(record.pool for record in dataset.records) == {"train": 120, "test": 40}
    record = next(one for one in dataset.records if one.name.endswith("00000001_001.png"))
    assert record.name == "images_002/images/00000001_001.png"
    assert (record.patient, record.view) == ("1", "PA")
    assert {NIH_LABELS[label] for label in record.present} == {"Cardiomegaly", "Pneumonia"}
    none = next(one for one in dataset.records if one.name.endswith("00000003_001.png"))
    assert none.labels == (0,) * 14
    assert any("The split is the published one" in note for note in dataset.notes)
    assert kinds(dataset) == {"of the type .csv": 1}  # BBox_List_2017.csv
    more = opened("nih-chestxray14", archives_on_disk.nih(tmp_path / "more", 300))
    assert len(split_records(more.records, "patient").validation) > 0


def test_nih_without_its_lists_gets_a_test_set_that_is_said(tmp_path: Path, opened: Opened) -> None:
    root = archives_on_disk.nih(tmp_path / "nih")
    for name in ("train_val_list.txt", "test_list.txt"):
        (root / name).unlink()
    dataset = opened("nih-chestxray14", root, classes="Pneumonia", views="PA")
    assert dataset.classes == ("no Pneumonia", "Pneumonia")
    assert {record.view for record in dataset.records} == {"PA"}
    assert any("no test set" in note for note in dataset.notes)


def test_chexpert_has_14_observations_of_which_some_are_unknown(tmp_path: Path, opened: Opened) -> None:
    root = archives_on_disk.chexpert(tmp_path / "chexpert")
    dataset = opened("chexpert", root, views="AP,PA")
    assert dataset.classes == CHEXPERT_LABELS
    assert {value for record in dataset.records for value in record.labels} == {1, 0, -1}
    assert len(dataset.records) == 70
    assert kinds(dataset) == {"with the view Lateral": 70}
    assert sum(record.validation for record in dataset.records) == 10
    assert {record.patient for record in dataset.records if record.validation} == {
        f"patient{number}" for number in range(64541, 64551)
    }
    assert any("published validation split" in note for note in dataset.notes)
    assert any("no test set" in note for note in dataset.notes)
    ones = opened("chexpert", root, views="AP,PA", uncertain="ones", missing="zeros")
    assert {value for record in ones.records for value in record.labels} == {1, 0}
    inside = opened("chexpert", root / "CheXpert-v1.0-small", views="AP,PA")
    assert [record.labels for record in inside.records] == [record.labels for record in dataset.records]


def test_rsna_is_binary_with_a_row_per_box_and_finer_classes(tmp_path: Path, opened: Opened) -> None:
    dataset = opened("rsna-pneumonia", archives_on_disk.rsna(tmp_path / "rsna"))
    assert dataset.classes == ("no pneumonia", "pneumonia")
    assert Counter((record.label, record.subtype) for record in dataset.records) == {
        (0, "Normal"): 10, (0, "No Lung Opacity / Not Normal"): 10, (1, "Lung Opacity"): 10,
    }  # fmt: skip
    assert len({record.patient for record in dataset.records}) == 30
    assert kinds(dataset) == {"without a row in stage_2_train_labels.csv": 4, "of the type .csv": 1}
    assert {example for one in dataset.unused for example in one.examples if one.images} <= {
        f"stage_2_test_images/0000a175-0e68-4ca4-b1af-{number:012}.dcm" for number in range(4)
    }


def test_vindr_takes_the_majority_of_three_radiologists(tmp_path: Path, opened: Opened) -> None:
    root = archives_on_disk.vindr(tmp_path / "vindr")
    dataset = opened("vindr-cxr", root)
    assert dataset.classes == archives_on_disk.VINDR_LABELS
    assert Counter(record.pool for record in dataset.records) == {"train": 56, "test": 56}
    labels = {record.name: record.present for record in dataset.records}
    assert labels[f"train/{1:032x}.dicom"] == (1,)
    assert labels[f"train/{0:032x}.dicom"] == ()
    some = {record.name: record.present for record in opened("vindr-cxr", root, repeated_rows="any").records}
    assert some[f"train/{0:032x}.dicom"] == (0,)
    with pytest.raises(DataError, match="3 rows with different labels"):
        opened("vindr-cxr", root, repeated_rows="refuse")


def test_vindr_of_kaggle_has_a_row_per_box(tmp_path: Path, opened: Opened) -> None:
    dataset = opened("vindr-cxr", archives_on_disk.vindr_of_kaggle(tmp_path / "kaggle"))
    assert dataset.classes == ("Cardiomegaly", "Nodule/Mass")
    labels = {record.name: record.present for record in dataset.records}
    assert labels[f"train/{0:032x}.dicom"] == ()
    assert labels[f"train/{1:032x}.dicom"] == (1,)
    assert kinds(dataset)["without a row in train.csv"] == 3


def test_covid_has_four_classes_and_leaves_masks_out(tmp_path: Path, opened: Opened) -> None:
    root = archives_on_disk.covid(tmp_path / "covid")
    dataset = opened("covid19-radiography", root)
    assert dataset.classes == ("Normal", "COVID", "Lung_Opacity", "Viral Pneumonia")
    assert Counter(record.label for record in dataset.records) == dict.fromkeys(range(4), 10)
    assert sum(count for kind, count in kinds(dataset).items() if kind == "in folders of masks") == 40
    assert kinds(dataset)["of the type .xlsx"] == 4
    assert len(opened("covid19-radiography", root, classes="normal,covid").records) == 20


@pytest.mark.parametrize("name", BUILDERS)
def test_each_archive_is_recognized_by_its_own_dataset_alone(name: str, tmp_path: Path) -> None:
    specs = load_reference("pneumo_datasets.plugin:register_datasets")()
    files = ImageFiles(BUILDERS[name](tmp_path / "root")).files()
    assert [spec.name for spec in specs if spec.recognize and load_reference(spec.recognize)(files)] == [name]


@pytest.mark.parametrize("name", ["nih-chestxray14", "chexpert", "rsna-pneumonia", "vindr-cxr"])
def test_another_folder_is_refused_with_where_to_get_the_archive(
    name: str, tmp_path: Path, opened: Opened
) -> None:
    with pytest.raises(DataError, match=rf"is not {name}: it has no table .*\.csv; .*https://"):
        opened(name, tmp_path)
    with pytest.raises(DataError, match=rf"{name} needs its images: .*https://"):
        opened(name, None)


def test_other_class_folders_are_not_covid19_radiography(tmp_path: Path, opened: Opened) -> None:
    root = write(tmp_path / "root", [*numbered("NORMAL", 5), *numbered("PNEUMONIA", 5)])
    with pytest.raises(
        DataError, match=r"is not COVID-19 Radiography: .* 'PNEUMONIA'; --dataset folder reads any"
    ):
        opened("covid19-radiography", root)


def test_a_column_that_is_missing_and_a_label_that_is_unknown_are_named(
    tmp_path: Path, opened: Opened
) -> None:
    root = archives_on_disk.nih(tmp_path / "nih", 20)
    columns = archives_on_disk.NIH_COLUMNS
    row = ("00000001_000.png", "Covid", 0, 1, "058", "M", "PA", 1, 1, 1, 1, "")
    write_table(root / "Data_Entry_2017_v2020.csv", [columns, row])
    with pytest.raises(DataError, match="has an unknown label 'Covid'; known: Atelectasis"):
        opened("nih-chestxray14", root)
    write_table(root / "Data_Entry_2017_v2020.csv", [columns[1:], row[1:]])
    with pytest.raises(DataError, match="has no column 'Image Index'; it has: Finding Labels"):
        opened("nih-chestxray14", root)
    with pytest.raises(UsageError, match="has no label 'Covid'"):
        opened("nih-chestxray14", archives_on_disk.nih(tmp_path / "other", 20), classes="Covid,Mass")
