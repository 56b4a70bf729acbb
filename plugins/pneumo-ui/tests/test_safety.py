"""Who may ask, what is served, and that nothing is written."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.types import ASGIApp, Message

HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J\u202e"


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "[::1]:8765", "localhost:9000"])
def test_a_request_by_a_name_of_this_machine_is_answered(pages, host):
    assert pages.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example:8765", "", "192.0.2.7:8765"]
)
def test_a_request_by_another_name_is_refused_as_dns_rebinding_makes_it(pages, host):
    answer = pages.get("/", headers={"Host": host})
    assert answer.status_code == 421
    assert "does not answer for that name" in answer.text


def test_a_server_that_listens_everywhere_is_named_by_addresses_and_not_by_names(open_pages, runs):
    pages = open_pages(runs, "a-long-enough-token", host="0.0.0.0")
    cookie = {"Authorization": "Bearer a-long-enough-token"}
    assert pages.get("/", headers={"Host": "192.0.2.7:8765", **cookie}).status_code == 200
    assert pages.get("/", headers={"Host": "evil.example:8765", **cookie}).status_code == 421


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1:1", "https://127.0.0.1:8765"]
)
def test_what_changes_something_must_come_from_a_page_of_this_server(pages, origin):
    headers = {} if origin is None else {"Origin": origin}
    assert pages.post("/", headers=headers).status_code == 403
    assert pages.request("DELETE", "/", headers=headers).status_code == 403


def test_with_a_token_nothing_is_answered_without_it(open_pages, runs):
    pages = open_pages(runs, "a-long-enough-token")
    for path in ("/", "/static/pneumo.css", "/run?name=fake/first", "/?token=wrong", "/?token="):
        assert pages.get(path).status_code == 401
    assert pages.get("/", headers={"Cookie": "pneumo-ui-8765=wrong"}).status_code == 401


def test_the_token_in_the_address_becomes_a_cookie_that_scripts_cannot_read(open_pages, runs):
    pages = open_pages(runs, "a-long-enough-token")
    answer = pages.get("http://127.0.0.1:8765//evil.example/run?token=a-long-enough-token&name=fake/first")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/evil.example/run?name=fake%2Ffirst"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert pages.get("/").status_code == 200  # the client keeps cookies


@pytest.mark.parametrize(
    "path", ["/", "/run?name=nowhere", "/static/list.js", "/reports/fake/first/report.html", "/nowhere"]
)
def test_every_answer_has_the_headers_that_confine_a_page(pages, path):
    headers = pages.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'none'; ")
    assert "unsafe-eval" not in headers["content-security-policy"]


def test_pages_run_no_inline_script_or_style(pages):
    for path in ("/", "/run?name=fake/first", "/compare?run=fake/first&run=fake/second"):
        answer = pages.get(path)
        assert answer.status_code == 200
        assert "style=" not in answer.text
        assert "<script>" not in answer.text
        assert " on" not in " ".join(part for part in answer.text.split("<") if part.startswith("button"))


def test_a_report_is_an_origin_of_its_own_whose_only_script_is_the_known_one(pages):
    from pneumo_cli.reports.html import SCRIPT_SOURCE

    answer = pages.get("/reports/fake/first/report.html")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "sandbox allow-scripts" in policy
    assert "allow-same-origin" not in policy
    assert f"script-src {SCRIPT_SOURCE};" in policy


OUTSIDE = (
    "../outside", "fake/../../outside", "%2e%2e/outside", "/etc", "fake/first/..", "fake/first/checkpoints",
    "fake\x00",
    "./fake/first", "fake//first", "\\..\\outside", "fake/link", "..", ".", "",
)  # fmt: skip


def test_nothing_but_the_runs_that_were_found_is_served(runs, open_pages):
    outside = runs.parent / "outside"
    os.rename(runs / "fake" / "second", outside)
    (runs / "fake" / "link").symlink_to(outside)
    pages = open_pages(runs)
    for name in OUTSIDE:
        for address in (
            "/run?name=",
            "/run/progress?name=",
            "/run/images?epoch=1&name=",
            "/compare?run=fake/first&run=",
        ):
            assert pages.get(address + quote(name)).status_code == 404, (address, name)
        for path in (f"/reports/{name}/report.html", f"/static/{name}"):
            assert asyncio.run(_status(pages.app, path)) in (307, 404, 405), path
    assert asyncio.run(_status(pages.app, "/reports/fake/first/report.html")) == 200


async def _status(app: ASGIApp, path: str) -> int:
    """The status of an answer to a path that no client has tidied up."""
    answers: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answers.append(message)

    headers = [(b"host", b"127.0.0.1:8765")]
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": headers,
        "root_path": "",
    }
    await app(scope, receive, send)
    return int(answers[0]["status"])


@pytest.mark.parametrize(
    "file", ["report.html", "log.txt", "metrics.jsonl", "report.json", "run.toml", "samples/epoch-001.png"]
)
def test_a_link_that_leads_out_of_the_folder_is_not_followed(runs, open_pages, file):
    secret = runs.parent / "secret"
    secret.write_text("the secret\n")
    path = runs / "fake" / "first" / file
    path.unlink(missing_ok=True)
    path.symlink_to(secret)
    pages = open_pages(runs)
    for address in (
        "/", "/run?name=fake/first", "/run/progress?name=fake/first&log=", "/reports/fake/first/report.html",
        "/run/images?name=fake/first&epoch=1", "/compare?run=fake/first&run=fake/second",
    ):  # fmt: skip
        answer = pages.get(address)
        assert answer.status_code < 500
        assert "the secret" not in answer.text
    assert pages.get("/").status_code == 200


def test_a_pipe_in_place_of_a_file_does_not_stop_the_server(runs, open_pages):
    for name in ("log.txt", "report.json"):
        file = runs / "fake" / "first" / name
        file.unlink()
        os.mkfifo(file)
    pages = open_pages(runs)
    assert "is no regular file" in pages.get("/").text
    progress = pages.get("/run/progress?name=fake/first&log=").json()
    assert progress["problems"] == ["log.txt is no regular file"]
    assert pages.get("/run?name=fake/second").status_code == 200


def test_a_pipe_in_a_run_of_a_group_does_not_stop_the_server(runs, open_pages):
    members = runs / "fake" / "folds" / "members"
    members.mkdir(parents=True)
    (members.parent / "group.toml").write_bytes((runs / "fake" / "first" / "run.toml").read_bytes())
    for name in ("first", "second"):
        (runs / "fake" / name).rename(members / name)
    report = members / "first" / "report.json"
    report.unlink()
    os.mkfifo(report)
    pages = open_pages(runs)
    assert "is no regular file" in pages.get("/run?name=fake/folds").text
    assert pages.get("/run?name=fake/folds/members/second").status_code == 200


def test_a_file_that_is_too_large_to_be_read_is_said(runs, open_pages):
    with (runs / "fake" / "first" / "report.json").open("r+b") as file:
        file.truncate(2**30)
    assert "is too large to be read: 1,024 MB" in open_pages(runs).get("/").text


def test_hostile_names_and_contents_are_shown_as_text(runs, open_pages, finished):
    first = runs / "fake" / "first"
    settings = (first / "run.toml").read_text().replace('dataset = "tiny"', f'dataset = "{_toml(HOSTILE)}"')
    (first / "run.toml").write_text(settings)
    (first / "report.json").unlink()
    (first / "log.txt").write_text(f"{HOSTILE}\n")
    row = {"epoch": 1, "train": {HOSTILE: 1}, "validation": {}}
    (first / "metrics.jsonl").write_text(f"{json.dumps(row)}\n")
    named = runs / "fake" / HOSTILE.replace("/", "")
    first.rename(named)
    pages = open_pages(runs)
    listed = pages.get("/").text
    progress = pages.get("/run/progress", params={"name": f"fake/{named.name}", "log": ""})
    page = pages.get("/run", params={"name": f"fake/{named.name}"}).text
    assert progress.headers["content-type"] == "application/json"
    for shown in (listed, page):
        shown = re.sub(' (value|data-name)="[^"]*"', "", shown)  # what comes back to the server
        assert "<img" not in shown.replace('<img id="sample" alt="">', "")
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "&lt;img" in shown
    content = progress.json()
    assert content["log"].endswith("\\x1b[2J\\u202e\n")
    assert "\x1b" not in "".join(content["rows"][0]["train"])


def _toml(text: str) -> str:
    return text.replace("\x1b", "\\u001b")


def test_a_name_that_is_no_utf8_can_be_opened(runs, open_pages):
    os.rename(runs / "fake" / "first", os.fsencode(runs / "fake") + b"/caf\xe9")
    pages = open_pages(runs)
    assert "fake/caf" in pages.get("/").text
    assert pages.get("/run", params={"name": "fake/caf\\xe9"}).status_code == 200


def test_large_bodies_are_refused(pages):
    answer = pages.post("/", content=b"x" * 100_000, headers={"Origin": "http://127.0.0.1:8765"})
    assert answer.status_code in (405, 413)


def test_nothing_is_written_into_the_folder(runs, open_pages):
    before = _state(runs)
    pages = open_pages(runs)
    for address in (
        "/", "/runs", "/run?name=fake/first", "/run/progress?name=fake/first&log=", "/run?name=nowhere",
        "/reports/fake/first/report.html", "/compare?run=fake/first&run=fake/second",
    ):  # fmt: skip
        pages.get(address)
    assert _state(runs) == before


def _state(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time and content of all files and folders."""
    found = {}
    for path in sorted(folder.rglob("*")):
        facts = path.stat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path)] = (facts.st_mode, facts.st_mtime_ns, digest)
    return found
