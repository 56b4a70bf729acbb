"""Images that are dropped on the page, in a real browser."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.testing import TinyDataset
from tests.browser import violations

pytestmark = pytest.mark.slow

DESK, PHONE = {"width": 1280, "height": 800}, {"width": 400, "height": 800}
DROP = """([name, content]) => {
  const data = new DataTransfer();
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  data.items.add(new File([bytes], name));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    const event = new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
    document.getElementById("drop").dispatchEvent(event);
  }
}"""


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Path]:
    """Files: two radiographs of the dataset that the runs are of, noise, and a text."""
    data, folder = TinyDataset("tiny"), tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    levels = {"film": data.read(data.records[0]), "other": data.read(data.records[-1]), "noise": noise}
    files = {name: folder / f"{name}.png" for name in levels}
    for name, file in files.items():
        Image.fromarray(levels[name]).save(file)
    files["text"] = folder / "notes.txt"
    files["text"].write_text("no image\n")
    return files


@pytest.fixture
def page(browser, runs, serve):
    """The page "Predict" of the run ``fake/first``; what fails in its scripts fails the test."""
    context = browser.new_context(viewport=DESK)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{serve(runs).address}predict?name=fake/first")
    page.wait_for_selector(".examples button")
    yield page
    context.close()
    assert errors == []


def test_a_chosen_image_gets_its_probability_its_decisions_and_its_map_of_evidence(page, images):
    page.locator("#files").set_input_files(images["film"])
    page.wait_for_selector("#detail:not([hidden])", timeout=60_000)
    assert page.locator("#detail-title").inner_text() == "film.png"
    assert page.locator("#verdict").inner_text() in TinyDataset.classes
    shares = page.locator("#shares .share").all_inner_texts()
    assert len(shares) == 2
    assert all("%" in share for share in shares)
    assert "Calibrated on" in page.locator("#calibration").inner_text()
    points = page.locator("#points tbody th").all_inner_texts()
    assert points[0] == "default (in use)"
    assert {"balanced", "screening", "cost"} <= set(points)
    assert page.locator("#evidence").evaluate("image => image.decode().then(() => image.naturalWidth)") == 32
    assert "raised its score most" in page.locator("#evidence-note").inner_text()
    assert "synthetic images" in page.locator("#doubts").inner_text()
    assert "no medical device" in page.locator("main").inner_text()


def test_a_dropped_image_unlike_the_training_images_comes_with_a_warning(page, images):
    page.evaluate(DROP, ["noise.png", base64.b64encode(images["noise"].read_bytes()).decode()])
    page.wait_for_selector("#detail:not([hidden])", timeout=60_000)
    assert page.locator("#detail-title").inner_text() == "noise.png"
    assert "Do not trust it: unlike the training images" in page.locator("#doubts").inner_text()
    assert page.evaluate("document.querySelector('.drop.over') === null")


def test_several_files_become_a_table_in_which_a_text_has_its_reason(page, images):
    page.locator("#files").set_input_files([images[name] for name in ("film", "text", "other")])
    page.wait_for_selector("text=3 images, 1 could not be predicted.", timeout=60_000)
    rows = page.locator("#results tbody tr")
    assert rows.count() == 3
    failed = page.locator("#results tr.failed").inner_text()
    assert "notes.txt" in failed
    assert "not a JPEG, PNG" in failed
    assert page.locator("#detail").is_hidden()
    page.get_by_role("button", name="other.png").click()
    assert page.locator("#detail-title").inner_text() == "other.png"


def test_an_example_is_predicted_with_the_keyboard_alone(page):
    focused = "document.activeElement.id || document.activeElement.getAttribute('aria-label')"
    seen = []
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.append(str(page.evaluate(focused)))
        if seen[-1].startswith("Predict the example"):
            break
    assert {"model", "files"} <= set(seen)
    sizes = page.locator(".examples img").evaluate_all("all => all.map((image) => image.naturalWidth)")
    assert max(sizes) <= 192
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail:not([hidden])", timeout=60_000)
    assert page.evaluate("document.activeElement.id") == "detail"
    assert page.locator("#detail-title").inner_text() in seen[-1]


def test_an_image_is_shown_while_it_is_predicted_and_the_next_model_is_used_for_the_next(page, images):
    page.locator("#files").set_input_files(images["film"])
    assert "Predicting film.png" in page.locator("#progress").inner_text()
    page.wait_for_selector("text=1 image.", timeout=60_000)
    with page.expect_request("**/predict/image?name=fake%2Fsecond") as sent:
        page.locator("#model").select_option("fake/second")
        page.locator("#files").set_input_files(images["other"])
    assert sent.value.method == "POST"
    page.wait_for_selector("text=2 images.", timeout=60_000)


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_the_page_fits_the_window_and_axe_finds_nothing(browser, runs, serve, images, size):
    served = serve(runs)
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport=size, bypass_csp=True, color_scheme=scheme)
        page = context.new_page()
        page.goto(f"{served.address}predict?name=fake/first")
        page.wait_for_selector(".examples button")
        assert violations(page) == []
        page.locator("#files").set_input_files([images[name] for name in ("film", "text", "noise")])
        page.wait_for_selector("text=3 images", timeout=60_000)
        page.get_by_role("button", name="noise.png").click()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        context.close()
