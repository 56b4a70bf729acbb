"""Two to four runs beside one another."""

from __future__ import annotations

import json
import shutil


def test_settings_that_differ_and_results_stand_beside_one_another(runs, open_pages):
    second = runs / "fake" / "second"
    settings = (second / "run.toml").read_text()
    assert "lr = 0.02\n" in settings
    (second / "run.toml").write_text(settings.replace("lr = 0.02\n", "lr = 0.125\n"))
    page = open_pages(runs).get("/compare?run=fake/first&run=fake/second").text
    _, differing = page.split("Settings that differ</h2>")
    assert '<tr><th scope="row">lr</th><td>0.02</td><td>0.125</td></tr>' in differing
    assert "batch_size" not in differing
    results = page.split("Curves</h2>")[0]
    assert "On the test images" in results
    assert "ROC AUC" in results
    assert "pneumo compare" in results


def test_runs_that_were_trained_alike_have_no_settings_that_differ(pages):
    assert (
        "None: the runs were trained in the same way."
        in pages.get("/compare?run=fake/first&run=fake/second").text
    )


def test_a_running_run_and_a_finished_one_can_be_compared(runs, open_pages):
    (runs / "fake" / "second" / "report.json").unlink()
    page = open_pages(runs).get("/compare?run=fake/first&run=fake/second")
    assert page.status_code == 200
    assert "interrupted" in page.text


def test_of_one_run_the_other_is_asked_for_and_five_runs_are_refused(runs, open_pages):
    for name in ("third", "fourth", "fifth"):
        shutil.copytree(runs / "fake" / "first", runs / "fake" / name)
    pages = open_pages(runs)
    five = "&".join(f"run=fake/{name}" for name in ("first", "second", "third", "fourth", "fifth"))
    for query in ("run=fake/first", "run=fake/first&run=fake/first", five):
        answer = pages.get(f"/compare?{query}")
        assert answer.status_code == (422 if query == five else 200)
        assert "two to four different runs" in answer.text
        assert "Settings that differ" not in answer.text
    assert pages.get(f"/compare?{five.removesuffix('&run=fake/fifth')}").status_code == 200


def test_a_run_that_is_gone_or_damaged_is_named(runs, open_pages):
    (runs / "fake" / "second" / "report.json").write_text("{")
    pages = open_pages(runs)
    assert "report.json is damaged" in pages.get("/compare?run=fake/first&run=fake/second").text
    assert pages.get("/compare?run=fake/first&run=fake/nowhere").status_code == 404


def test_negative_and_tiny_numbers_are_written_as_in_print(runs, open_pages):
    report = runs / "fake" / "first" / "report.json"
    content = json.loads(report.read_text())
    content["evaluations"]["test"] |= {"mcc": -0.25, "loss": 5.36e-5}
    content.setdefault("intervals", {})["test"] = {"mcc": [-0.5, 0.125]}
    report.write_text(json.dumps(content))
    page = open_pages(runs).get("/compare?run=fake/first&run=fake/second").text
    assert "−0.250 (−0.500 to 0.125)" in page
    assert " × 10⁻⁵" in page


def test_without_runs_the_page_says_how_to_choose_them(pages):
    assert "Choose two to four different runs" in pages.get("/compare").text
