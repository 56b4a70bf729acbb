"""Links in the pages, as GitHub shows them, lead to files and headings; the site's are in ``test_site.py``."""

from __future__ import annotations

import re

import pytest

from tests.documentation.pages import PAGES, REPOSITORY, text_of


def anchor(heading: str) -> str:
    """The name that GitHub and the site give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings_that_exist(page: str) -> None:
    text = text_of(page)
    assert text.strip(), "an empty page"
    without_code = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, wanted = link.partition("#")
        target = (REPOSITORY / page).parent / name if name else REPOSITORY / page
        assert target.exists(), f"{page} links to {link}"
        if wanted:
            inside = text_of(target.resolve().relative_to(REPOSITORY).as_posix())
            headings = re.findall(r"^#+ (.+)$", inside, re.MULTILINE)
            assert wanted in map(anchor, headings), f"{page} links to {link}"


def test_no_page_is_linked_that_only_the_site_has() -> None:
    for page in PAGES:
        assert not re.search(r"\]\([^)\s]*(reference|project)/", text_of(page)), page
