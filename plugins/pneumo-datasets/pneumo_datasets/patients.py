"""Patients of images: from their names, from a table, or from DICOM headers.

An image without a patient counts as a patient of its own. A patient ID of a DICOM header is never kept; its SHA-256
hash is, which whoever knows the ID can compute too.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pneumo_cli import DataError, UnreadableImage, UsageError
from pneumo_cli.data import ImageFiles
from pneumo_cli.runtime import Progress, pip_install, uncollected
from pneumo_datasets.file_search import FileSearch
from pneumo_datasets.manifest import PATH_COLUMNS, PATIENT_COLUMNS, find_column, open_table
from pneumo_datasets.settings import PatientSettings

_PATTERN_SECONDS = 20
_EXAMPLES = 3


class Image(NamedTuple):
    """An image, as its patient is looked for: its path below the root, and below its class folder."""

    path: str
    below: str


@dataclass(frozen=True)
class Patients:
    """The patients of images.

    Attributes:
        keys: the patient of each image, by its path; an image that has none is absent.
        subtypes: the subtypes of images for which a pattern decides them, by path.
        notes: where they are from, and how many images have none, in sentences.
        tables: files that they are from, below the root.
    """

    keys: Mapping[str, str]
    subtypes: Mapping[str, str]
    notes: tuple[str, ...]
    tables: tuple[str, ...] = ()

    def of(self, path: str, name: str) -> str:
        """The patient of an image; the image itself, by its name, if it has none."""
        return self.keys.get(path) or f"image:{name}"


def find_patients(
    files: ImageFiles, images: Sequence[Image], settings: PatientSettings, progress: Progress
) -> Patients:
    """Find the patients of images as the settings say.

    Raises:
        UsageError: a pattern is not valid, takes too long, finds no patient, or the same one everywhere; what is
            needed to read DICOM headers is not installed.
        DataError: a table cannot be read, lacks a column, or names no image or different patients for one.
    """
    if settings.patient_pattern:
        return _by_pattern(images, settings.patient_pattern)
    if settings.patient_table is not None:
        return _by_table(files, images, settings.patient_table)
    if settings.patient == "dicom":
        return _by_header(files, images, progress)
    return Patients({}, {}, ("The patients are not known: each image counts as a patient.",))


def stated(
    keys: dict[str, str], images: int, source: str, subtypes: Mapping[str, str] | None = None
) -> Patients:
    """Patients with the notes that say where they are from.

    Args:
        keys: the patient of each image that has one, by its path.
        images: number of all images.
        source: where they are from.
    """
    notes = [f"Patients are from {source}: {len(set(keys.values())):,}."]
    if absent := images - len(keys):
        notes.append(f"{absent:,} of {images:,} images have no patient there and count as a patient each.")
    return Patients(keys, subtypes or {}, tuple(notes))


def _checked(keys: Mapping[str, str], images: Sequence[Image], what: str) -> None:
    if not keys:
        shown = ", ".join(image.below for image in images[:_EXAMPLES])
        raise UsageError(f"{what} finds no patient in any of {len(images):,} images ({shown}, …)")
    if len(keys) > 1 and len(set(keys.values())) == 1:
        shown = next(iter(keys.values()))
        raise UsageError(f"{what} finds the same patient, {shown!r}, in all of {len(keys):,} images")


# --- pattern ----------------------------------------------------------------------------------------------------

_SEARCH = """
import gc, json, re, sys
gc.disable()
request = json.load(sys.stdin)
try:
    pattern = re.compile(request["pattern"])
except (re.error, OverflowError, RecursionError, MemoryError, ValueError) as error:
    json.dump({"error": str(error) or type(error).__name__}, sys.stdout)
    sys.exit()
named = pattern.groupindex
groups = [number for number in range(1, pattern.groups + 1) if number != named.get("subtype")]
if "patient" in named:
    groups = [named["patient"]]
patients, subtypes = [], []
for path in request["paths"]:
    folder, slash, name = path.rpartition("/")
    start, dot, suffix = name.rpartition(".")
    if start and suffix:
        name = start
    texts = (name, folder + slash + name) if slash else (name,)
    match = next(filter(None, map(pattern.search, texts)), None)
    subtype = None
    if match and "subtype" in named:
        subtype = match["subtype"] or ""
    elif match and match.string != texts[0]:
        subtype = ""
    parts = [match[group] for group in groups or [0]] if match else []
    patients.append("-".join(filter(None, parts)))
    subtypes.append(subtype)
