"""Where progress is shown: one small output in a notebook, lines in a log, and nothing where none is wanted."""

from __future__ import annotations

import logging
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pneumo_cli.errors import Interrupted
from pneumo_cli.runs.run import Monitor
from pneumo_cli.workflows import display, notebook_view
from pneumo_cli.workflows.display import in_notebook, progress_for
from pneumo_cli.workflows.notebook_view import NotebookView

_log = logging.getLogger("pneumo")


class Output:
    """Stands for IPython's display, and keeps the pages that were shown."""

    def __init__(self) -> None:
        self.made = 0
        self.pages: list[str] = []

    def display(self, page: Any, display_id: bool) -> Output:
        assert display_id
        self.made += 1
        self.update(page)
        return self

    def update(self, page: Any) -> None:
        self.pages.append(page._repr_html_())


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Output:
    """This process as the kernel of a notebook."""
    shell = type("ZMQInteractiveShell", (), {})()
    found, python = Output(), ModuleType("IPython")
    python.get_ipython = lambda: shell  # type: ignore[attr-defined]
    display = ModuleType("IPython.display")
    display.display = found.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", python)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(notebook_view, "_BEFORE_FIRST", 0.0)
    return found


def a_run(epochs: int, best: int, name: str = "cnn") -> Any:
    history = [
        {
            "epoch": epoch,
            "train": {"loss": 1 / (epoch + 1)},
            "validation": {"loss": 0.5, "auc": epoch / 1000},
            "seconds": 1.5,
            "images_per_second": 80.0,
        }
        for epoch in range(epochs + 1)
    ]
    return SimpleNamespace(
        spec=SimpleNamespace(name=name),
        data=SimpleNamespace(dataset=SimpleNamespace(name="tiny")),
        model_entry=SimpleNamespace(spec=SimpleNamespace(name="net")),
        folder=SimpleNamespace(path=Path("runs/cnn/<i>")),
        settings=SimpleNamespace(epochs=epochs),
        history=history,
        monitor=Monitor("auc", "max"),
        best=SimpleNamespace(epoch=best, value=best / 1000),
    )


def test_a_notebook_gets_one_output_with_the_epochs_and_a_bar(output: Output) -> None:
    assert in_notebook()
    with progress_for(None) as shown:
        assert not shown.console
        (view,) = shown.observers
        assert isinstance(view, NotebookView)
        run = a_run(100, best=7, name="<script>")
        run.history, rows = [], run.history
        view.run_started(run)
        run.history = rows
        view.epoch_finished(run)
        with shown.progress.stage("epoch 3/100 <b>", 200) as advance:
            for _ in range(200):
                advance(1)
            view._update(None)
            assert "200 of 200 images" in output.pages[-1]
            assert "width: 100.0%" in output.pages[-1]
        view.run_finished(run, {"run": {"seconds": 75.0}})
    assert output.made == 1
    assert len(output.pages) < 12
    page = output.pages[-1]
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert page.count("<tr") == 1 + 12 + 1  # the head, the last epochs and the best
    assert page.count('<tr class="marked"><td>7 of 100</td>') == 1
    assert "validation ROC AUC" in page
    assert "finished in 1 min 15 s; best epoch 7 by validation ROC AUC (0.007)" in page
    assert len(page) < 8000


def test_a_notebook_shows_messages_and_forgets_steps(
    output: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_for(True) as shown:
        with shown.progress.stage("decoding", 10) as advance:
            advance(1)
        _log.warning("one image <b> was left out")
    assert "one image &lt;b&gt; was left out" in output.pages[-1]
    assert "decoding" not in output.pages[-1]
    assert capsys.readouterr() == ("", "")


def test_work_that_goes_on_after_its_output_is_closed_ends_as_it_would(output: Output) -> None:
    view = NotebookView()

    def work() -> None:
        with view.stage("epoch 1/2", 8) as advance:
            view.close()  # after a second Ctrl-C
            advance(4)
            raise Interrupted("stopped and saved", 130)

    with pytest.raises(Interrupted):
        work()


def test_the_runs_of_a_group_are_one_after_the_other(output: Output) -> None:
    view = NotebookView()
    for name in ("fold-1", "fold-2"):
        run = a_run(2, best=1)
        run.folder.path = Path(name)
        view.run_started(run)
        view.run_finished(run, {"run": {"seconds": 3.0}})
    assert view.text().count("best epoch 1") == 2
    assert "fold-2" in view.text()


def test_messages_go_to_the_call_that_they_belong_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # a program that shows no messages itself
    before, attached = (_log.level, list(_log.handlers)), display._attached
    # Both begin at once.
    monkeypatch.setattr(display, "_attached", lambda: (attached(), time.sleep(0.01))[0])

    def call(name: str, wanted: bool | None) -> None:
        with progress_for(wanted):
            barrier.wait()
            _log.warning("of %s", name)
            barrier.wait()

    barrier = threading.Barrier(2)
    threads = [
        threading.Thread(target=call, args=one) for one in (("the quiet one", False), ("the other", None))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert capsys.readouterr() == ("", "pneumo: of the other\n")
    assert (_log.level, list(_log.handlers)) == before


def test_a_log_gets_the_lines_of_the_command_and_silence_is_silent(
    library: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not in_notebook()
    library.run("fake", epochs=1, report=False)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "epoch" in printed.err
    assert "folder   runs/fake/" in printed.err
    library.run("fake", epochs=1, report=False, progress=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_real_notebook_keeps_one_small_output_and_nothing_red(fakes: Path) -> None:
    client = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    cells = [
        "import pneumo_cli as pneumo",
        "result = pneumo.run('fake', epochs=30, report=False)\nresult",
        "result.history",
        "pneumo.run('fake', epochs=1, report=False, progress=False).state",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    _, run, history, silent = (cell.outputs for cell in notebook.cells)
    assert [output.output_type for output in run] == ["display_data", "execute_result"]
    progress, card = (output.data["text/html"] for output in run)
    assert "30 of 30" in progress
    assert "finished in" in progress
    assert len(progress) < 10_000
    assert "fake on tiny" in card
    assert "train_loss" in history[0].data["text/html"]
    assert [output.output_type for output in silent] == ["execute_result"]
