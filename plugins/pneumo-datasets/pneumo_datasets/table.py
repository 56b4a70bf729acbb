"""The dataset ``table``, and the base of the public datasets whose labels are in tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from pneumo_cli import DataError, UsageError
from pneumo_cli.data import DatasetRequest, FileDataset, ImageFiles, Record, unused_files
from pneumo_cli.runtime import uncollected
from pneumo_datasets.file_search import FileSearch
from pneumo_datasets.labels import OTHER
from pneumo_datasets.manifest import SUFFIXES, open_table
from pneumo_datasets.patients import Image, Patients, find_patients, stated
from pneumo_datasets.rows import Rows, read_rows
from pneumo_datasets.settings import LabelSettings, TableSettings, names_of
from pneumo_datasets.split_folders import with_test_pool

_EXAMPLES = 3
_TEXT = 80  # characters of a value that a message shows


class TableDataset(FileDataset):
    """Images whose labels are in the rows of a table.

    Args:
        request: with a root.
        files: below it.
        rows: of the table.
        settings: how labels, patients and missing files are taken.
        name, origin: of the dataset.
        within: only images of this folder, at any depth, are looked for; empty: all.

    Raises:
        DataError: files are missing, paths lead out of the root or rows contradict each other; a class has too few
            patients.
        UsageError: the settings do not fit the data.
    """

    synthetic = False

    def __init__(
        self,
        request: DatasetRequest,
        files: ImageFiles,
        rows: Rows,
        settings: LabelSettings,
        name: str,
        origin: str,
        within: str = "",
    ) -> None:
        super().__init__(files, request.cache, request.progress)
        self.name, self.origin = name, origin
        self._rows, self._settings = rows, settings
        self.classes, self.multilabel = rows.labels.classes, rows.labels.multilabel
        self._reasons: dict[str, str] = {}
        self._notes = [*rows.notes, rows.labels.note]
        every = files.files()
        images = files.images_among(every)
        inside = [path for path in images if not within or within in path.split("/")[:-1]]
        found = self._found(FileSearch(inside, files.root, rows.folder))
        chosen = self._with_labels(found)
        patients = self._patients(chosen, request)
        digests = self.digests(list(chosen))
        with uncollected():
            records = [
                self._record(path, *values, patients, digests[path]) for path, values in chosen.items()
            ]
            records.sort(key=lambda record: (record.label, record.name.rpartition("/")[2], record.name))
        self.records, made = with_test_pool(records, self.classes, settings.test_fraction, self.place)
        self.paths = {record.name: record.name for record in self.records}
        self.unused = unused_files(
            every,
            {*self.paths, *rows.tables, *patients.tables},
            lambda path: self._reasons.get(path, f"without a row in {rows.tables[0]}"),
            files.beginning,
        )
        self.notes = (*self._notes, *patients.notes, *made)

    @uncollected()
    def _found(self, search: FileSearch) -> dict[str, list[int]]:
        """The rows of each image, with a wanted view, by its path."""
        views = {view.casefold() for view in names_of(self._settings.views)}
        if views and not self._rows.views:
            raise UsageError(
                f"views: {self._rows.tables[0]} has no column with the view: name it with --view-column"
            )
        found: dict[str, list[int]] = defaultdict(list)
        missing: list[str] = []
        for row, text in enumerate(self._rows.paths):
            path = search.find(text)
            if path is None:
                missing.append(text)
            elif views and (view := self._rows.views[row]).casefold() not in views:
                self._reasons[path] = f"with the view {view or '(unknown)'}"
            else:
                found[path].append(row)
        self._check_missing(missing)
        if not found:
            raise DataError(
                f"{self.place} has no image for any of {len(self._rows.paths):,} rows of {self._rows.tables[0]}"
            )
        return found

    def _check_missing(self, missing: Sequence[str]) -> None:
        if not missing:
            return
        shown = ", ".join(repr(text[:_TEXT]) for text in missing[:_EXAMPLES]) + (
            ", …" if len(missing) > _EXAMPLES else ""
        )
        what = f"{len(missing):,} of {len(self._rows.paths):,} rows of {self._rows.tables[0]} have no image"
        if not self._settings.skip_missing_files:
            raise DataError(f"{what} below {self.place}: {shown}; leave them out with --skip-missing-files")
        self._notes.append(f"{what} and are left out ({shown}).")

    @uncollected()
    def _with_labels(self, found: dict[str, list[int]]) -> dict[str, tuple[tuple[int, ...], int]]:
        """The labels and the first row of each image that has the wanted ones."""
        given = self._settings.repeated_rows
        how = self._rows.joining if given == "auto" else given
        chosen: dict[str, tuple[tuple[int, ...], int]] = {}
        merged = 0
        for path, rows in found.items():
            labels = self._rows.labels.joined(rows, how)
            if labels is None:
                exclusive = not self.multilabel and len(self.classes) > 2
                remedy = (
                    f"or join them with --repeated-rows {'majority' if exclusive else 'any or majority'}"
                    if how == "refuse"
                    else f"as --repeated-rows {how} cannot join them"
                )
                raise DataError(
                    f"{self._rows.tables[0]} has {len(rows)} rows with different labels for {path}: correct them, "
                    f"{remedy}"
                )
            for column in (self._rows.patients, self._rows.splits):
                if column and len(rows) > 1 and len(values := {column[row] for row in rows}) > 1:
                    shown = " and ".join(sorted(map(str, values))[:2])
                    raise DataError(f"{self._rows.tables[0]} has rows for {path} with {shown[:_TEXT]}")
            merged += len(rows) > 1
            if max(labels) < 0:
                self._reasons[path] = "of other classes" if labels[0] == OTHER else "without a known label"
            else:
                chosen[path] = labels, rows[0]
        if merged:
            joined = "with equal labels" if how == "refuse" else f"joined by: {how}"
            images = "1 image has" if merged == 1 else f"{merged:,} images have"
            self._notes.append(f"{images} several rows {joined}.")
        if not chosen:
            raise DataError(f"{self._rows.tables[0]} has no image of the chosen classes and views")
        return chosen

    def _patients(self, chosen: dict[str, tuple[tuple[int, ...], int]], request: DatasetRequest) -> Patients:
        if not self._rows.patients:
            images = [Image(path, path) for path in chosen]
            return find_patients(self.files, images, self._settings, request.progress)
        keys = {path: key for path, (_, row) in chosen.items() if (key := self._rows.patients[row])}
        return stated(keys, len(chosen), self._rows.tables[0])

    def _record(
        self, path: str, labels: tuple[int, ...], row: int, patients: Patients, digest: str
    ) -> Record:
        split = self._rows.splits[row] if self._rows.splits else None
        return Record(
            name=path,
            label=0 if self.multilabel else labels[0],
            patient=patients.of(path, path),
            pool="test" if split == "test" else "train",
            digest=digest,
            subtype=(self._rows.subtypes[row] if self._rows.subtypes else "")
            or patients.subtypes.get(path, ""),
            labels=labels if self.multilabel else (),
            view=self._rows.views[row] if self._rows.views else "",
            validation=split == "validation",
        )


def opened_files(request: DatasetRequest, name: str, instructions: str = "") -> ImageFiles:
    """The files below a request's root.

    Raises:
        DataError: there is no root, or it cannot be opened.
    """
    if request.root is None:
        raise DataError(
            f"{name} needs its images: name their folder or zip file with --data-root"
            + (f", or {instructions}" if instructions else "")
        )
    return ImageFiles(request.root)


def open_dataset(request: DatasetRequest) -> TableDataset:
    """Open the images below ``request.root`` and the manifest; raises as :class:`TableDataset`."""
    settings = TableSettings(**request.options)
    files = opened_files(request, "table")
    table, folder = open_table(files, settings.manifest or _only_table(files))
    rows = read_rows(table, folder, settings)
    return TableDataset(request, files, rows, settings, "table", "Images of the user, with labels in a table")


def _only_table(files: ImageFiles) -> Path:
    tables = [name for name in files.files() if "/" not in name and name.lower().endswith(SUFFIXES)]
    if len(tables) == 1:
        return Path(tables[0])
    has = f"{len(tables)} tables ({', '.join(tables[:_EXAMPLES])})" if tables else "no table"
    raise UsageError(f"{files.root} has {has} at its top level: name one with --manifest FILE")
