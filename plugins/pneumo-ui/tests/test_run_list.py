"""The list of runs: what it shows, in which order, and what it says where there is nothing to show."""

from __future__ import annotations

import os
import re
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pneumo_ui.run_index import RunIndex
from pneumo_ui.run_table import COLUMNS, SIZE, Query, run_table


def names(answer) -> list[str]:
    """The runs in a list, in order."""
    return re.findall(r'<th scope="row"><a href="/run\?name=([^"]+)"', answer.text)


def wait_for(pages, text: str, address: str = "/") -> str:
    """The page, once it holds a text; the folder is searched every two seconds."""
    for _ in range(100):
        if text in (shown := pages.get(address).text):
            return shown
        time.sleep(0.1)
    raise AssertionError(f"{text!r} does not appear")


def copy(run: Path, name: str, **settings: str) -> Path:
    """A copy of a run with other settings, and so without its report."""
    path = run.parent.parent / name
    shutil.copytree(run, path)
    content = (path / "run.toml").read_text()
    for key, value in settings.items():
        content, found = re.subn(rf"^{key} = .*$", f'{key} = "{value}"', content, flags=re.MULTILINE)
        assert found, key
    (path / "run.toml").write_text(content)
    if settings:
        (path / "report.json").unlink()
    return path


def test_runs_are_listed_with_state_and_results(pages):
    shown = pages.get("/").text
    assert "2 runs" in shown
    assert 'class="badge finished"' in shown
    assert re.search(r"\d\.\d{3} <span class=\"range\">\(", shown)  # an interval


def test_a_list_is_filtered_by_words_and_by_names(runs, open_pages):
    copy(runs / "fake" / "first", "other/third", dataset="small")
    pages = open_pages(runs)
    assert names(pages.get("/?text=FIRST+finished")) == ["fake/first"]
    assert names(pages.get("/?dataset=small")) == ["other/third"]
    assert names(pages.get("/?state=interrupted")) == ["other/third"]
    assert set(names(pages.get("/?trainer=fake"))) == {"fake/first", "fake/second", "other/third"}
    assert "No run meets all conditions" in pages.get("/?text=nowhere").text


def test_every_column_sorts_both_ways(runs, open_pages):
    copy(runs / "fake" / "first", "other/third", dataset="small")
    pages = open_pages(runs)
    for column in COLUMNS:
        for order in ("up", "down"):
            assert len(names(pages.get(f"/?sort={column}&order={order}"))) == 3
    assert names(pages.get("/?sort=name&order=up")) == ["fake/first", "fake/second", "other/third"]
    assert names(pages.get("/?sort=name&order=down")) == ["other/third", "fake/second", "fake/first"]
    for order in ("up", "down"):  # without a value: last
        assert names(pages.get(f"/?sort=test&order={order}"))[-1] == "other/third"


def test_unknown_and_absurd_values_in_an_address_are_ignored(pages):
    for query in (
        "sort=nothing",
        "page=-1",
        "page=99999999999",
        "page=²",
        "order=x&unfold=../..",
        "text=" + "a" * 5000,
    ):
        assert pages.get(f"/?{query}").status_code == 200


def test_a_list_has_pages(finished, tmp_path):
    index = RunIndex(tmp_path)
    for number in range(SIZE + 5):
        run = tmp_path / f"run-{number:03}"
        run.mkdir()
        for name in ("run.toml", "report.json"):
            os.link(finished / name, run / name)
    index.refresh()
    snapshot = index.snapshot(0)
    first = run_table(snapshot, Query(sort="name", down=False))
    last = run_table(snapshot, Query(sort="name", down=False, page=7))
    assert [len(first.rows), len(last.rows), last.page, last.pages] == [SIZE, 5, 2, 2]
    assert first.rows[0].entry.id == "run-000"


def test_the_runs_of_a_group_are_folded(finished, tmp_path, open_pages):
    group = tmp_path / "runs" / "fake" / "group"
    for member in ("seed-1", "seed-2"):
        shutil.copytree(finished, group / "members" / member)
    settings = (finished / "run.toml").read_text().replace("\nseeds = 1\n", "\nseeds = 2\n")
    (group / "group.toml").write_text(settings)
    pages = open_pages(tmp_path / "runs")
    folded = pages.get("/")
    assert names(folded) == ["fake/group"]
    assert "show 2 runs" in folded.text
    assert "2 seeds" in folded.text
    unfolded = pages.get("/?unfold=fake/group")
    members = ["fake/group/members/seed-1", "fake/group/members/seed-2"]
    assert names(unfolded) == ["fake/group", *members]
    assert "hide 2 runs" in unfolded.text
    page = pages.get("/run?name=fake/group").text
    assert all(f"/run?name={member}" in page for member in members)
    assert '/run?name=fake/group"' in pages.get("/run", params={"name": members[0]}).text


def test_the_folder_of_a_group_s_runs_is_shown_without_the_group_above_it(finished, tmp_path, open_pages):
    group = tmp_path / "group"
    shutil.copytree(finished, group / "members" / "seed-1")
    (group / "group.toml").write_text((finished / "run.toml").read_text())
    pages = open_pages(group / "members")
    assert names(pages.get("/")) == ["seed-1"]
    assert pages.get("/run?name=seed-1").status_code == 200


