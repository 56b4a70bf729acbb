"""What people type first: other words for commands, and a hint where there is none."""

from __future__ import annotations

import pytest


def test_train_is_run_and_help_is_the_help_of_a_command(pneumo) -> None:
    settings = pneumo("run", "fake", "--help").stdout
    assert pneumo("train", "fake", "--help").stdout == settings
    assert pneumo("help", "run", "fake").stdout == pneumo("help", "train", "fake").stdout == settings
    assert pneumo("help", "data", "check").stdout == pneumo("data", "check", "--help").stdout
    ended = pneumo("help")
    assert (ended.code, ended.stdout) == (0, pneumo("--help").stdout)
    assert pneumo("version").stdout == pneumo("--version").stdout


def test_train_trains(pneumo, fakes) -> None:
    ended = pneumo("train", "fake", "--print-config", "--epochs", 4)
    assert ended.code == 0
    assert "\nepochs = 4" in ended.stdout
    assert list(fakes.iterdir()) == []


def test_other_words_are_in_no_list_of_commands(pneumo) -> None:
    listed = [line.split()[0] for line in pneumo("--help").stdout.splitlines() if line.startswith("  ")]
    assert "run" in listed
    assert not {"train", "help", "version"} & set(listed)


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (
            ["list"],
            "did you mean list-runs, list-trainers, list-models, list-datasets, list-extensions or list-plugins?",
        ),
        (["list", "models"], "did you mean list-models?"),
        (["models"], "did you mean list-models?"),
        (["ls"], "did you mean list-runs?"),
        (["test", "runs/x"], "did you mean evaluate?"),
        (["eval"], "did you mean evaluate?"),
        (["trian"], "did you mean run?"),
        (["infer"], "did you mean predict?"),
        (["Predict"], "did you mean predict?"),
        (["fake"], "did you mean run fake?"),
        (["import", "x"], "did you mean data import?"),
        (["data", "chek"], "did you mean data check?"),
        (["data", "zzz"], "known: check, download, import"),
        (["qqqqqq"], "--help"),
        (["help", "qqqqqq"], "--help"),
    ],
    ids=" ".join,
)
def test_an_unknown_command_names_the_one_that_was_meant(typed: list[str], hint: str, pneumo) -> None:
    ended = pneumo(*typed)
    assert (ended.code, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("pneumo: unknown command '")
    assert line.endswith(hint)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["run", "fake", "--epoch", "3"], "no such option: --epoch; did you mean --epochs"),
        (
            ["run", "fake", "--wanted-sensitivty", "1"],
            "no such option: --wanted-sensitivty; did you mean --wanted-",
        ),
        (["run", "fake", "--learning_rate", "1"], "no such option: --learning_rate; did you mean --lr?"),
        (["run", "fake", "--gpu", "1"], "no such option: --gpu; did you mean --device?"),
        (["run", "fake", "--nonsense"], "no such option: --nonsense; see "),
        (["run", "fake", "--qqqqqq"], "no such option: --qqqqqq; see "),
        (["predict"], "missing argument 'RUN'; see "),
    ],
    ids=["shown", "folded", "usual-name", "other-usual-name", "nonsense", "unknown", "argument"],
)
def test_a_wrong_option_names_the_one_that_was_meant_or_the_help(
    typed: list[str], words: str, pneumo
) -> None:
    ended = pneumo(*typed)
    assert (ended.code, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"pneumo: {words}")
    assert line.endswith(("?", "--help", "--help-all"))


def test_control_characters_of_what_was_typed_are_shown_escaped(pneumo) -> None:
    typed = "a\x1b[2Jb\nc"
    for command in (
        [typed],
        ["run", typed],
        ["resume", typed],
        ["run", "fake", f"--{typed}"],
        ["export", typed],
    ):
        ended = pneumo(*command)
        assert ended.code == 2
        (line,) = ended.stderr.splitlines()
        assert "\x1b" not in line
        assert "a\\x1b[2Jb\\nc" in line or "comes with" in line
