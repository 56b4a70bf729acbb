"""Arguments of any type and content: refused as one line, by every function."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from importlib.metadata import version
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pneumo_cli import Interrupted, PneumoError, UnreadableImage, UsageError
from pneumo_cli.workflows.argument_types import checked, refuse_unknown
from pneumo_cli.workflows.command_line import flag_value

REFUSED: dict[str, tuple[Callable[[Any], object], str]] = {
    "trainer": (lambda p: p.presets(None), "trainer is None, and has to be a text"),
    "settings": (lambda p: p.settings(3), "name is 3, and has to be a text"),
    "models": (lambda p: p.models(3), "pattern is 3, and has to be a text"),
    "sort": (lambda p: p.runs(".", sort=3), "sort is 3, and has to be a text"),
    "where": (lambda p: p.runs(".", where=3), "where is 3, and has to be a dict or a list or a text"),
    "null character": (lambda p: p.RunResult("x\0"), r"'x\x00': a path has no null characters"),
    "null in a setting": (
        lambda p: p.run("fake", output="x\0"),
        r"output = 'x\x00' (--output): a path has no null characters",
    ),
    "line break": (lambda p: p.resume("two\nlines"), r"there is no run folder two\nlines"),
    "long name": (lambda p: p.RunResult("x" * 5000), "File name too long"),
    "prevalence": (lambda p: p.load(".", prevalence=True), "prevalence is True: it is a share above 0"),
    "checkpoint": (lambda p: p.load(".", checkpoint=3), "3 is none of best, last"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_wrong_argument_is_refused_in_one_line(kind: str, library: ModuleType) -> None:
    call, words = REFUSED[kind]
    with pytest.raises(PneumoError) as caught:
        call(library)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def example(
    path: str, *, count: int = 1, share: float = 0.5, names: str | list[str] = "", quiet: bool = False
) -> tuple[Any, ...]:
    return path, count, share, names, quiet


def test_arguments_are_compared_with_their_annotations() -> None:
    given = checked(
        example, ("x",), {"count": np.int32(3), "share": np.float32(0.5), "quiet": np.bool_(True)}
    )
    values = example(*given.args, **given.kwargs)
    assert (values, [type(one) for one in values[1:3]]) == (("x", 3, 0.5, "", True), [int, float])
    assert example(*checked(example, ("x",), {"share": 1, "names": ["a"]}).args) == ("x", 1, 0.5, "", False)
    for name, value, wanted in (
        ("count", 1.5, "a whole number"),
        ("count", True, "a whole number"),
        ("share", "0.5", "a number"),
        ("quiet", "no", "True or False"),
        ("names", 3, "a text or a list"),
        ("path", b"x", "a text"),
    ):
        with pytest.raises(UsageError) as caught:
            checked(example, (), {"path": "x", name: value})
        assert str(caught.value) == f"{name} is {value!r}, and has to be {wanted}"
    with pytest.raises(TypeError, match=r"example\(\): got an unexpected keyword argument 'cuont'"):
        checked(example, ("x",), {"cuont": 1})


def test_devices_and_texts_of_libraries_are_their_names() -> None:
    import torch

    assert flag_value(torch.device("cuda:1")) == "cuda:1"
    assert type(flag_value(np.str_("cnn"))) is str


def test_the_version_is_that_of_the_distribution(library: ModuleType) -> None:
    assert library.__version__ == version("pneumo-cli")


def test_every_public_error_is_a_pneumo_error_and_reaches_other_processes(library: ModuleType) -> None:
    public = [value for name in dir(library) if isinstance(value := getattr(library, name), type)]
    errors = [one for one in public if issubclass(one, Exception)]
    assert len(errors) == 5
    assert all(issubclass(one, PneumoError) for one in errors)
    for error in (UsageError("x"), UnreadableImage("x"), Interrupted("x", 130)):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.exit_code) == (type(error), "x", error.exit_code)


def test_a_program_without_streams_is_shown_nothing(
    library: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as context:
        context.setattr("sys.stderr", None)
        context.setattr("sys.stdout", None)
        result = library.run("fake", epochs=1, report=False)
    assert result.state == "finished"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("names", [("windw", "levl"), ("levl", "windw")])
def test_of_several_unknown_settings_the_first_is_named(names: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match=rf"^unknown setting '{names[0]}'; did you mean"):
        refuse_unknown(names, ["window", "level"])
