"""A run that is looked at: while it is written, when it is damaged, and when it is gone."""

from __future__ import annotations

import json
import os
import shutil

import pytest

PROGRESS = "/run/progress?name=fake/first&log="


def row(epoch: int, loss: float = 0.5) -> str:
    return (
        json.dumps({"epoch": epoch, "train": {"loss": loss}, "validation": {"auc": 0.9}, "seconds": 2.0})
        + "\n"
    )


@pytest.fixture
def first(runs):
    """The folder of a run whose epochs the test writes."""
    folder = runs / "fake" / "first"
    (folder / "report.json").unlink()
    (folder / "metrics.jsonl").write_text("")
    return folder


def test_a_run_shows_its_settings_and_links_its_report(pages):
    page = pages.get("/run?name=fake/first").text
    assert "learning rate" in page.lower() or '<th scope="row">lr</th>' in page
    assert 'href="/reports/fake/first/report.html"' in page
    assert pages.get("/reports/fake/first/report.html").headers["content-type"] == "text/html; charset=utf-8"


def test_epochs_are_read_from_where_the_last_ones_ended(first, pages):
    file = first / "metrics.jsonl"
    file.write_text(row(0) + row(1))
    answer = pages.get(PROGRESS).json()
    assert [one["epoch"] for one in answer["rows"]] == [0, 1]
    assert answer["rows"][1] == {
        "epoch": 1, "train": {"loss": 0.5}, "validation": {"auc": 0.9}, "seconds": 2.0, "learning_rate": None,
        "images_per_second": None,
    }  # fmt: skip
    assert (answer["again"], answer["more"], answer["labels"]["auc"]) == (True, False, "ROC AUC")
    with file.open("a") as opened:
        opened.write(row(2))
    answer = pages.get(f"{PROGRESS}&epochs={answer['position']}").json()
    assert [one["epoch"] for one in answer["rows"]] == [2]
    assert answer["again"] is False
    answer = pages.get(f"{PROGRESS}&epochs={answer['position']}").json()
    assert answer["rows"] == []


def test_half_a_line_is_read_when_it_is_finished(first, pages):
    line = row(1)
    file = first / "metrics.jsonl"
    file.write_text(row(0) + line[:20])
    answer = pages.get(PROGRESS).json()
    assert ([one["epoch"] for one in answer["rows"]], answer["damaged"], answer["more"]) == ([0], 0, False)
    with file.open("a") as opened:
        opened.write(line[20:])
    answer = pages.get(f"{PROGRESS}&epochs={answer['position']}").json()
    assert [one["epoch"] for one in answer["rows"]] == [1]


def test_a_file_that_was_replaced_is_read_from_its_start(first, pages):
    file = first / "metrics.jsonl"
    file.write_text(row(0) + row(1))
    position = pages.get(PROGRESS).json()["position"]
    other = first / "other"
    other.write_text(row(0, 0.25) + row(1) + row(2))
    os.replace(other, file)
    answer = pages.get(f"{PROGRESS}&epochs={position}").json()
    assert answer["again"] is True
    assert [one["epoch"] for one in answer["rows"]] == [0, 1, 2]


def test_a_long_file_arrives_in_pieces(first, pages):
    (first / "metrics.jsonl").write_text("".join(map(row, range(5000))))
    epochs, position, answers = [], "", 0
    while True:
        answer = pages.get(f"{PROGRESS}&epochs={position}")
        assert len(answer.content) < 2**20
        content = answer.json()
        epochs += [one["epoch"] for one in content["rows"]]
        position, answers = content["position"], answers + 1
        if not content["more"]:
            break
    assert epochs == list(range(5000))
    assert answers > 1


@pytest.mark.parametrize(
    "line", ["{", "[1]", '"x"', '{"epoch": "NaN"}', "\x00", "[" * 5000, '{"epoch": NaN}']
)
def test_damaged_lines_are_counted_and_left_out(first, pages, line):
    (first / "metrics.jsonl").write_text(f"{row(0)}{line}\n{row(1)}")
    answer = pages.get(PROGRESS).json()
    assert ([one["epoch"] for one in answer["rows"]], answer["damaged"]) == ([0, 1], 1)


