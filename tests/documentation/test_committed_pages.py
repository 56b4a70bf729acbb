"""The pages that are made from docstrings and from the schema of reports, and committed: as the code says."""

from __future__ import annotations

import importlib

import pytest

from pneumo_docs import objects_page, report_page
from tests.documentation.pages import REPOSITORY

REFERENCES = [reference for references in objects_page.OBJECTS.values() for reference in references]


def test_the_page_on_objects_is_what_the_docstrings_say() -> None:
    page = REPOSITORY / "docs" / "objects.md"
    assert page.read_text(encoding="utf-8") == objects_page.page(), "make pages"


@pytest.mark.parametrize("reference", REFERENCES)
def test_every_attribute_and_method_is_explained(reference: str) -> None:
    module, _, name = reference.partition(":")
    cls = getattr(importlib.import_module(module), name)
    members = dict(objects_page.own_members(cls))
    assert members
    assert [member for member, text in members.items() if not text] == []


def test_the_page_on_reports_is_what_the_schema_says() -> None:
    page = REPOSITORY / "docs" / "report-json.md"
    assert page.read_text(encoding="utf-8") == report_page.page(), "make pages"
