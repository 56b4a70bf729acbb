"""The pages in a real browser: what changes by itself, what the keyboard reaches, and what a phone shows."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.browser import violations

pytestmark = pytest.mark.slow

DESK, PHONE = {"width": 1280, "height": 800}, {"width": 400, "height": 800}


@pytest.fixture
def page(browser):
    """An empty page; what it logs as an error fails the test."""
    context = browser.new_context(viewport=DESK, bypass_csp=False)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert [error for error in errors if not error.startswith("Failed to load resource")] == []


def until(page, condition: str) -> None:
    """Wait for a condition. Playwright's own way would evaluate a text in the page, which its policy forbids."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        time.sleep(0.1)
    raise AssertionError(condition)


def test_the_list_is_filtered_sorted_and_kept_up_to_date_without_a_reload(page, runs, serve, finished):
    served = serve(runs)
    page.goto(served.address)
    page.evaluate("window.untouched = true")
    page.get_by_label("Search").fill("first")
    until(page, "document.querySelectorAll('.runs tbody tr').length === 1")
    assert "text=first" in page.url
    page.get_by_label("Search").fill("")
    until(page, "document.querySelectorAll('.runs tbody tr').length === 2")
    page.get_by_role("link", name="Run", exact=True).click()
    page.wait_for_selector("th[aria-sort=ascending]")
    shutil.copytree(finished, runs / "fake" / "another")
    page.wait_for_selector("text=fake/another", timeout=20_000)
    shutil.rmtree(runs / "fake" / "another")
    page.wait_for_selector("text=fake/another", state="detached", timeout=20_000)
    assert page.evaluate("window.untouched")


def test_runs_are_chosen_and_compared(page, runs, serve):
    page.goto(serve(runs).address)
    assert page.get_by_role("button", name="Compare").is_disabled()
    page.get_by_label("Choose fake/first").check()
    page.get_by_label("Choose fake/second").check()
    page.wait_for_timeout(2500)  # the list is replaced, and the choice stays
    page.get_by_role("button", name="Compare").click()
    page.wait_for_selector("#first svg path.line.k1")
    assert page.url.endswith("/compare?run=fake%2Ffirst&run=fake%2Fsecond")
    page.locator("#first select").select_option(label="ROC AUC, validation images")
    assert "ROC AUC" in page.locator("#first svg").get_attribute("aria-label")