def test_what_is_no_number_is_none(first, pages):
    (first / "metrics.jsonl").write_text(
        '{"epoch": 1, "train": {"loss": NaN, "a": "<b>", "b": 1e999}, "seconds": []}\n'
    )
    (only,) = pages.get(PROGRESS).json()["rows"]
    assert only["train"] == {"loss": None, "a": None, "b": None}
    assert only["seconds"] is None


@pytest.mark.parametrize(
    "position", ["x", "1-", "-1--1", "99999999999999999999-5", "1-999999999999999", "²-²"]
)
def test_an_absurd_position_is_the_start(first, pages, position):
    (first / "metrics.jsonl").write_text(row(0))
    assert len(pages.get(f"{PROGRESS}&epochs={position}").json()["rows"]) == 1


def test_the_log_begins_with_its_last_lines_and_goes_on(first, pages):
    file = first / "log.txt"
    file.write_text("".join(f"line {n} {'x' * 90}\n" for n in range(5000)))
    answer = pages.get(PROGRESS).json()
    lines = answer["log"].splitlines()
    assert lines[0].startswith("line ")  # not the second half of one
    assert lines[-1].startswith("line 4999 ")
    assert len(answer["log"]) <= 2**16
    with file.open("a") as opened:
        opened.write("one more\nand ha")
    answer = pages.get(f"/run/progress?name=fake/first&log={answer['logPosition']}").json()
    assert (answer["log"], answer["logAgain"]) == ("one more\n", False)


def test_metrics_in_the_log_are_shown_without_json(first, pages):
    values = '{"loss": 0.12345678901234, "auc": 1.0, "more": {"n": 3}}'
    start = "2026-01-02 03:04:05,678 INFO epoch"
    (first / "log.txt").write_text(f"{start} 3: validation {values}\n{start} 4: validation {{}}\n{{broken\n")
    assert pages.get(PROGRESS).json()["log"].splitlines() == [
        "2026-01-02 03:04:05 epoch 3: validation loss 0.1235, auc 1, more n 3",
        "2026-01-02 03:04:05 epoch 4",
        "{broken",
    ]


def test_of_a_run_with_a_file_that_cannot_be_read_the_others_are_shown(first, runs, open_pages):
    (first / "metrics.jsonl").unlink()
    os.mkfifo(first / "metrics.jsonl")
    (first / "log.txt").write_text("the log\n")
    (first / "report.html").write_text("")
    pages = open_pages(runs)
    page = pages.get("/run?name=fake/first")
    assert page.status_code == 200
    assert "metrics.jsonl is no regular file." in page.text
    assert '<th scope="row">lr</th>' in page.text
    answer = pages.get(PROGRESS).json()
    assert answer["log"] == "the log\n"
    assert (answer["rows"], answer["problems"]) == ([], [])  # the page says it already
    assert "is empty" in pages.get("/reports/fake/first/report.html").text


def test_a_run_leads_to_its_predictions_and_to_a_comparison(pages):
    page = pages.get("/run?name=fake/first").text
    assert 'href="/predict?name=fake/first"' in page
    assert 'href="/compare?run=fake/first"' in page
    assert "names no run" in pages.get("/run").text


