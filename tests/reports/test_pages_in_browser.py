"""Pages in a real browser: accessible, no wider than the screen, sorted, searched, read, played and printed."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.reports.document import Commands, Document, Folded, Paragraph, Pictures, Section, Table
from pneumo_cli.reports.figures import style, training
from pneumo_cli.reports.figures.animation import write_animation
from pneumo_cli.reports.html import render_document
from pneumo_cli.testing import Invocation
from tests.browser import violations
from tests.programs import disabled

pytestmark = pytest.mark.slow

PLUGINS = (
    *("pneumo-cnn", "pneumo-feature-extraction", "pneumo-fine-tuning", "pneumo-gan", "pneumo-autoencoder"),
    *(
        "pneumo-torchvision",
        "pneumo-chest-xray",
        "pneumo-compare",
        "pneumo-sweep",
        "pneumo-audit",
        "pneumo-reproduce",
    ),
)
TINY = ("--dataset", "chest-xray", "--threads", "1", "--precision", "fp32")
RUN = (*TINY, "--epochs", "2", "--image-size", "32", "--batch-size", "16", "--output", "runs")
NETWORK = ("--model", "mobilenet-v3-small", "--weights", "none")
REPRODUCE = (
    "--only",
    "cnn",
    "--dataset",
    "chest-xray",
    "--preset",
    "quick",
    "--threads",
    "1",
    "--output",
    "again",
)
PAGES: dict[str, list[tuple[str, ...]]] = {
    "cnn": [("run", "cnn", *RUN)],
    "feature-extraction": [("run", "feature-extraction", *NETWORK, *RUN)],
    "fine-tuning": [("run", "fine-tuning", *NETWORK, *RUN)],
    "gan": [("run", "gan", *RUN)],
    "autoencoder": [("run", "autoencoder", *RUN)],
    "group": [("run", "cnn", *RUN, "--seeds", "2")],
    "compare": [
        ("run", "cnn", *RUN),
        ("run", "cnn", *RUN, "--seed", "7"),
        ("compare", "runs/cnn/*", "--out", "c.html"),
    ],
    "sweep": [("sweep", "cnn", *RUN, "--set", "lr=0.1,0.2")],
    "audit": [("data", "audit", "--dataset", "chest-xray", "--out", "audit")],
    "reproduce": [("reproduce", *REPRODUCE)],
}
MEASURED = """() => [
  document.documentElement.scrollWidth - innerWidth,
  [...document.querySelectorAll('.table')].filter(frame => frame.scrollWidth > frame.clientWidth + 1)
    .map(frame => `${frame.scrollWidth} > ${frame.clientWidth}: ${frame.innerText.slice(0, 60)}`),
]"""
UNFOLD = "document.querySelectorAll('details').forEach(details => details.open = true)"


@pytest.fixture(scope="session")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise with a disc where the class is PNEUMONIA, under names as long as the real ones."""
    root = tmp_path_factory.mktemp("data") / "chest_xray"
    rng = np.random.default_rng(0)
    for pool, count in (("train", 60), ("val", 8), ("test", 40)):
        for number in range(count):
            pixels = rng.integers(60, 200, (40, 40), dtype=np.uint8)
            sick = number % 2
            pixels[12:28, 12:28] += 40 * sick
            name = f"person{1900 + number}_{'bacteria' if number % 4 > 1 else 'virus'}_{4800 + number}.jpeg"
            name = name if sick else f"NORMAL2-IM-{1300 + number}-0001-0002.jpeg"
            file = root / pool / ("PNEUMONIA" if sick else "NORMAL") / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    return root


