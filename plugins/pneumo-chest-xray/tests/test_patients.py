"""Patients and subtypes from file names."""

import pytest

from pneumo_chest_xray.patients import identify


@pytest.mark.parametrize(
    ("stem", "patient", "subtype"),
    [
        ("person1_bacteria_1", "person1-bacteria", "bacteria"),
        ("person0001_bacteria_7", "person1-bacteria", "bacteria"),
        ("person1_virus_6", "person1-virus", "virus"),
        ("person1372_bacteria_3503", "person1372-bacteria", "bacteria"),
        ("person96_virus_178_2", "person96-virus", "virus"),
        ("IM-0115-0001", "IM-115", ""),
        ("IM-0523-0001-0002", "IM-523", ""),
        ("NORMAL2-IM-0115-0001", "NORMAL2-IM-115", ""),
        ("NORMAL2-IM-0587-0001-0002", "NORMAL2-IM-587", ""),
        ("BACTERIA-1008087-0001", "BACTERIA-1008087", "bacteria"),
        ("VIRUS-1980593-0002", "VIRUS-1980593", "virus"),
        ("NORMAL-28501-0001", "NORMAL-28501", ""),
    ],
)
def test_names_of_known_patterns(stem: str, patient: str, subtype: str) -> None:
    assert identify(stem) == (patient, subtype, True)


@pytest.mark.parametrize(
    "stem",
    [
        "",
        "scan",
        "person_bacteria_1",
        "person1_fungus_1",
        "IM-0115",
        "copy of IM-0115-0001",
        "person1_virus_6 (1)",
    ],
)
def test_images_with_other_names_are_patients_of_their_own(stem: str) -> None:
    assert identify(stem) == (stem, "", False)


def test_equal_numbers_of_different_series_are_different_patients() -> None:
    stems = ["person7_bacteria_1", "person7_virus_1", "IM-0007-0001", "NORMAL2-IM-0007-0001", "VIRUS-7-0001"]
    assert len({identify(stem).patient for stem in stems}) == len(stems)