sys.stdout.write(json.dumps({"patients": patients, "subtypes": subtypes}))
"""


@uncollected()
def _by_pattern(images: Sequence[Image], pattern: str) -> Patients:
    keys, subtypes = {}, {}
    found = _searched(pattern, [image.below for image in images])
    for image, patient, subtype in zip(images, *found, strict=True):
        if patient:
            keys[image.path] = patient
        if subtype is not None:
            subtypes[image.path] = subtype
    _checked(keys, images, f"the patient pattern '{pattern}'")
    return stated(keys, len(images), f"file names by the pattern '{pattern}'", subtypes)


def _searched(pattern: str, paths: Sequence[str]) -> tuple[list[str], list[str | None]]:
    """The patients and subtypes in the names of files, without suffixes, or where they have none in the paths.

    Without a group for it the subtype is None; empty if a folder, which might be taken for one, names the patient.

    In another process: some patterns take exponential time, and a search cannot be stopped.
    """
    try:
        ended = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _SEARCH],
            input=json.dumps({"pattern": pattern, "paths": paths}),
            capture_output=True,
            text=True,
            timeout=_PATTERN_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"the patient pattern '{pattern}' takes more than {_PATTERN_SECONDS} seconds for {len(paths):,} file "
            "names: avoid repetitions of repetitions, such as (a+)+"
        ) from None
    if ended.returncode:
        raise UsageError(f"the patient pattern '{pattern}' cannot be searched: it is too large")
    answer = json.loads(ended.stdout)
    if "error" in answer:
        raise UsageError(f"the patient pattern '{pattern}' is no regular expression: {answer['error']}")
    return answer["patients"], answer["subtypes"]


# --- table ------------------------------------------------------------------------------------------------------


def _by_table(files: ImageFiles, images: Sequence[Image], path: Path) -> Patients:
    table, folder = open_table(files, path)
    image_column = find_column(table, PATH_COLUMNS, "the image")
    patient_column = find_column(table, PATIENT_COLUMNS, "the patient")
    search = FileSearch([image.path for image in images], files.root, folder)
    keys: dict[str, str] = {}
    values = table.select([image_column, patient_column])
    for file, patient in zip(*values, strict=True):
        found = search.find(file)
        if found is None or not patient.strip():
            continue
        if keys.setdefault(found, patient.strip()) != patient.strip():
            raise DataError(f"{table.name} names two patients of {file}: {keys[found]} and {patient.strip()}")
    _checked(keys, images, f"the patient table {table.name}")
    patients = stated(keys, len(images), f"the table {table.name}, column {patient_column!r}")
    return replace(patients, tables=(table.name,))


# --- DICOM header -----------------------------------------------------------------------------------------------


def _by_header(files: ImageFiles, images: Sequence[Image], progress: Progress) -> Patients:
    patient_id = _reader()
    keys = {}
    with progress.stage("reading patients", len(images)) as advance:
        for image in images:
            try:
                patient = patient_id(files.read_bytes(image.path))
            except UnreadableImage:
                patient = ""
            if patient:
                keys[image.path] = hashlib.sha256(patient.encode()).hexdigest()[:32]
            advance(1)
    _checked(keys, images, "the DICOM header (--patient dicom)")
    return stated(keys, len(images), "the patient IDs of DICOM headers, as hashes")


def _reader() -> Callable[[bytes], str]:
    """A function that returns the patient ID of a DICOM file; empty: it has none, or is no DICOM file."""
    try:
        import pydicom
    except ImportError:
        raise UsageError(
            f"patients from DICOM headers need pneumo-dicom: {pip_install('pneumo-datasets[dicom]')}"
        ) from None

    def patient_id(data: bytes) -> str:
        if data.startswith((b"\xff\xd8\xff", b"\x89PNG")):
            return ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # values that break the standard, in other elements
                header = pydicom.dcmread(
                    io.BytesIO(data), stop_before_pixels=True, force=True, specific_tags=["PatientID"]
                )
            return str(header.get("PatientID", "") or "").strip()
        except Exception:  # pydicom documents no exceptions for damaged files
            return ""

    return patient_id
