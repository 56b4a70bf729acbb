"""The dataset passes pneumo's conformance suite, takes its options, and says what is wrong with a table."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from pneumo_clinic.dataset import Clinic, open_clinic
from pneumo_clinic.sample import write_sample
from pneumo_clinic.settings import is_clinic

from pneumo_cli import DataError
from pneumo_cli.data import DatasetRequest
from pneumo_cli.runtime import Progress
from pneumo_cli.testing import DatasetConformance, empty_workplace, invoke


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    return write_sample(tmp_path / "archive", patients=24)


def opened(root: Path, cache: Path, **options: object) -> Clinic:
    return open_clinic(DatasetRequest(root, cache, Progress(), options))


class TestClinic(DatasetConformance):
    name = "clinic"

    @pytest.fixture
    def data_root(self, sample: Path) -> Path:
        return sample


def test_its_options_choose_the_positive_findings_and_the_test_set(sample: Path, tmp_path: Path) -> None:
    plain = opened(sample, tmp_path)
    wide = opened(sample, tmp_path, positive_findings="Pneumonia, fracture", test_from=2025)
    assert sum(record.label for record in plain.records) == 16
    assert sum(record.label for record in wide.records) == 32
    assert sum(record.pool == "test" for record in plain.records) == 12
    assert sum(record.pool == "test" for record in wide.records) == 24


def test_a_patient_is_in_one_pool_by_the_last_study(sample: Path, tmp_path: Path) -> None:
    table = sample / "studies.csv"
    table.write_text(table.read_text().replace("F000-1.png,P000,2023", "F000-1.png,P000,2026"))
    pools = {record.name: record.pool for record in opened(sample, tmp_path).records}
    assert pools["F000-0.png"] == pools["F000-1.png"] == "test"


def test_a_zip_archive_is_the_same_data(sample: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for path in sample.rglob("*"):
            archive.write(path, path.relative_to(sample))
    zipped = opened(tmp_path / "archive.zip", tmp_path)
    assert zipped.fingerprint == opened(sample, tmp_path).fingerprint


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("film,patient", "file,patient", "no column 'film'"),
        ("P000,2023", "P000,last year", "line 2 of studies.csv: the year is 'last year', not a number"),
        ("P001,2024", ",2024", "line 4 of studies.csv has no patient"),
        ("F000-1.png", "F000-0.png", "the film 'F000-0.png' is in the table twice"),
        ("F000-1.png", "../studies.csv", "1 films less than studies.csv names, such as films/../studies.csv"),
    ],
)
def test_a_table_that_cannot_be_used_is_said_with_its_line(
    sample: Path, tmp_path: Path, old: str, new: str, said: str
) -> None:
    table = sample / "studies.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=said):
        opened(sample, tmp_path)


def test_its_files_are_recognized() -> None:
    assert is_clinic(["films/a.png", "studies.csv"])
    assert not is_clinic(["films/a.png"])
    assert not is_clinic(["studies.csv"])


def test_the_program_finds_it_by_its_files_and_takes_its_options_as_flags(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_workplace(tmp_path, tmp_path / "cache", monkeypatch)
    checked = invoke("data", "check", "--data-root", sample, "--test-from", "2025", "--json")
    assert checked.code == 0, checked.stderr
    assert '"dataset": "clinic"' in checked.stdout
