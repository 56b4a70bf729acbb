"""``pneumo_cli.reproduce``: the page and values of the command."""

import json
import signal
import sys
import threading

import pytest

import pneumo_cli
from pneumo_cli.errors import UsageError
from pneumo_cli.runtime.signals import Interruption, interruptible
from pneumo_reproduce import reproduction
from pneumo_reproduce.result import ReproductionResult


@pytest.fixture
def without_benchmark(monkeypatch):
    monkeypatch.setattr("pneumo_reproduce.plan.estimate", lambda *arguments: None)


@pytest.mark.usefixtures("with_tasks", "without_benchmark")
def test_its_content_is_that_of_the_command_and_a_failed_task_ends_no_program(
    pneumo, fakes, monkeypatch, capfd
):
    monkeypatch.setattr(reproduction, "_relayed", lambda *arguments: (1, "no space"))
    ended = pneumo("reproduce", "--only", "gan", "--output", "command", "--json")
    assert ended.code == 1
    capfd.readouterr()
    result = pneumo_cli.reproduce(only="gan", output="own", progress=False)
    assert tuple(capfd.readouterr()) == ("", "")
    printed = json.loads(ended.stdout)
    own = json.loads(json.dumps(result.content))
    assert own.pop("folder") == "own"
    assert printed.pop("folder") == "command"
    for content in (own, printed):
        del content["made"], content["written"]
    assert own == printed
    assert not result.complete
    (row,) = [row for row in result.tasks if row["name"] == "gan"]
    assert row["state"] == "failed"
    assert result.page.is_file()
    assert "0 of 5 tasks have results" in result._repr_html_()


@pytest.mark.slow
@pytest.mark.usefixtures("with_tasks", "without_benchmark")
def test_a_reproduction_has_the_values_of_the_command_to_the_last_digit(pneumo, fakes, capfd):
    flags = ("--only", "gan", "--output", "command", "--threads", 1, "--device", "cpu")
    assert pneumo("reproduce", *flags).code == 0
    capfd.readouterr()
    result = pneumo_cli.reproduce(only=["gan"], output="own", threads=1, device="cpu", progress=False)
    assert tuple(capfd.readouterr()) == ("", "")
    printed = json.loads((fakes / "command" / "report.json").read_text())
    values = [{"task": task["name"], **number} for task in printed["tasks"] for number in task["numbers"]]
    own = list(result.values)
    for rows in (own, values):
        rows[:] = [row for row in rows if "Minutes" not in row["label"]]
    assert own == values
    assert result.complete
    again = pneumo_cli.reproduce(output="own", only="gan", progress=False)  # nothing is left to run
    assert again.values == result.values  # now the minutes, too


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"only": "autoencoders"}, "did you mean autoencoder?"),
        ({"preset": "quik"}, "did you mean quick?"),
        ({"output": "file"}, "file is not a folder"),
        ({"windw": 3}, "unknown setting 'windw'"),
    ],
)
@pytest.mark.usefixtures("with_tasks", "without_benchmark")
def test_misuse_is_an_error_of_one_line_and_nothing_is_written(fakes, values, message):
    (fakes / "file").touch()
    with pytest.raises(UsageError) as raised:
        pneumo_cli.reproduce(progress=False, **values)
    assert message in str(raised.value)
    assert [path.name for path in fakes.iterdir()] == ["file"]


@pytest.mark.usefixtures("with_tasks")
def test_a_dataset_that_only_this_process_has_is_refused(fakes):
    from pneumo_cli.testing import TinyDataset

    pneumo_cli.register(TinyDataset("mine"))
    with pytest.raises(UsageError, match="do not have the registered dataset mine"):
        pneumo_cli.reproduce("mine", progress=False)


def test_the_callers_request_to_stop_reaches_the_process_and_no_signal_handler_is_installed(tmp_path):
    code = (
        "import signal, sys, time\nsignal.signal(signal.SIGINT, lambda *_: sys.exit(130))\n"
        "print('ready', flush=True); time.sleep(20)"
    )
    request, before = Interruption(), signal.getsignal(signal.SIGINT)

    def ask():
        while b"ready" not in (tmp_path / "log").read_bytes():
            assert request.awaited
            assert signal.getsignal(signal.SIGINT) is before
        request.number = signal.SIGINT

    (tmp_path / "log").touch()
    thread = threading.Timer(0.1, ask)
    thread.start()
    with interruptible(request):
        assert reproduction._relayed([sys.executable, "-c", code], {}, tmp_path / "log", lambda: None) == (
            130,
            "",
        )
    thread.join()


def test_a_result_without_numbers_shows_itself(tmp_path):
    content = {"tasks": [{"name": "gan", "state": "waiting", "numbers": []}], "filled": 0}
    result = ReproductionResult(tmp_path, content, ["gan"])
    assert "0 of 1 tasks have results" in repr(result)
    assert not result.values
