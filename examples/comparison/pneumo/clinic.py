"""A dataset: pneumo run cnn --plugin clinic.py --dataset clinic --data-root FOLDER"""

import csv

from pydantic import Field

from pneumo_cli.api import DatasetSpec, hookimpl
from pneumo_cli.data import FileDataset, ImageFiles, Record
from pneumo_cli.settings import DatasetSettings

api_version = 1


@hookimpl
def register_datasets():
    yield DatasetSpec(
        name="clinic",
        summary="films/ and studies.csv",
        factory="clinic:Clinic",
        needs_root=True,
        settings="clinic:ClinicSettings",
    )


class ClinicSettings(DatasetSettings):
    test_from: int = Field(2026, description="year from which on studies are test images")


class Clinic(FileDataset):
    name = "clinic"
    classes = ("NEGATIVE", "PNEUMONIA")
    synthetic = False
    origin = "Radiographs of a clinic."

    def __init__(self, request):
        super().__init__(ImageFiles(request.root), request.cache, request.progress)
        rows = list(csv.DictReader(self.files.read_bytes("studies.csv").decode().splitlines()))
        self.paths = {row["film"]: f"films/{row['film']}" for row in rows}
        digests = self.digests(self.paths.values())
        self.records = [
            Record(
                name=row["film"],
                label=int(row["finding"] == "pneumonia"),
                patient=row["patient"],
                pool="test" if int(row["year"]) >= request.options["test_from"] else "train",
                digest=digests[self.paths[row["film"]]],
            )
            for row in sorted(rows, key=lambda row: (row["finding"] == "pneumonia", row["film"]))
        ]
