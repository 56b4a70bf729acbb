"""Images that are sent to be predicted: the numbers of the command, and a line for what cannot be predicted."""

from __future__ import annotations

import asyncio
import io
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.testing import TinyDataset
from pneumo_ui import examples, prediction_page, uploads

ORIGIN = {"Origin": "http://127.0.0.1:8765"}
RUN = "fake/first"


@pytest.fixture
def film() -> bytes:
    """A radiograph of the dataset that the runs are of, as a PNG file."""
    data = TinyDataset("tiny")
    return png(data.read(data.records[0]))


def png(levels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG")
    return file.getvalue()


def send(pages, content: bytes, run: str = RUN, name: str = "film.png"):
    return pages.post(f"/predict/image?name={run}", content=content, headers={**ORIGIN, "X-File-Name": name})


def files_below(folder: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("*")}


def test_an_image_gets_the_numbers_of_the_command_at_every_operating_point(pages, runs, film, pneumo, fakes):
    (fakes / "film.png").write_bytes(film)
    before = files_below(runs)
    found = send(pages, film).json()
    assert files_below(runs) == before
    for point in ("default", "balanced", "screening", "cost"):
        printed = json.loads(
            pneumo("predict", runs / RUN, "film.png", "--json", "--operating-point", point).stdout
        )
        (row,) = printed["predictions"]
        (decision,) = (one for one in found["decisions"] if one["point"] == point)
        assert decision["predicted"] == [row["decision"]]
        shares = {one["name"]: one["share"] for one in found["shares"]}
        assert shares[printed["classes"][1]] == pytest.approx(row["probability"], abs=1e-6)
    assert [one["point"] for one in found["decisions"] if one["used"]] == ["default"]
    assert "validation images" in found["calibration"]
    assert found["overlay"].startswith("data:image/webp;base64,")
    assert found["synthetic"] is True


def test_an_image_unlike_the_training_images_is_remarked_on(pages):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    assert any("out of distribution" in doubt for doubt in send(pages, png(noise)).json()["doubts"])


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"", 200, "empty"),
        (b"no image", 200, "not a JPEG, PNG"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, 200, "damaged"),
    ],
)
def test_what_is_no_image_gets_a_line_and_the_server_goes_on(pages, film, content, status, reason):
    answer = send(pages, content)
    assert answer.status_code == status
    assert reason in answer.json()["error"]
    assert "shares" in send(pages, film).json()


def test_a_file_of_more_than_64_mb_is_refused(pages):
    assert send(pages, b"\0" * (64 * 2**20 + 1)).status_code == 413


def test_an_image_of_200_megapixels_is_not_decoded(pages):
    file = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(file, "PNG")
    assert "more than 100 million" in send(pages, file.getvalue()).json()["error"]


def test_fifty_images_at_once_are_predicted_one_after_another(pages, film):
    with ThreadPoolExecutor(50) as threads:
        answers = [*threads.map(lambda number: send(pages, film, name=f"{number}.png"), range(50))]
    assert {answer.status_code for answer in answers} == {200}
    assert len({json.dumps(answer.json()["shares"]) for answer in answers}) == 1