def test_the_keyboard_alone_reaches_everything(page, runs, serve):
    page.goto(serve(runs).address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    names = []
    for _ in range(40):
        page.keyboard.press("Tab")
        names.append(
            page.evaluate(
                "document.activeElement.getAttribute('aria-label') || document.activeElement.innerText"
            )
        )
        if names[-1] == "Choose fake/first":
            break
    assert {"Run", "State", "Started ▾"} <= set(names)
    page.keyboard.press("Space")
    while page.evaluate("document.activeElement.innerText") != "fake/first":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#losses svg path.line")
    page.locator("#losses svg").focus()
    page.keyboard.press("Home")
    until(page, "document.querySelector('#losses .readout').textContent.startsWith('Epoch 0:')")
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('#losses .readout').textContent.startsWith('Epoch 1:')")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_the_slider_shows_the_images_of_each_epoch(page, runs, serve):
    from PIL import Image

    samples = runs / "fake" / "first" / "samples"
    samples.mkdir(exist_ok=True)
    for epoch in (0, 5, 10):
        Image.new("L", (16, 16), epoch * 20).save(samples / f"epoch-{epoch:03}.png")
    page.goto(f"{serve(runs).address}run?name=fake/first")
    slider = page.get_by_label("Epoch", exact=True)
    slider.wait_for()
    until(page, "document.getElementById('epoch-shown').textContent === '10 of 10'")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    until(page, "document.getElementById('sample').src.endsWith('epoch=5')")
    until(page, "document.getElementById('sample').naturalWidth === 16")
    assert slider.get_attribute("aria-valuetext") == "epoch 5"


def test_a_report_opens_with_its_own_script_and_without_reaching_the_page(page, runs, serve):
    page.goto(f"{serve(runs).address}run?name=fake/first")
    page.get_by_role("link", name="Open the report").click()
    page.wait_for_selector("text=pneumo report")
    assert page.evaluate("window.origin") == "null"


def test_with_a_token_the_links_of_a_report_lead_to_other_reports(page, runs, serve):
    report = runs / "fake" / "first" / "report.html"
    report.write_text('<a href="../second/report.html">the other one</a>')
    page.goto(serve(runs, "--token", "abcDEF_0123-xyz").address)
    page.get_by_role("link", name="fake/first").click()
    page.get_by_role("link", name="Open the report").click()
    page.get_by_role("link", name="the other one").click()
    page.wait_for_selector("text=pneumo report")
    assert page.url.endswith("/reports/fake/second/report.html")
    assert page.evaluate("window.origin") == "null"


def test_the_page_of_a_group_is_kept_up_to_date_without_a_reload(page, runs, serve, finished):
    group = runs / "fake" / "folds"
    shutil.copytree(finished, group / "members" / "fold-1")
    shutil.copy(finished / "run.toml", group / "group.toml")
    page.goto(f"{serve(runs).address}run?name=fake/folds")
    page.wait_for_selector(".members li")
    assert page.locator(".members li").count() == 1
    page.evaluate("window.untouched = true")
    shutil.copytree(finished, group / "members" / "fold-2")
    page.wait_for_selector("text=fold-2", timeout=20_000)
    assert page.evaluate("window.untouched")


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_no_page_is_wider_than_the_window_and_axe_finds_nothing(browser, runs, serve, size):
    served = serve(runs)
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport=size, bypass_csp=True, color_scheme=scheme)
        page = context.new_page()
        for path in (
            "",
            "run?name=fake/first",
            "compare?run=fake/first&run=fake/second",
            "compare",
            "run?name=nowhere",
        ):
            page.goto(served.address + path)
            page.wait_for_timeout(700)
            assert violations(page) == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
        context.close()


def test_a_deleted_run_and_a_stopped_server_are_said_on_the_open_page(page, runs, serve):
    served = serve(runs)
    page.goto(f"{served.address}run?name=fake/first")
    page.wait_for_selector("#losses svg path.line")
    shutil.rmtree(runs / "fake" / "first")
    page.wait_for_selector("text=The run was deleted or renamed", timeout=20_000)
    assert page.locator("#losses svg path.line").count() > 0
    served.end()
    page.wait_for_selector("text=The server does not answer", timeout=30_000)


def test_a_live_run_is_followed_without_a_reload_and_without_growth(page, runs, serve, processes, tmp_path):
    run = processes.start(
        tmp_path,
        "run",
        "fake",
        "--epochs",
        400,
        "--output",
        runs,
        "--threads",
        1,
        "--no-report",
        "--precision",
        "fp32",
    )
    for _ in range(600):
        live = [path.parent for path in runs.glob("fake/2*/metrics.jsonl")]
        if live:
            break
        time.sleep(0.1)
    served = serve(runs)
    page.goto(f"{served.address}run?name=fake/{live[0].name}")
    page.wait_for_selector("#losses svg path.line")
    page.evaluate("window.untouched = true")
    memory = []
    for _ in range(5):
        time.sleep(4)
        memory.append((_heap(page), _resident(served.process), _epochs(page)))
    assert page.evaluate("window.untouched")
    assert memory[-1][2] > memory[0][2]  # epochs have been added
    assert memory[-1][0] - memory[1][0] < 4 * 2**20, memory
    assert memory[-1][1] - memory[1][1] < 20 * 2**20, memory
    os.kill(run, 2)
    processes.wait(run)
    page.wait_for_selector(".badge.interrupted, .badge.finished", timeout=30_000)


def _heap(page) -> int:
    """Bytes of the page's JavaScript objects that are in use."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    metrics = session.send("Performance.getMetrics")["metrics"]
    session.detach()
    return int(next(metric["value"] for metric in metrics if metric["name"] == "JSHeapUsedSize"))


def _resident(process: int) -> int:
    """Bytes of memory of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024


def _epochs(page) -> int:
    return int(page.locator("#epoch-table tbody th").first.inner_text())
