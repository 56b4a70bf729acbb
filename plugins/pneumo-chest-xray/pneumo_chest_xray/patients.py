"""Patient and subtype of an image, from its file name.

The Kaggle archive numbers patients with bacterial and with viral pneumonia independently, so that
``person23_bacteria_…`` and ``person23_virus_…`` are two children: the key is the number *and* the subtype. The
number alone, as is often used, merges different patients and reports leaks that do not exist (SOURCE 10).
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Identity(NamedTuple):
    """What a file name contains.

    Attributes:
        patient: key of the patient, unique in the whole dataset.
        subtype: ``bacteria``, ``virus``, or the empty string.
        matched: whether the name matches a known pattern; if not, the image counts as a patient of its own.
    """

    patient: str
    subtype: str
    matched: bool


_KAGGLE_PNEUMONIA = re.compile(r"person0*(\d+)_(bacteria|virus)_\d+(?:_\d+)?", re.ASCII | re.IGNORECASE)
_KAGGLE_NORMAL = re.compile(r"(IM|NORMAL2-IM)-0*(\d+)(?:-\d+)+", re.ASCII | re.IGNORECASE)
_MENDELEY = re.compile(r"(BACTERIA|VIRUS|NORMAL)-0*(\d+)-\d+", re.ASCII | re.IGNORECASE)


def identify(stem: str) -> Identity:
    """Parse a file name without its suffix.

    >>> identify("person23_bacteria_78")
    Identity(patient='person23-bacteria', subtype='bacteria', matched=True)
    >>> identify("NORMAL2-IM-0027-0001")
    Identity(patient='NORMAL2-IM-27', subtype='', matched=True)
    >>> identify("VIRUS-1980593-0001")
    Identity(patient='VIRUS-1980593', subtype='virus', matched=True)
    >>> identify("chest scan")
    Identity(patient='chest scan', subtype='', matched=False)
    """
    if match := _KAGGLE_PNEUMONIA.fullmatch(stem):
        subtype = match[2].lower()
        return Identity(f"person{match[1]}-{subtype}", subtype, True)
    if match := _KAGGLE_NORMAL.fullmatch(stem):
        return Identity(f"{match[1].upper()}-{match[2]}", "", True)
    if match := _MENDELEY.fullmatch(stem):
        kind = match[1].upper()
        return Identity(f"{kind}-{match[2]}", "" if kind == "NORMAL" else kind.lower(), True)
    return Identity(stem, "", False)