def test_what_has_not_changed_is_not_sent_again(pages, runs):
    wait_for(pages, "2 runs")
    answer = pages.get("/runs")
    assert answer.status_code == 200
    again = pages.get("/runs", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.text) == (304, "")
    assert pages.get("/runs?sort=name", headers={"If-None-Match": answer.headers["etag"]}).status_code == 200
    shutil.rmtree(runs / "fake" / "second")
    for _ in range(100):
        if (last := pages.get("/runs", headers={"If-None-Match": answer.headers["etag"]})).status_code == 200:
            break
        time.sleep(0.1)
    assert "1 run" in last.text


def test_a_folder_without_runs_is_watched(tmp_path, open_pages, finished):
    folder = tmp_path / "empty"
    folder.mkdir()
    pages = open_pages(folder)
    assert "This page keeps watching" in pages.get("/").text
    shutil.copytree(finished, folder / "fake" / "new")
    assert "fake/new" in wait_for(pages, "1 run")


def test_a_folder_that_is_removed_is_said_to_be_gone_until_it_is_back(runs, open_pages):
    pages = open_pages(runs)
    assert names(pages.get("/")) == ["fake/first", "fake/second"]
    runs.rename(runs.with_name("elsewhere"))
    wait_for(pages, " is gone.</strong>")
    assert "is gone: it was removed" in pages.get("/run?name=fake/first").text
    runs.with_name("elsewhere").rename(runs)
    wait_for(pages, "fake/first")


@pytest.mark.parametrize(
    "name", ["new\nline", "es\x1bcape", "r\u202eight", "q\"u&<b>o'te", "re\rturn", "two  spaces"]
)
def test_names_are_shown_escaped_and_come_back_exactly(runs, open_pages, name):
    (runs / "fake" / "first").rename(runs / "fake" / name)
    pages, identity = open_pages(runs), f"fake/{name}"
    shown = Page(pages.get("/").content.decode())
    assert identity in shown.values
    assert any(identity in Page(pages.get(link).content.decode()).values for link in shown.links)
    report = next(
        link for link in Page(pages.get("/run", params={"name": identity}).text).links if "/reports" in link
    )
    assert pages.get(report).status_code == 200
    seen = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in name
    )
    assert seen in shown.text


class Page(HTMLParser):
    """What a browser makes of a page: its texts, the values that it sends, and its links to runs and reports."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.text, self.values, self.links = "", set(), []
        self.feed(content.replace("\r\n", "\n").replace("\r", "\n"))

    def handle_starttag(self, tag, attrs) -> None:
        self.values |= {value for name, value in attrs if name in ("value", "data-name")}
        self.links += [
            value for name, value in attrs if name == "href" and value.startswith(("/run?", "/reports/"))
        ]

    def handle_data(self, data) -> None:
        self.text += data


def test_a_run_can_be_the_folder_itself(runs, open_pages):
    pages = open_pages(runs / "fake" / "first")
    assert names(pages.get("/")) == ["."]
    assert "first" in pages.get("/run?name=.").text
    assert pages.get("/reports/report.html").status_code == 200


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("report.json", "{", "report.json is damaged"),
        ("report.json", "[" * 100_000, "report.json is damaged (it is nested too deeply)"),
        ("run.toml", b"\xff = 3", "run.toml cannot be read: it is not UTF-8"),
        ("run.toml", "= 3", "run.toml cannot be read"),
        ("run.toml", None, "run.toml cannot be read"),
    ],
)
def test_a_damaged_run_is_named_and_the_others_are_listed(runs, open_pages, file, content, message):
    first = runs / "fake" / "first"
    (first / file).unlink()
    if content is not None:
        (first / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    if file == "run.toml" and content:
        (first / "report.json").unlink()
    pages = open_pages(runs)
    shown = pages.get("/").text
    assert "1 folder cannot be listed" in shown
    assert message in shown
    page = pages.get("/run?name=fake/first")
    assert page.status_code == 200
    assert message in page.text
    assert str(first / file) not in page.text
    assert names(pages.get("/")) == ["fake/second"]


def test_a_run_that_a_process_works_on_is_running_until_that_ends(runs, open_pages):
    fcntl = pytest.importorskip("fcntl")
    pages = open_pages(runs)
    with (runs / "fake" / "first" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wait_for(pages, 'class="badge running"')
    wait_for(pages, "fake/first", "/?state=finished&text=first")


def test_pages_of_sweeps_and_comparisons_are_listed_and_open(runs, open_pages):
    (runs / "sweep").mkdir()
    (runs / "sweep" / "sweep.html").write_text("<p>the sweep</p>")
    pages = open_pages(runs)
    assert 'href="/reports/sweep/sweep.html"' in pages.get("/").text
    answer = pages.get("/reports/sweep/sweep.html")
    assert answer.text == "<p>the sweep</p>"
    assert "sandbox" in answer.headers["content-security-policy"]


def test_runs_are_read_again_only_when_their_files_have_changed(runs, monkeypatch):
    index = RunIndex(runs)
    index.refresh()
    before = index.snapshot(0)
    index.refresh()
    assert index.snapshot(0).version == before.version
    report = runs / "fake" / "first" / "report.json"
    report.write_text(report.read_text() + " ")
    index.refresh()
    after = index.snapshot(0)
    assert after.entries["fake/first"] is not before.entries["fake/first"]
    assert after.entries["fake/second"] is before.entries["fake/second"]
