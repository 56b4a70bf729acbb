"""Registers the dataset ``chest-xray``."""

from __future__ import annotations

from collections.abc import Iterator

from pneumo_cli.api import DatasetSpec, hookimpl

api_version = 1

INSTRUCTIONS = (
    "get the archive (about 1.2 GB) from Kaggle "
    "(https://www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia) "
    "or from Mendeley Data (https://data.mendeley.com/datasets/rscbjbr9sj, the file ChestXRay2017.zip), "
    "then: pneumo data import PATH, where PATH is the zip file or the folder it unpacks to"
)


@hookimpl
def register_datasets() -> Iterator[DatasetSpec]:
    yield DatasetSpec(
        name="chest-xray",
        summary="5,856 chest radiographs of children, normal or with pneumonia (Kermany et al. 2018)",
        factory="pneumo_chest_xray.dataset:open_dataset",
        needs_root=True,
        download="pneumo_chest_xray.download:download",
        instructions=INSTRUCTIONS,
        settings="pneumo_chest_xray.settings:ChestXraySettings",
        recognize="pneumo_chest_xray.layout:recognize",
    )