@pytest.mark.parametrize("kind", PAGES)
def test_every_kind_of_page_is_accessible_and_no_wider_than_the_screen(
    kind: str,
    radiographs: Path,
    browser: Any,
    pneumo: Callable[..., Invocation],
    fakes: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PNEUMO_DISABLE_PLUGINS", disabled(*PLUGINS))
    monkeypatch.setenv("PNEUMO_DATA_ROOT", str(radiographs))
    for command in PAGES[kind]:
        arguments = [found for one in command for found in (sorted(glob.glob(one)) if "*" in one else [one])]
        ended = pneumo(*arguments)
        assert ended.code == (kind == "audit"), ended.stderr  # the audit finds patients in both pools
    file = max(fakes.rglob("*.html"), key=lambda each: (-len(each.parts), each.stat().st_mtime))
    for width, scheme in ((1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")):
        options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "bypass_csp": True}
        page = browser.new_context(**options).new_page()
        page.goto(file.as_uri())
        for unfolded in (False, True):
            if unfolded:
                page.evaluate(UNFOLD)
            beyond, wide = page.evaluate(MEASURED)
            assert beyond <= 0
            assert wide == [] or width == 400
            if width == 1280 or unfolded:
                assert violations(page) == [], f"{scheme}, unfolded: {unfolded}"
        page.context.close()


ROWS = tuple(
    (
        f"person{number}.jpeg",
        f"{number / 40:.3f} (0.1–0.9)",
        "–" if number == 5 else f"{1000 - 30 * number:,}",
        "12 %",
    )
    for number in range(20)
)


@pytest.fixture
def page_of(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page of some blocks, under its own security policy: ``page_of(*blocks, **context options)``."""
    contexts = []

    def open_page(*blocks: Any, folded: bool = False, **options: Any) -> Any:
        sections = (
            Section("s", "Section", blocks, folded=folded),
            Section("t", "Other", (Paragraph("text"),)),
        )
        page = Document("t", "", (), "", "", "", (), sections, "")
        (tmp_path / "page.html").write_text(render_document(page, tmp_path))
        contexts.append(browser.new_context(**options))
        opened = contexts[-1].new_page()
        opened.on("pageerror", lambda error: pytest.fail(str(error)))
        opened.goto((tmp_path / "page.html").as_uri())
        return opened

    yield open_page
    for context in contexts:
        context.close()


def column(page: Any, number: int) -> list[str]:
    return page.locator(f"tbody tr:not([hidden]) > :nth-child({number})").all_inner_texts()


def test_a_long_table_is_sorted_by_its_headings(page_of) -> None:
    head = ("Name", "AUC", "Images", "Share")
    page = page_of(Table(head, ROWS, numeric=frozenset({1, 2, 3})))
    heading = page.get_by_role("columnheader", name="Images")
    page.get_by_role("button", name="Images").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column(page, 3)[:2] == ["430", "460"]  # as numbers, with what is missing last
    assert column(page, 3)[-2:] == ["1,000", "–"]
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert column(page, 3)[0] == "1,000"
    assert column(page, 3)[-1] == "–"
    page.get_by_role("button", name="Name").click()
    assert column(page, 1)[:3] == ["person0.jpeg", "person1.jpeg", "person2.jpeg"]  # and not 0, 1, 10
    page.get_by_role("button", name="AUC").click()
    page.get_by_role("button", name="AUC").click()
    assert column(page, 2)[0].startswith("0.475")
    assert page.locator("th[aria-sort]").count() == 1


def test_a_long_table_is_searched_and_says_how_many_rows_are_left(page_of) -> None:
    page = page_of(Table(("Name", "AUC", "Images", "Share"), ROWS, title="Errors"))
    page.get_by_label("Search: Errors").fill("Person1 0.4")
    assert column(page, 1) == ["person16.jpeg", "person17.jpeg", "person18.jpeg", "person19.jpeg"]
    assert page.get_by_role("status").inner_text() == "4 of 20"


def test_columns_of_long_paths_are_no_wider_than_the_page(page_of) -> None:
    path = "/folder/of/somebody/who-likes-long-names/and_more_of_them/2026-11-28/cache/pneumo"
    head = ("Setting", "Value", "Preset", "Default", "Set by", "Meaning")
    row = (
        "data_home",
        path,
        path,
        path,
        "PNEUMO_DATA_HOME",
        "folder of imported datasets, and what it is for " * 3,
    )
    page = page_of(Table(head, (row,)), viewport={"width": 1280, "height": 900}, bypass_csp=True)
    assert page.evaluate(MEASURED) == [0, []]


def test_a_short_table_and_a_page_without_scripts_are_as_they_are(page_of) -> None:
    page = page_of(Table(("Name", "AUC", "Images", "Share"), ROWS[:9]))
    assert page.locator("button, input").count() == 0
    page = page_of(Table(("Name", "AUC", "Images", "Share"), ROWS), java_script_enabled=False)
    assert page.locator("button, input").count() == 0
    assert len(column(page, 1)) == 20


@pytest.fixture
def curve(tmp_path: Path) -> Pictures:
    history = [
        {"epoch": epoch, "train": {"loss": 1 / (1 + epoch)}, "validation": {"loss": 0.5 + 0.1 * epoch}}
        for epoch in range(4)
    ]
    style.save(training.curve(history, "loss"), tmp_path / "loss.png")
    style.save(training.curves(history, ["loss", "loss"]), tmp_path / "wide.png")
    return Pictures((("loss.png", "Loss"), ("wide.png", "Loss twice")))


@pytest.mark.parametrize("width", [1280, 400])
def test_the_values_of_lines_are_shown_where_one_points(page_of, curve, width: int) -> None:
    page = page_of(curve, viewport={"width": width, "height": 900})
    reader = page.get_by_role("slider").first
    box = reader.bounding_box()
    page.mouse.move(box["x"] + 0.97 * box["width"], box["y"] + 0.5 * box["height"])
    assert reader.locator(".values span").all_inner_texts() == [
        "Loss",
        "Epoch 3",
        "Training 0.25",
        "Validation 0.8",
    ]
    dots = reader.locator(".dot")
    assert dots.count() == 2
    assert dots.first.bounding_box()["y"] > dots.last.bounding_box()["y"]  # 0.25 is below 0.8
    page.mouse.move(box["x"] + 5, box["y"] - 5)
    assert dots.count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_values_of_lines_are_read_with_the_keyboard(page_of, curve) -> None:
    page = page_of(curve)
    reader = page.get_by_role("slider").last
    reader.focus()
    for key, expected in {
        "ArrowRight": "Loss · Epoch 0 · Training 1 · Validation 0.5",
        "End": "Loss · Epoch 3 · Training 0.25 · Validation 0.8",
        "ArrowLeft": "Loss · Epoch 2 · Training 0.3333 · Validation 0.7",
        "ArrowDown": "Loss · Epoch 2 · Training 0.3333 · Validation 0.7",  # of the second axes
    }.items():
        before = reader.locator(".rule").get_attribute("style") if reader.locator(".rule").count() else ""
        page.keyboard.press(key)
        assert reader.get_attribute("aria-valuetext") == expected
        assert reader.locator(".rule").get_attribute("style") != before
    page.keyboard.press("Escape")
    assert reader.locator(".values").count() == 0


def test_hostile_labels_of_lines_are_shown_as_text(page_of, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot([0, 1, 2], [0, 1, 2], label="<img src=x onerror=alert(1)>")
    style.save(figure, tmp_path / "hostile.png")
    page = page_of(Pictures((("hostile.png", "x"),)))
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    assert "<img src=x onerror=alert(1)> 0" in page.locator(".values").inner_text()
    assert page.locator("figure img").count() == 1


def test_an_animation_plays_until_it_is_stopped_and_not_where_motion_is_unwanted(
    page_of, tmp_path: Path
) -> None:
    frames = []
    for level in (0, 128, 255):
        frames.append(tmp_path / f"{level}.png")
        Image.new("L", (60, 60), level).save(frames[-1])
    write_animation(frames, tmp_path / "moving.png")
    moving = Pictures((("moving.png", "By epoch"),))
    page = page_of(moving)
    image = page.locator("figure img")
    still = "data:image/webp"
    assert not image.get_attribute("src").startswith(still)
    page.get_by_role("button", name="Stop").click()
    assert image.get_attribute("src").startswith(still)
    page = page_of(moving, reduced_motion="reduce")
    assert page.locator("figure img").get_attribute("src").startswith(still)
    page.get_by_role("button", name="Play").press("Enter")
    assert not page.locator("figure img").get_attribute("src").startswith(still)
    page = page_of(moving, java_script_enabled=False)
    assert page.locator("figure img").get_attribute("src").startswith(still)


def test_what_is_folded_stays_folded_in_print_and_controls_are_left_out(page_of) -> None:
    table = Table(("Name", "AUC", "Images", "Share"), ROWS)
    page = page_of(table, Folded("Details", (Paragraph("a secret"),)), Commands(("pneumo run cnn",)))
    page.get_by_label("Search").fill("person1")
    page.emulate_media(media="print")
    assert not page.get_by_text("a secret").is_visible()
    assert not page.get_by_role("searchbox").is_visible()
    assert len(column(page, 1)) == 11
    assert page.pdf().startswith(b"%PDF")


def test_a_link_to_a_folded_section_opens_it_and_its_title_is_a_heading(page_of) -> None:
    page = page_of(Paragraph("inside"), folded=True)
    assert page.get_by_role("heading", name="Section", level=2).is_visible()
    assert not page.get_by_text("inside").is_visible()
    page.get_by_role("navigation").get_by_text("Section").click()
    assert page.get_by_text("inside").is_visible()
