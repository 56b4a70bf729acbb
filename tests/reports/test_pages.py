"""The HTML page and the Markdown file: complete, self-contained, and robust to hostile or absent contents."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.reports.document import Commands, Document, Paragraph, Pictures, Section, Table
from pneumo_cli.reports.figures import training
from pneumo_cli.reports.figures.style import save
from pneumo_cli.reports.html import SCRIPT_SOURCE, render_document, render_html
from pneumo_cli.reports.images import inside
from pneumo_cli.reports.markdown import escaped, render_markdown
from pneumo_cli.reports.markdown import render_document as render_markdown_document

HOSTILE = (
    "</style></title><script>alert(1)</script>\"'><img src=x onerror=alert(2)> "
    "| {{ 7*7 }} `x` **b** [a](b)\n# H"
)
METRICS = ("accuracy", "precision", "recall", "f1", "auc", "loss")


class Page(HTMLParser):
    """Checks that tags nest, and collects tags but places of line breaks with their attributes, and the text."""

    VOID = frozenset({"meta", "img", "br", "hr", "link"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "wbr":
            return
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def everywhere(value: Any, text: str) -> Any:
    """A copy of a report with its strings, class and metric names followed by ``text``."""
    if isinstance(value, dict):
        kept = ("file", "group", "mode", "started")  # what selects and addresses
        named = {"NORMAL", "PNEUMONIA", *METRICS}
        return {
            key + text if key in named else key: item if key in kept else everywhere(item, text)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [everywhere(item, text) for item in value]
    return value + text if isinstance(value, str) else value


def table_shapes(markdown: str) -> list[list[int]]:
    """Of each table of a Markdown text, the number of cells of each line."""
    tables, fresh = [], True
    for line in markdown.splitlines():
        if line.startswith("|"):
            if fresh:
                tables.append([])
            tables[-1].append(len(re.findall(r"(?<!\\)\|", line)) - 1)
        fresh = not line.startswith("|")
    return tables


def test_the_page_is_self_contained(folder: Path, report: dict[str, Any]) -> None:
    source = render_html(report, folder)
    page = Page(source)
    assert not {"link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert all(not name.startswith("on") for name in attributes)
        assert re.match(r"data:image/(png|webp);base64,", attributes.get("src") or "data:image/png;base64,")
        assert (attributes.get("href") or "#").startswith("#")
    assert "http://" not in source
    assert "https://" not in source
    assert "@import" not in source
    assert "url(" not in source


def test_the_security_policy_allows_the_one_script_of_the_page_and_nothing_from_elsewhere(
    folder: Path, report: dict[str, Any]
) -> None:
    source = render_html(report, folder)
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    policy = next(tag["content"] for name, tag in Page(source).tags if name == "meta" and "content" in tag)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert SCRIPT_SOURCE in policy


def test_headings_skip_no_level(folder: Path, report: dict[str, Any]) -> None:
    levels = [int(tag[1]) for tag, _ in Page(render_html(report, folder)).tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert 3 in levels
    assert all(level <= before + 1 for before, level in pairwise(levels))


def test_figures_are_embedded_with_size_and_caption(folder: Path, report: dict[str, Any]) -> None:
    page = Page(render_html(report, folder))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == ["Loss over epochs", "A batch"]
    assert all(image["width"] == "670" for image in images)


def test_wide_figures_scroll_on_a_narrow_screen_and_others_shrink(
    folder: Path, report: dict[str, Any]
) -> None:
    panels = training.curves([{"epoch": 0, "train": {"loss": 1.0}}], ["loss", "accuracy"])
    save(panels, folder / "figures" / "loss.png")
    page = Page(render_html(report, folder))
    places = [place for place, (tag, _) in enumerate(page.tags) if tag == "img"]
    before = [page.tags[place - 1] for place in places]
    assert before[0] == (
        "div",
        {"class": "scroll", "tabindex": "0", "role": "group", "aria-label": "Figure"},
    )
    assert before[1][0] == "figure"


def test_long_names_of_files_are_broken_after_separators_and_short_ones_nowhere(folder: Path) -> None:
    name = "test/PNEUMONIA/person1946_bacteria_4875.jpeg"
    table = Table(("Image", "Patient"), ((name, "phantom-0066"), ("a/b-1.png", "two words")))
    page = Document("t", "", (), "", "", "", (), (Section("s", "S", (table,)),), "")
    source = render_document(page, folder)
    broken = "test/<wbr>PNEUMONIA/<wbr>person1946_<wbr>bacteria_<wbr>4875.jpeg"
    assert f'<th scope="row">{broken}</th><td class="word">phantom-0066</td>' in source
    assert '<th scope="row" class="word">a/b-1.png</th><td>two words</td>' in source


def test_minus_and_percent_signs_are_of_one_style(folder: Path) -> None:
    table = Table(("Name", "Change"), (("run-1", "-0.1 (-0.2 to 12%)"),), numeric=frozenset({1}))
    blocks = (Paragraph("From -3 to 12 %, on 2026-11-27."), table, Commands(("pneumo run cnn --lr -1",)))
    page = Document("t", "", (), "", "", "", (), (Section("s", "S", blocks),), "")
    source = Page(render_document(page, folder)).text
    for shown in ("From −3 to 12\xa0%, on 2026-11-27.", "−0.1 (−0.2 to 12\xa0%)", "run-1", "--lr -1"):
        assert shown in source
    markdown = render_markdown_document(page, folder)
    for shown in ("From −3 to 12 %, on 2026-11-27.", "−0.1 (−0.2 to 12 %)", "run-1", "--lr -1"):
        assert shown in markdown


def test_a_picture_is_described_by_its_alternative_and_else_by_its_caption(folder: Path) -> None:
    items = (("figures/loss.png", "Loss"), ("samples/train.png", "A batch"))
    blocks = (Pictures(items, alternatives=("The loss falls to 0.3.",)),)
    page = Document("t", "", (), "", "", "", (), (Section("s", "S", blocks),), "")
    shown = [tag["alt"] for name, tag in Page(render_document(page, folder)).tags if name == "img"]
    assert shown == ["The loss falls to 0.3.", "A batch"]
    assert "![The loss falls to 0.3.](figures/loss.png)" in render_markdown_document(page, folder)


def test_hostile_texts_are_escaped_in_the_page(folder: Path, report: dict[str, Any]) -> None:
    plain = Page(render_html(report, folder))
    hostile = Page(render_html(everywhere(report, HOSTILE), folder))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert "<script>alert(1)</script>" in hostile.text
    assert "{{ 7*7 }}" in hostile.text


def test_hostile_texts_are_escaped_in_markdown(folder: Path, report: dict[str, Any]) -> None:
    report = everywhere(report, HOSTILE)
    report["reproduce"], report["next"] = ["echo '```'", "# no heading"], []
    source = render_markdown(report, folder)
    prose, code, _ = re.split(r"````(?:sh)?\n?", source)
    assert code == "echo '```'\n# no heading\n"
    outside = re.sub(r"</?details>|</?summary>", "", prose)
    assert "<" not in outside
    assert re.findall(r"^# ", prose, re.MULTILINE) == ["# "]
    assert [line for line in prose.splitlines() if line.startswith("#") and "alert" in line] == [
        prose.splitlines()[0]
    ]
    for shape in table_shapes(source):
        assert len(set(shape)) == 1


def test_titles_of_sections_are_escaped_in_markdown(folder: Path) -> None:
    page = Document("t", "", (), "", "", "", (), (Section("x", "*a* <b>", (Paragraph("p"),)),), "0.2")
    assert r"## \*a\* &lt;b&gt;" in render_markdown_document(page, folder).splitlines()


def test_every_row_of_a_markdown_table_has_as_many_cells_as_its_head(
    folder: Path, report: dict[str, Any]
) -> None:
    shapes = table_shapes(render_markdown(report, folder))
    assert len(shapes) >= 7
    assert all(len(shape) >= 3 and len(set(shape)) == 1 for shape in shapes)


def test_rows_of_a_plugins_table_get_as_many_cells_as_its_head(folder: Path, report: dict[str, Any]) -> None:
    report["summary"]["tables"] = [
        {"title": "Odd", "head": ["A", "B"], "rows": [["1"], ["1", "2", "three"], "text", None]},
        {"title": "Empty", "head": [], "rows": [["1"]]},
        "no table",
    ]
    source = render_markdown(report, folder)
    assert [2, 2, 2, 2, 2, 2] in table_shapes(source)
    assert "three" not in source
    assert "Empty" not in source


def test_markdown_links_figures_relative_to_the_run_folder(folder: Path, report: dict[str, Any]) -> None:
    save(training.curve([], "loss"), folder / "figures" / "a b.png")
    report["figures"].append({"file": "figures/a b.png", "caption": "A [b]", "group": "results"})
    source = render_markdown(report, folder)
    assert "![Loss over epochs](figures/loss.png)" in source
    assert r"![A \[b\]](figures/a%20b.png)" in source


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_any_part_may_be_absent(render, folder: Path, report: dict[str, Any]) -> None:
    for key in report:
        assert render({name: part for name, part in report.items() if name != key}, folder)
    for key in report["dataset"]:
        dataset = {name: part for name, part in report["dataset"].items() if name != key}
        assert render({**report, "dataset": dataset}, folder)
    assert "no medical device" in render({}, folder)


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_missing_values_are_dashes_and_never_none_or_nan(
    render, folder: Path, report: dict[str, Any]
) -> None:
    report["history"][0]["validation"] = {"accuracy": None, "loss": float("nan")}
    report["evaluations"]["test"]["precision"] = None
    report["environment"] = {}
    source = render(report, folder)
    assert "–" in source
    assert not re.search(r"\b(None|nan|NaN|Undefined)\b", re.sub(r"base64,[^\"]*", "", source))


def test_only_png_figures_in_the_run_folder_are_shown(
    folder: Path, tmp_path: Path, report: dict[str, Any]
) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes((folder / "figures/loss.png").read_bytes())
    (folder / "figures" / "link.png").symlink_to(secret)
    (folder / "figures" / "text.png").write_text("no picture")
    (folder / "figures" / "stub.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    names = [
        "../secret.png",
        str(secret),
        "figures/link.png",
        "figures/text.png",
        "figures",
        "gone.png",
        "\0",
    ]
    assert all(inside(folder, name) is None for name in names)
    report["figures"] = [
        {"file": name, "caption": "x", "group": "results"} for name in [*names, "figures/stub.png"]
    ]
    page = Page(render_html(report, folder))
    assert "img" not in {tag for tag, _ in page.tags}
    assert page.text.count("Missing figure") == len(names) + 1
    assert render_markdown(report, folder).count("Missing figure") >= len(names)


def test_rendering_does_not_change_the_report_and_accepts_parsed_json(
    folder: Path, report: dict[str, Any]
) -> None:
    before = copy.deepcopy(report)
    page = render_html(report, folder)
    assert report == before
    assert render_html(json.loads(json.dumps(report)), folder) == page


def test_escaped_text_is_one_line_without_markup() -> None:
    assert escaped("a|b\n*c* <d> & `e`") == r"a\|b \*c\* &lt;d&gt; &amp; \`e\`"


def test_control_characters_of_names_are_shown_escaped(report, folder: Path) -> None:
    hostile = "x\x1b[2J\u202egnp\x9b\x00\ud800"
    report["title"], report["notes"], report["next"] = hostile, [hostile], [hostile]
    for page in (render_html(report, folder), render_markdown(report, folder)):
        page.encode()
        assert r"\u202egnp\x9b\x00\ud800" in page.replace("\\\\", "\\")
        assert not set("\x1b\u202e\x9b\x00") & set(page)
