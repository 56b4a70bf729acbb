"""Registers datasets of any class folders and tables, and of public archives in their published layouts."""

from __future__ import annotations

from collections.abc import Iterator

from pneumo_cli.api import DatasetSpec, hookimpl

api_version = 1

_THEN = "then: pneumo data import PATH, or --data-root PATH, where PATH is the folder or zip file"

INSTRUCTIONS = {
    "nih-chestxray14": "get the images and Data_Entry_2017 from the NIH Clinical Center "
    f"(https://nihcc.app.box.com/v/ChestXray-NIHCC) and unpack all parts into one folder, {_THEN}",
    "chexpert": "ask for CheXpert-v1.0 or CheXpert-v1.0-small at Stanford AIMI "
    f"(https://stanfordmlgroup.github.io/competitions/chexpert/), {_THEN}",
    "rsna-pneumonia": "get the files of the second stage from Kaggle "
    f"(https://www.kaggle.com/c/rsna-pneumonia-detection-challenge), {_THEN}",
    "covid19-radiography": "get the archive from Kaggle "
    f"(https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database), {_THEN}",
    "vindr-cxr": "get it from PhysioNet (https://physionet.org/content/vindr-cxr/1.0.0/, credentialed access), "
    f"{_THEN}",
    "pneumonia-mnist": "get pneumoniamnist.npz, or pneumoniamnist_64.npz, _128 or _224, from Zenodo "
    "(https://zenodo.org/records/10519652), then: --data-root FILE.npz",
    "chest-mnist": "get chestmnist.npz, or chestmnist_64.npz, _128 or _224, from Zenodo "
    "(https://zenodo.org/records/10519652), then: --data-root FILE.npz",
}
"""Where to get each public dataset, and how; nothing is downloaded."""


@hookimpl
def register_datasets() -> Iterator[DatasetSpec]:
    yield DatasetSpec(
        name="folder",
        summary="any radiographs in a folder for each class, with or without split folders",
        factory="pneumo_datasets.folder:open_folder",
        needs_root=True,
        instructions="name a folder or zip archive that holds a folder of images for each class",
        settings="pneumo_datasets.settings:FolderSettings",
    )
    yield DatasetSpec(
        name="table",
        summary="any radiographs with their labels in a CSV, TSV or Parquet file",
        factory="pneumo_datasets.table:open_dataset",
        needs_root=True,
        instructions="name a folder or zip archive of images and the table of their labels",
        settings="pneumo_datasets.settings:TableSettings",
    )
    for name, short, summary in (
        ("nih-chestxray14", "nih", "112,120 radiographs with 14 labels (NIH ChestX-ray14; Wang et al. 2017)"),
        (
            "chexpert",
            "chexpert",
            "224,316 radiographs with 14 labels, some uncertain (CheXpert; Irvin et al. 2019)",
        ),
        (
            "rsna-pneumonia",
            "rsna",
            "26,684 radiographs with and without pneumonia, DICOM (RSNA challenge 2018)",
        ),
        ("vindr-cxr", "vindr", "18,000 radiographs with 28 labels of radiologists, DICOM (VinDr-CXR; 2022)"),
    ):
        yield DatasetSpec(
            name=name,
            summary=summary,
            factory=f"pneumo_datasets.archives:open_{short}",
            needs_root=True,
            instructions=INSTRUCTIONS[name],
            settings="pneumo_datasets.settings:ArchiveSettings",
            recognize=f"pneumo_datasets.archives:is_{short}",
        )
    yield DatasetSpec(
        name="covid19-radiography",
        summary="21,165 radiographs: normal, COVID-19, lung opacity, viral pneumonia (Chowdhury et al. 2020)",
        factory="pneumo_datasets.folder:open_covid",
        needs_root=True,
        instructions=INSTRUCTIONS["covid19-radiography"],
        settings="pneumo_datasets.settings:FolderSettings",
        recognize="pneumo_datasets.folder:is_covid",
    )
    for name, short, summary in (
        ("pneumonia-mnist", "pneumonia", "5,856 radiographs of children, 28 to 224 pixels (MedMNIST v2)"),
        ("chest-mnist", "chest", "112,120 radiographs with 14 labels, 28 to 224 pixels (MedMNIST v2)"),
    ):
        yield DatasetSpec(
            name=name,
            summary=summary,
            factory=f"pneumo_datasets.medmnist:open_{short}",
            needs_root=True,
            instructions=INSTRUCTIONS[name],
            settings="pneumo_datasets.settings:ClassSettings" if name == "chest-mnist" else "",
            recognize=f"pneumo_datasets.medmnist:is_{short}",
        )
