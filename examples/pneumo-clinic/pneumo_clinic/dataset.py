"""The dataset ``clinic``: a row of ``studies.csv`` for each film.

The columns are ``film`` (below ``films/``), ``patient``, ``year`` and ``finding``. Reading and decoding the films,
also from a zip archive, splits, caches and fingerprints come from pneumo.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from pneumo_cli import DataError, UnreadableImage
from pneumo_cli.data import DatasetRequest, FileDataset, ImageFiles, Pool, Record, unused_files
from pneumo_clinic.settings import FILMS, TABLE, ClinicSettings

_COLUMNS = ("film", "patient", "year", "finding")


class Clinic(FileDataset):
    """Two classes: films with one of the positive findings, and all others."""

    name = "clinic"
    classes = ("NEGATIVE", "POSITIVE")
    synthetic = False
    origin = "Radiographs of a clinic, with the findings of its radiologists."

    def __init__(self, request: DatasetRequest, options: ClinicSettings) -> None:
        assert request.root is not None  # pneumo asks for one: the spec has needs_root
        super().__init__(ImageFiles(request.root), request.cache, request.progress)
        files = self.files.files()
        rows = self._rows()
        positive = {finding.strip().lower() for finding in options.positive_findings.split(",")}
        last = {row["patient"]: 0 for row in rows}
        for row in rows:
            last[row["patient"]] = max(last[row["patient"]], int(row["year"]))
        self.paths = {row["film"]: FILMS + row["film"] for row in rows}
        if missing := sorted(set(self.paths.values()) - set(files)):
            raise DataError(
                f"{self.place} has {len(missing)} films less than {TABLE} names, such as {missing[0]}"
            )
        digests = self.digests(self.paths.values())
        records = []
        for row in rows:
            # By patient and not by study: a patient of both pools would be in training and test.
            pool: Pool = "test" if last[row["patient"]] >= options.test_from else "train"
            label = int(row["finding"].strip().lower() in positive)
            records.append(Record(row["film"], label, row["patient"], pool, digests[self.paths[row["film"]]]))
        self.records = sorted(records, key=lambda record: (record.label, record.name))
        self.unused = unused_files(files, {*self.paths.values(), TABLE}, beginning=self.files.beginning)

    def _rows(self) -> list[Mapping[str, str]]:
        """The rows of the table. Raises DataError, which names the row, if it cannot be used."""
        try:
            text = self.files.read_bytes(TABLE).decode("utf-8-sig")
        except (UnreadableImage, UnicodeDecodeError) as error:
            raise DataError(f"{self.place}: {TABLE} cannot be read: {error}") from None
        table = csv.DictReader(io.StringIO(text, newline=""))
        if absent := [column for column in _COLUMNS if column not in (table.fieldnames or ())]:
            raise DataError(
                f"{self.place}: {TABLE} has no column {absent[0]!r}; it needs {', '.join(_COLUMNS)}"
            )
        rows: dict[str, Mapping[str, str]] = {}
        for row in table:
            where = f"{self.place}: line {table.line_num} of {TABLE}"
            if empty := [column for column in _COLUMNS if not row[column]]:
                raise DataError(f"{where} has no {empty[0]}")
            if not row["year"].isdecimal():
                raise DataError(f"{where}: the year is {row['year']!r}, not a number")
            if row["film"] in rows:
                raise DataError(f"{where}: the film {row['film']!r} is in the table twice")
            rows[row["film"]] = row
        return list(rows.values())


def open_clinic(request: DatasetRequest) -> Clinic:
    """Open the dataset below ``request.root``.

    Raises:
        DataError: the table or films are missing, or a row is not usable.
    """
    return Clinic(request, ClinicSettings(**request.options))
