"""``--threads``, ``--cache``, ``--data-root``: every command that computes has them, with one text. They act."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from pneumo_cli.cli.help_pages import help_row
from pneumo_cli.cli.main import build_app
from pneumo_cli.plugins.discovery import discover

OPENS_A_DATASET = {
    *("run cnn", "resume", "evaluate", "sweep cnn", "sweep resume", "reproduce", "bench cnn"),
    *("data check", "data audit", "evaluate-images", "tstr"),
}
COMPUTES = {"predict", "generate", "export"}
READS_ALONE = {
    *(
        "list-runs",
        "list-trainers",
        "list-models",
        "list-datasets",
        "list-extensions",
        "list-plugins",
        "show",
    ),
    *("doctor", "compare", "ui", "new", "check", "data import", "data download"),
}
"""Of these ``check`` trains on data of its own, and the others read what is there."""


def commands(command: Any, context: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any, Any]]:
    """The visible commands of the program, with their context; of trainers one."""
    if not hasattr(command, "list_commands"):
        yield " ".join(words), command, context
        return
    for name in command.list_commands(context):
        own = command.get_command(context, name)
        if not own.hidden and (words not in (("run",), ("sweep",), ("bench",)) or name in ("cnn", "resume")):
            inner = own.make_context(name, [], parent=context, resilient_parsing=True)
            yield from commands(inner.command, inner, (*words, name))


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, str]]:
    """The flags of each command of all bundled plugins, with their help."""
    plugins = discover(disabled="")
    root = typer.main.get_command(build_app(plugins))
    return {
        name: {
            option.opts[0]: (help_row(option, context) or ("", ""))[1]
            for option in command.get_params(context)
        }
        for name, command, context in commands(root, typer.Context(root, info_name="pneumo", obj=plugins))
    }


def test_every_command_is_known_to_compute_or_not(rows: dict[str, dict[str, str]]) -> None:
    bundled = {
        name for name in rows if not name.startswith("count-runs")
    }  # an example's, where it is installed
    assert bundled == OPENS_A_DATASET | COMPUTES | READS_ALONE


@pytest.mark.parametrize("flag", ["--threads", "--cache", "--data-root"])
def test_every_command_that_opens_a_dataset_has_the_flag(flag: str, rows: dict[str, dict[str, str]]) -> None:
    assert [name for name in OPENS_A_DATASET if flag not in rows[name]] == []


def test_every_command_that_predicts_or_generates_has_threads(rows: dict[str, dict[str, str]]) -> None:
    assert [name for name in COMPUTES if "--threads" not in rows[name]] == []


@pytest.mark.parametrize("flag", ["--threads", "--cache", "--data-root", "--data-home"])
def test_a_shared_flag_has_one_text(flag: str, rows: dict[str, dict[str, str]]) -> None:
    of_settings = ("run", "sweep cnn", "bench cnn")
    texts = {own[flag] for name, own in rows.items() if flag in own and not name.startswith(of_settings)}
    assert len(texts - {rows["check"].get(flag)}) == 1


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What torch was told."""
    told: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", told.append)
    return told


def test_evaluate_computes_with_the_threads_and_keeps_images_in_the_cache_that_are_named(
    pneumo, trained_run, tmp_path: Path, threads: list[int]
) -> None:
    ended = pneumo("evaluate", trained_run("fake", epochs=1), "--threads", 3, "--cache", tmp_path / "own")
    assert ended.code == 0, ended.stderr
    assert set(threads) == {3}
    assert any((tmp_path / "own").iterdir())


def test_data_check_decodes_with_the_threads_and_the_cache_that_are_named(
    pneumo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pneumo_cli.runtime import threads as own

    sizes: list[int] = []

    class Pool(own.ThreadPoolExecutor):
        def __init__(self, workers: int, **options: Any) -> None:
            sizes.append(workers)
            super().__init__(workers, **options)

    monkeypatch.setattr(own, "ThreadPoolExecutor", Pool)
    ended = pneumo("data", "check", "--dataset", "tiny", "--threads", 3, "--cache", tmp_path / "own")
    assert ended.code == 0, ended.stderr
    assert set(sizes) == {3}
    assert any((tmp_path / "own").iterdir())
