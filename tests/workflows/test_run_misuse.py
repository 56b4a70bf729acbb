"""Misuse of ``pneumo.run``, ``resume`` and ``evaluate``: a UsageError with the line of the command."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pneumo_cli import PneumoError, UsageError
from pneumo_cli.api import hookimpl
from pneumo_cli.workflows.command_line import command_line, flag_value

Call = Callable[[Any], object]

# A command that is refused, and the call that asks for the same.
REFUSED: dict[str, tuple[tuple[object, ...], Call]] = {
    "trainer": (("run", "fakee"), lambda p: p.run("fakee")),
    "model": (("run", "fake", "--model", "tiny-ned"), lambda p: p.run("fake", model="tiny-ned")),
    "kind of model": (("run", "fake", "--model", "two-nets"), lambda p: p.run("fake", model="two-nets")),
    "dataset": (("run", "fake", "--dataset", "tinny"), lambda p: p.run("fake", dataset="tinny")),
    "preset": (("run", "fake", "--preset", "quik"), lambda p: p.run("fake", preset="quik")),
    "value": (("run", "fake", "--epochs", "0"), lambda p: p.run("fake", epochs=0)),
    "type": (("run", "fake", "--lr", "fast"), lambda p: p.run("fake", lr="fast")),
    "share": (("run", "fake", "--epochs", "2.5"), lambda p: p.run("fake", epochs=2.5)),
    "bool": (("run", "fake", "--epochs", "true"), lambda p: p.run("fake", epochs=True)),
    "not a number": (("run", "fake", "--lr", "nan"), lambda p: p.run("fake", lr=np.float32("nan"))),
    "choice": (("run", "fake", "--optimizer", "adam"), lambda p: p.run("fake", optimizer="adam")),
    "config": (("run", "fake", "--config", "absent.toml"), lambda p: p.run("fake", config="absent.toml")),
    "folds": (("run", "fake", "--folds", "1"), lambda p: p.run("fake", folds=1)),
    "extension": (("run", "fake", "--with", "mixupp"), lambda p: p.run("fake", extensions=["mixupp"])),
    "observer": (("run", "fake", "--with", "diary"), lambda p: p.run("fake", observers=["diary"])),
    "device": (("run", "fake", "--device", "cuda:99"), lambda p: p.run("fake", device="cuda:99")),
    "root": (
        ("run", "fake", "--dataset", "seeded", "--data-root", "absent"),
        lambda p: p.run("fake", dataset="seeded", data_root=Path("absent")),
    ),
    "home": (
        ("run", "fake", "--output=~nobody-here/runs"),
        lambda p: p.run("fake", output="~nobody-here/runs"),
    ),
    "home of a config": (
        ("run", "fake", "--config=~nobody-here/x.toml"),
        lambda p: p.run("fake", config=Path("~nobody-here/x.toml")),
    ),
    "output": (("run", "fake", "--output", "a-file"), lambda p: p.run("fake", output="a-file")),
    "unreadable images": (("run", "fake", "--dataset", "torn"), lambda p: p.run("fake", dataset="torn")),
    "run to resume": (("resume", "nowhere"), lambda p: p.resume("nowhere")),
    "file to resume": (("resume", "a-file"), lambda p: p.resume(Path("a-file"))),
    "run to evaluate": (("evaluate", "a-folder"), lambda p: p.evaluate("a-folder")),
    "split": (("evaluate", "nowhere", "--on", "tests"), lambda p: p.evaluate("nowhere", on="tests")),
    "checkpoint": (
        ("evaluate", "nowhere", "--checkpoint", "first"),
        lambda p: p.evaluate("nowhere", checkpoint="first"),
    ),
    "ensemble": (
        ("evaluate", "nowhere", "--with", "elsewhere"),
        lambda p: p.evaluate(["nowhere", "elsewhere"]),
    ),
}


@pytest.fixture
def furniture(fakes: Path) -> Path:
    (fakes / "a-file").write_text("in the way")
    (fakes / "a-folder").mkdir()
    return fakes


def refused(library: ModuleType, call: Call, folder: Path) -> str:
    """The message of a request that is refused without a trace."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(UsageError) as caught:
        call(library)
    assert caught.value.exit_code == 2
    assert sorted(folder.rglob("*")) == before
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("kind", REFUSED)
def test_a_function_refuses_with_the_line_of_the_command(
    kind: str, library: ModuleType, pneumo, furniture: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command, call = REFUSED[kind]
    ended = pneumo(*command)
    assert ended.code == 2
    assert ended.stderr == f"pneumo: {refused(library, call, furniture)}\n"
    assert capfd.readouterr() == ("", "")


class Wrong:
    @hookimpl
    def epoch_finished(self, metric: Any) -> None: ...


class Misspelled:
    def run_started(self) -> None: ...

    def epoch_finnished(self, metrics: Any) -> None: ...


class Unknowing:
    def epoch_finished(self, epoch: int) -> None: ...


class Defaulting:
    def epoch_finished(self, run: Any, metrics: Any = None) -> None: ...


class Greedy:
    def epoch_finished(self, *given: Any) -> None: ...


class Waiting:
    async def epoch_finished(self, metrics: Any) -> None: ...


class Yielding:
    def epoch_finished(self, metrics: Any) -> Any:
        yield metrics


class Changing:
    @hookimpl
    def around_loss(self, run: Any) -> None: ...


class Right:
    @hookimpl
    def epoch_finished(self) -> None: ...


RIGHT = Right()

# Calls that no command line can ask for.
IMPOSSIBLE: dict[str, tuple[Call, str]] = {
    "setting": (lambda p: p.run("fake", epoch=3), "unknown setting 'epoch'; did you mean epochs?"),
    "trainer": (lambda p: p.run(3), "a trainer is asked for by its name, not an int"),
    "type of a setting": (lambda p: p.run("fake", epochs={}), "epochs = {} (--epochs): input should be"),
    "list for one": (
        lambda p: p.run("fake", model=[1]),
        "model = ['1'] (--model): input should be a valid str",
    ),
    "preset": (lambda p: p.run("fake", preset=3), "unknown preset 3 (--preset) of fake"),
    "config": (lambda p: p.run("fake", config=3), "a path is a text or a pathlib.Path, not an int"),
    "with": (lambda p: p.run("fake", **{"with": "x"}), "with: name extensions as extensions=["),
    "extensions": (lambda p: p.run("fake", extensions=3), "extensions is a list, not an int"),
    "extension": (lambda p: p.run("fake", extensions=[3]), "with = [3] (--with): a list of names"),
    "one observer": (lambda p: p.run("fake", observers=RIGHT), "observers is a list, not a Right"),
    "class": (
        lambda p: p.run("fake", observers=[Right]),
        "the observer Right cannot take part in a run: the class Right is no object",
    ),
    "no hooks": (lambda p: p.run("fake", observers=[Path()]), "which implements no hook"),
    "misspelled hook": (
        lambda p: p.run("fake", observers=[Misspelled()]),
        "its method epoch_finnished is not called: did you mean epoch_finished?",
    ),
    "argument": (
        lambda p: p.run("fake", observers=[Wrong()]),
        "the observer Wrong cannot take part in a run: its method epoch_finished takes 'metric'",
    ),
    "argument of no hook": (
        lambda p: p.run("fake", observers=[Unknowing()]),
        "its method epoch_finished takes 'epoch'; it takes run and metrics, or some of these",
    ),
    "default": (
        lambda p: p.run("fake", observers=[Defaulting()]),
        "has a default for metrics, which is then",
    ),
    "any arguments": (
        lambda p: p.run("fake", observers=[Greedy()]),
        "epoch_finished has *given, and it takes",
    ),
    "async": (lambda p: p.run("fake", observers=[Waiting()]), "epoch_finished is async, and hooks are not"),
    "generator": (lambda p: p.run("fake", observers=[Yielding()]), "epoch_finished has a yield, with which"),
    "twice": (lambda p: p.run("fake", observers=[RIGHT, RIGHT]), "it is named twice"),
    "change": (
        lambda p: p.run("fake", observers=[Changing()]),
        "the observer Changing implements around_loss, and an observer cannot change a run",
    ),
    "devices": (
        lambda p: p.run("fake", devices=2, observers=[RIGHT]),
        "devices = 2: other processes do the work, which do not have the observer Right: use one device",
    ),
    "setting to resume": (lambda p: p.resume("nowhere", lr=0.1), "unknown setting 'lr'; known: "),
    "observer to resume": (lambda p: p.resume("nowhere", observers=["diary"]), "diary: a run goes on with"),
    "setting to evaluate": (lambda p: p.evaluate("nowhere", lr=0.1), "unknown setting 'lr'; "),
    "nothing to evaluate": (lambda p: p.evaluate([]), "there is no run to evaluate"),
    "number to evaluate": (lambda p: p.evaluate(3), "a path is a text or a pathlib.Path, not an int"),
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_what_a_command_cannot_ask_for_is_refused_in_one_line(
    kind: str, library: ModuleType, furniture: Path
) -> None:
    call, words = IMPOSSIBLE[kind]
    assert words in refused(library, call, furniture)


def test_a_misspelt_variable_is_refused(
    library: ModuleType, fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMO_EPOCHES", "3")
    words = "unknown environment variable PNEUMO_EPOCHES; did you mean PNEUMO_EPOCHS?"
    assert refused(library, lambda p: p.run("fake"), fakes) == words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SystemExit(3), "SystemExit(3) ended the program"),
        (ValueError("two\nlines"), "ValueError: two lines"),
        (OSError(28, "No space", "x"), "x: No space"),
    ],
)
def test_whatever_a_plugin_raises_is_an_error_of_one_line(
    error: BaseException, words: str, library: ModuleType, fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pneumo_cli.workflows import functions

    def fails(*_: Any, **given: Any) -> None:
        raise error

    monkeypatch.setattr(functions, "resolve", fails)
    with pytest.raises(PneumoError) as caught:
        library.run("fake")
    assert (caught.value.exit_code, len(str(caught.value).splitlines())) == (1, 1)
    assert caught.value.__cause__ is error
    assert str(caught.value).startswith(words)


class Color(enum.Enum):
    RED = "red"


def test_values_of_python_are_the_texts_of_flags() -> None:
    import torch

    values = [True, 3, 0.1, 1e-5, "x", Path("a/b"), Color.RED, np.float64(0.1), np.int32(4), np.bool_(False)]
    assert [flag_value(value) for value in values] == [
        *("true", "3", "0.1", "1e-05", "x", os.path.join("a", "b"), "red", "0.1", "4", "false"),
    ]
    assert float(flag_value(np.float32(0.1))) == float(np.float32(0.1))
    assert flag_value(torch.tensor(2)) == "2"
    for several in ((1, 0.5), [1, 0.5], np.array([1, 0.5]), torch.tensor([1, 0.5])):
        assert [float(text) for text in flag_value(several)] == [1, 0.5]
    assert flag_value(None) is None
    assert command_line("run", "cnn", epochs=3, augment=False, nesterov=True, steps=(1, 2), lr=None) == [
        *("pneumo", "run", "cnn", "--epochs", "3", "--no-augment", "--nesterov", "--steps", "[1, 2]"),
    ]