def test_the_time_left_comes_from_the_last_epochs(first, runs, open_pages):
    fcntl = pytest.importorskip("fcntl")
    settings = (first / "run.toml").read_text().replace("epochs = 1\n", "epochs = 11\n")
    (first / "run.toml").write_text(settings)
    (first / "metrics.jsonl").write_text(row(0) + row(1))
    with (first / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = open_pages(runs).get(PROGRESS).json()
    assert answer["state"] == "running"
    assert answer["left"] == "about 20.0 s for 10 more epochs"


def test_images_of_epochs_are_served_as_png_and_nothing_else_is(first, runs, open_pages):
    from PIL import Image

    shutil.rmtree(first / "samples", ignore_errors=True)
    (first / "samples").mkdir()
    for epoch in (0, 1, 12):
        Image.new("L", (8, 8), epoch).save(first / "samples" / f"epoch-{epoch:03}.png")
    (first / "samples" / "epoch-002.png").write_text("<script>")
    pages = open_pages(runs)
    assert pages.get(PROGRESS).json()["images"] == [0, 1, 2, 12]
    answer = pages.get("/run/images?name=fake/first&epoch=12")
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == (first / "samples" / "epoch-012.png").read_bytes()
    assert pages.get("/run/images?name=fake/first&epoch=2").status_code == 422
    for epoch in ("3", "-1", "../1", "", "99999999", "²"):
        assert pages.get("/run/images", params={"name": "fake/first", "epoch": epoch}).status_code == 404


def test_checkpoints_are_listed_with_their_size(pages):
    files = pages.get(PROGRESS).json()["files"]
    assert "best.pt" in files
    assert "MB" in files


def test_a_run_that_is_deleted_while_it_is_looked_at_is_not_there_any_more(runs, pages):
    assert pages.get("/run?name=fake/first").status_code == 200
    shutil.rmtree(runs / "fake" / "first")
    for address in ("/run?name=fake/first", PROGRESS, "/reports/fake/first/report.html"):
        answer = pages.get(address)
        assert answer.status_code == 404, address
        assert "first" in answer.text
    assert pages.get("/run?name=fake/second").status_code == 200


def test_a_run_without_a_report_says_when_it_comes(first, runs, open_pages):
    (first / "report.html").unlink()
    pages = open_pages(runs)
    answer = pages.get("/reports/fake/first/report.html")
    assert answer.status_code == 422
    assert "at its end" in answer.text
    assert 'report.html" hidden>' in pages.get("/run?name=fake/first").text


FIGURES = {"roc.pdf": b"%PDF-1.4 etc", "roc-300dpi.png": b"\x89PNG\r\n\x1a\n etc"}


def test_figures_for_print_are_served_and_nothing_else_beside_them(runs, open_pages):
    figures = runs / "fake" / "first" / "figures"
    figures.mkdir(exist_ok=True)
    for name, content in FIGURES.items():
        (figures / name).write_bytes(content)
    (figures / "page.pdf").write_text("<script>")
    (figures / "page.html").write_text("<script>")
    (runs.parent / "outside.pdf").write_bytes(FIGURES["roc.pdf"])
    (figures / "link.pdf").symlink_to(runs.parent / "outside.pdf")
    os.mkfifo(figures / "pipe.pdf")
    pages = open_pages(runs)
    for name, kind in (("roc.pdf", "application/pdf"), ("roc-300dpi.png", "image/png")):
        answer = pages.get(f"/reports/fake/first/figures/{name}")
        assert (answer.status_code, answer.content) == (200, FIGURES[name])
        assert answer.headers["content-type"] == kind
        assert answer.headers["content-disposition"] == f'inline; filename="{name}"'
        assert answer.headers["x-content-type-options"] == "nosniff"
    for name in ("page.pdf", "link.pdf", "pipe.pdf"):
        assert pages.get(f"/reports/fake/first/figures/{name}").status_code == 422
    for path in ("fake/first/figures/page.html", "fake/first/figures/none.pdf", "fake/figures/roc.pdf"):
        assert pages.get(f"/reports/{path}").status_code == 404


def test_a_run_that_is_being_started_has_no_settings_yet(first, runs, open_pages):
    fcntl = pytest.importorskip("fcntl")
    (first / "run.toml").unlink()
    with (first / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "being started" in open_pages(runs).get("/run?name=fake/first").text


def test_an_unexpected_error_is_a_page_and_the_server_stays_up(pages, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("<b>nobody knew</b>")

    monkeypatch.setattr("pneumo_ui.run_page.settings_of", fail)
    answer = pages.get("/run?name=fake/first")
    assert answer.status_code == 500
    assert "ZeroDivisionError: &lt;b&gt;nobody knew" in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert pages.get("/").status_code == 200