def test_fifty_images_that_wait_leave_the_other_pages_quick(pages, film, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def slow(_state, _entry, name, _content):
        begun.set()
        assert go_on.wait(60)
        return {"file": name}

    monkeypatch.setattr(prediction_page, "_predicted", slow)
    with ThreadPoolExecutor(50) as threads:
        answers = [threads.submit(send, pages, film, name=f"{number}.png") for number in range(50)]
        assert begun.wait(60)
        while uploads_of(pages).held < 50 * len(film):
            time.sleep(0.01)
        try:
            for path in ("/", f"/run?name={RUN}", "/predict"):
                assert pages.get(path).status_code == 200
            assert not any(answer.done() for answer in answers)
        finally:
            go_on.set()
    assert {answer.result().json()["file"] for answer in answers} == {f"{number}.png" for number in range(50)}
    assert uploads_of(pages).held == 0


def uploads_of(pages) -> uploads.Uploads:
    return pages.app._app.state.pneumo.uploads


def test_images_that_wait_take_a_bounded_memory_and_further_ones_are_told_to_come_again(
    pages, film, monkeypatch
):
    monkeypatch.setattr(uploads, "MOST", 100_000)
    uploads_of(pages).held = 100_000 - len(film) + 1  # of others
    answer = send(pages, film)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "waiting already" in answer.json()["error"]
    uploads_of(pages).held -= 1
    assert send(pages, film).status_code == 200
    assert uploads_of(pages).held == 100_000 - len(film)


@pytest.mark.parametrize(("part", "whole"), [(0.2, 60.0), (60.0, 0.2)])
def test_an_image_that_arrives_too_slowly_is_given_up_and_holds_nothing(pages, monkeypatch, part, whole):
    monkeypatch.setattr("pneumo_ui.safety._PART_SECONDS", part)
    monkeypatch.setattr("pneumo_ui.safety._BODY_SECONDS", whole)
    sent = []

    async def receive():
        await asyncio.sleep(0.05 if whole < part else 10)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send_back(message):
        sent.append(message)

    headers = [(b"host", b"127.0.0.1:8765"), (b"origin", b"http://127.0.0.1:8765")]
    scope = {
        "type": "http", "method": "POST", "path": "/predict/image", "query_string": f"name={RUN}".encode(),
        "headers": headers, "root_path": "",
    }  # fmt: skip
    began = time.monotonic()
    pages.portal.call(pages.app, scope, receive, send_back)
    assert time.monotonic() - began < 5
    assert sent[0]["status"] == 408
    assert uploads_of(pages).held == 0


def test_a_run_without_a_model_is_said(pages, runs, film):
    (runs / RUN / "checkpoints" / "best.pt").write_bytes(b"damaged")
    answer = send(pages, film)
    assert answer.status_code == 422
    assert "best.pt" in answer.json()["error"]
    assert send(pages, film, run="fake/nosuch").status_code == 404
    assert send(pages, film, run="fake/second").status_code == 200


@pytest.mark.parametrize(
    "file",
    ["checkpoints/best.pt", "checkpoints/manifest.json", "environment.json", "report.json", "run.toml"],
)
def test_a_model_is_not_read_from_pipes_or_from_outside(runs, open_pages, film, file):
    path = runs / RUN / file
    outside = runs.parent / "outside"
    path.rename(outside)
    os.mkfifo(path)
    pages = open_pages(runs)
    answer = send(pages, film)
    assert answer.status_code == 422
    assert "is no regular file" in answer.json()["error"]
    assert pages.get(f"/predict/examples?name={RUN}").status_code == 200
    path.unlink()
    path.symlink_to(outside)
    answer = send(pages, film)
    assert answer.status_code == 422
    assert "leads out of" in answer.json()["error"]
    assert send(pages, film, run="fake/second").status_code == 200


def test_the_name_of_a_file_comes_back_as_text(pages, film):
    name = "%3Cimg%20src%3Dx%3E%1B%5B2J.png"
    answer = send(pages, film, name=name)
    assert answer.json()["file"] == "<img src=x>\\x1b[2J.png"
    assert answer.headers["content-type"] == "application/json"


def test_an_image_from_another_site_is_not_predicted(pages, film):
    answer = pages.post(f"/predict/image?name={RUN}", content=film, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403


def test_examples_are_validation_images_of_each_class(pages, runs):
    listed = (runs / RUN / "predictions" / "validation.csv").read_text()
    examples = pages.get(f"/predict/examples?name={RUN}").json()
    assert {example["truth"] for example in examples} == set(TinyDataset.classes)
    assert all(example["name"] in listed for example in examples)
    picture = pages.get("/predict/example", params={"name": RUN, "example": examples[0]["name"]})
    assert picture.headers["content-type"] == "image/png"
    assert "shares" in send(pages, picture.content).json()


def test_an_example_is_shown_small_and_sent_whole(pages, monkeypatch):
    name = pages.get(f"/predict/examples?name={RUN}").json()[0]["name"]
    parameters = {"name": RUN, "example": name}
    whole = Image.open(io.BytesIO(pages.get("/predict/example", params=parameters).content))
    data = TinyDataset("tiny")
    record = next(record for record in data.records if record.name == name)
    assert np.array_equal(np.asarray(whole), data.read(record))
    monkeypatch.setattr(prediction_page, "_THUMBNAIL", 16)
    small = Image.open(
        io.BytesIO(pages.get("/predict/example", params={**parameters, "thumbnail": 1}).content)
    )
    assert max(small.size) == 16


def test_examples_and_their_dataset_are_read_once_and_again_after_the_run_was_replaced(
    pages, runs, monkeypatch
):
    opened, parsed = [], []
    read_settings, read_piece = examples.reopen, examples.read_piece
    monkeypatch.setattr(examples, "reopen", lambda *given: opened.append(1) or read_settings(*given))
    monkeypatch.setattr(examples, "read_piece", lambda *given: parsed.append(1) or read_piece(*given))
    names = [one["name"] for one in pages.get(f"/predict/examples?name={RUN}").json()]

    def all_pictures() -> None:
        with ThreadPoolExecutor(6) as threads:
            answers = threads.map(
                lambda name: pages.get("/predict/example", params={"name": RUN, "example": name}), names
            )
            assert {answer.status_code for answer in answers} == {200}

    all_pictures()
    all_pictures()
    assert (len(opened), len(parsed)) == (1, 1)
    os.utime(runs / RUN / "run.toml", (1, 1))
    os.utime(runs / RUN / "predictions" / "validation.csv", (1, 1))
    all_pictures()
    assert (len(opened), len(parsed)) == (2, 2)


def test_only_examples_are_read(pages):
    for name in ("../../../etc/passwd", "test/NORMAL/0.png", ""):
        answer = pages.get("/predict/example", params={"name": RUN, "example": name})
        assert answer.status_code == 422


def test_the_page_offers_finished_models_and_says_what_it_is_not(open_pages, runs):
    (runs / "fake" / "second" / "report.json").unlink()
    page = open_pages(runs).get("/predict").text
    assert 'value="fake/first"' in page
    assert 'value="fake/second"' not in page
    assert "no medical device" in page


def test_without_a_model_the_page_says_how_to_get_one(open_pages, tmp_path):
    page = open_pages(tmp_path).get("/predict").text
    assert "pneumo run cnn --preset quick" in page
