"""The pages that are made from docstrings and from the schema of reports: complete, and as the code says."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests import report_page
from tests.objects_page import OBJECTS, own_members, page

PAGE = Path(__file__).parent.parent / "docs" / "objects.md"
REFERENCES = [reference for references in OBJECTS.values() for reference in references]


def test_the_page_is_what_the_docstrings_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.objects_page > docs/objects.md"


@pytest.mark.parametrize("reference", REFERENCES)
def test_every_attribute_and_method_is_explained(reference: str) -> None:
    module, _, name = reference.partition(":")
    cls = getattr(importlib.import_module(module), name)
    members = dict(own_members(cls))
    assert members
    assert [member for member, text in members.items() if not text] == []


def test_the_page_on_reports_is_what_the_schema_says() -> None:
    path = PAGE.with_name("report-json.md")
    assert path.read_text(encoding="utf-8") == report_page.page(), (
        "python -m tests.report_page > docs/report-json.md"
    )
