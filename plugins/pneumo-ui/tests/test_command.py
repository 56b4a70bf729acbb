"""``pneumo ui`` on the command line: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest

from pneumo_cli.errors import UsageError
from pneumo_ui.safety import Access, is_loopback
from pneumo_ui.server import bind


def test_a_folder_that_does_not_exist_is_refused(pneumo, fakes):
    for folder, message in (("nowhere", "there is no folder nowhere"), ("file", "file is no folder")):
        (fakes / "file").touch()
        ended = pneumo("ui", folder)
        assert (ended.code, message in ended.stderr) == (2, True), ended.stderr
    ended = pneumo("ui")
    assert ended.code == 2
    assert "there are no runs yet" in ended.stderr


def test_a_port_in_use_is_one_line_that_says_what_to_do(pneumo, fakes):
    (fakes / "runs").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = pneumo("ui", "runs", "--port", port)
    assert ended.code == 2
    (line,) = ended.stderr.splitlines()
    assert f"port {port} of 127.0.0.1 is in use" in line
    assert "--port 0" in line


def test_an_address_of_another_machine_is_refused():
    for host in ("192.0.2.1", "no such name", "nowhere.invalid"):
        with pytest.raises(UsageError, match="is no address or name of this machine"):
            bind(host, 0)


@pytest.mark.parametrize(
    "token",
    [
        "1234",
        "abcDEF/ghi+klm==",
        "with a space in it",
        "twelve;letters",
        "éèàùâêîôûëïü",
        "x" * 101,
        "abcdefghijkl\n",
    ],
)
def test_a_token_that_can_be_guessed_or_does_not_survive_a_cookie_is_refused(pneumo, fakes, token):
    (fakes / "runs").mkdir()
    ended = pneumo("ui", "runs", "--token", token)
    assert ended.code == 2
    (line,) = ended.stderr.splitlines()
    assert "--token takes 12 to 100 characters of A-Z, a-z, 0-9, - and _" in line


def test_only_this_machine_needs_no_token():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.5", "example.org", "")))


def test_the_address_that_is_printed_can_be_opened_on_this_machine():
    assert Access("127.0.0.1", 80).address() == "http://127.0.0.1:80/"
    assert Access("0.0.0.0", 81, "secret/&").address() == "http://127.0.0.1:81/?token=secret%2F%26"
    assert Access("::1", 82).address() == "http://[::1]:82/"


def get(address: str) -> tuple[int, str]:
    """Status and content, without following redirections."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)
    try:
        connection.request("GET", f"{place.path}?{place.query}")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_ends_it_in_good_order(serve, tmp_path, number, code):
    (tmp_path / "runs").mkdir()
    served = serve(tmp_path / "runs")
    status, page = get(served.address)
    assert status == 200
    assert "No runs yet" in page
    ended = served.end(number)
    assert ended.code == code
    assert "Traceback" not in ended.stderr


def test_another_address_than_loopback_comes_with_a_token(serve, tmp_path):
    (tmp_path / "runs").mkdir()
    served = serve(tmp_path / "runs", "--host", "0.0.0.0")
    assert "?token=" in served.address
    assert get(served.address)[0] == 303
    assert get(served.address.partition("?")[0])[0] == 401


def test_a_given_token_opens_the_page_once_and_for_all(serve, tmp_path):
    (tmp_path / "runs").mkdir()
    served = serve(tmp_path / "runs", "--token", "-abcDEF_0123")
    place = urlsplit(served.address)
    assert place.query == "token=-abcDEF_0123"
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)
    connection.request("GET", f"{place.path}?{place.query}")
    answer = connection.getresponse()
    answer.read()
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    connection.request("GET", "/", headers={"Cookie": cookie})
    assert connection.getresponse().status == 200
    connection.close()


SLOW_MODEL = """
import sys, time, torch
from pneumo_ui import prediction_page

def computes(*_):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        torch.ones(300, 300) @ torch.ones(300, 300)

prediction_page._predicted = computes
from pneumo_cli.cli.main import main
sys.argv = ["pneumo", "ui", "runs", "--port", "0"]
main()
"""


@pytest.mark.slow
def test_ctrl_c_ends_it_in_the_midst_of_a_prediction(runs):
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_MODEL], cwd=runs.parent, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        place = urlsplit(next(word for word in process.stderr.readline().split() if word.startswith("http")))
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)
        connection.request(
            "POST", "/predict/image?name=fake/first", b"x", {"Origin": f"http://{place.netloc}"}
        )
        time.sleep(1)
        assert get(f"http://{place.netloc}/")[0] == 200
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert time.monotonic() - began < 6
        said = process.stderr.read()
        connection.close()
    assert "Traceback" not in said
    assert said.endswith("interrupted\n")


def test_the_server_and_images_are_imported_when_they_are_needed(fakes, tmp_path):
    for command, absent in (
        ("--help", {"starlette", "uvicorn", "jinja2", "numpy"}),
        ("ui", {"numpy", "PIL", "torch"}),
    ):
        program = (
            "import atexit, sys; from pneumo_cli.cli.main import main\n"
            f"atexit.register(lambda: print('loaded', *sorted({absent!r} & set(sys.modules)), file=sys.stderr))\n"
            "if sys.argv[1] == 'ui': import pneumo_ui.server; pneumo_ui.server.serve = lambda *_: None\n"
            "main()"
        )
        arguments = [command] if command != "ui" else ["ui", str(tmp_path), "--port", "0"]
        ended = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert ended.stderr.splitlines()[-1] == "loaded", ended.stderr


@pytest.mark.slow
def test_slow_and_endless_requests_do_not_hold_the_server(serve, tmp_path):
    (tmp_path / "runs").mkdir()
    served = serve(tmp_path / "runs")
    place = urlsplit(served.address)
    silent = [socket.create_connection((str(place.hostname), int(place.port or 0))) for _ in range(20)]
    for connection in silent[:10]:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127")
    with socket.create_connection((str(place.hostname), int(place.port or 0))) as endless:
        endless.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)
        assert b" 400 " in endless.recv(1000)
    assert get(served.address)[0] == 200
    for connection in silent:
        connection.settimeout(30)
        assert connection.recv(1) == b""  # the server has ended it
        connection.close()
