"""The site builds without a warning; its pages link to each other and load nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.documentation.pages import REPOSITORY

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """The names, links and sources of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.names: set[str] = {"", "top"}
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.names |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link":
            self.loaded.append(values["href"])
        elif "src" in values:
            self.loaded.append(values["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, without running its notebooks."""
    target = tmp_path_factory.mktemp("site")
    ended = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", "docs", target / "html",
         "-d", target / "doctrees"],
        cwd=REPOSITORY, env={**os.environ, "PNEUMO_DOCS_NOTEBOOKS": "off"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return target / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path.resolve(): Page(path) for path in site.rglob("*.html")}


def test_links_between_the_pages_lead_to_pages_and_places(pages: dict[Path, Page]) -> None:
    assert len(pages) > 80
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            names = pages[target].names if target in pages else {""}
            if not target.is_file() or unquote(parts.fragment) not in names:
                dead.append(f"{path.name}: {link}")
    assert dead == []


def test_the_pages_load_nothing_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for source in page.loaded:
            parts = urlsplit(source)
            assert not parts.scheme or parts.scheme == "data", f"{path.name}: {source}"
            assert not parts.netloc, f"{path.name}: {source}"
            if parts.path and not parts.scheme:
                assert (path.parent / unquote(parts.path)).is_file(), f"{path.name}: {source}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), (
            sheet
        )


def test_the_search_finds_words_of_the_pages(site: Path) -> None:
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert all(word in index for word in ("calibr", "label_smooth", "around_train_step", "dicom"))
