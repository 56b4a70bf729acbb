"""Lines on a terminal: no wider than it, broken between words, and without control characters of others."""

from __future__ import annotations

import io
import logging
import os
import pty

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumo_cli.runtime.terminal import (
    EscapingFormatter,
    MessageFormatter,
    display_width,
    line_width,
    print_line,
    print_message,
    wrapped,
)

COMMANDS = (
    "pneumo resume runs/cnn/2026-11-24-a1b2 --epochs 40",
    "pneumo predict 'my runs/cnn/x' IMAGE",
    "pneumo run cnn --config runs/cnn/x/run.toml --seeds 3",
    "pneumo data check --dataset folder --data-root=/data/a",
    "pip install ./examples/pneumo-efficientnet-lite",
)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("ending", ["; and so on", ", or so", ") and so on", "", " writes it again"])
def test_a_command_in_a_sentence_stays_on_one_line(command: str, ending: str) -> None:
    for width in range(40, 90):
        lines = wrapped(f"one two three; to go on ({command}{ending}", width, "note     ")
        assert any(command in line for line in lines), lines
        assert all(len(line) <= max(width, 9 + 1 + len(command) + 9) for line in lines)


@given(st.lists(st.text("abc胸,.-/", min_size=1, max_size=30)), st.integers(40, 120))
def test_no_word_is_broken_and_no_line_with_two_words_is_too_wide(words: list[str], width: int) -> None:
    lines = wrapped(" ".join(words), width, "note     ")
    assert " ".join(lines).split() == ["note", *words] if words else not lines
    for line in lines:
        assert display_width(line) <= width or len(line.removeprefix("note").split()) == 1


def test_wide_and_combining_characters_take_the_columns_that_a_terminal_gives_them() -> None:
    assert [display_width(text) for text in ("abc", "胸部", "e\u0301", "")] == [3, 4, 1, 0]


def test_the_width_is_that_of_the_streams_own_terminal_and_fixed_off_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import fcntl
    import struct
    import termios

    monkeypatch.delenv("COLUMNS", raising=False)
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 73, 0, 0))
    with os.fdopen(child, "w") as stream:
        assert line_width(stream) == 73
    os.close(parent)
    monkeypatch.setenv("COLUMNS", "80")
    assert line_width(io.StringIO()) == 100, "stable for programs that read it"


def test_lines_of_the_program_hold_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_message("the folder 'a\x1b[2J\nb' is none\u202e")
    print_line("a\rb", "note     ")
    assert capsys.readouterr().err.splitlines() == [
        r"pneumo: the folder 'a\x1b[2J\nb' is none\u202e",
        r"note     a\rb",
    ]


@pytest.mark.parametrize("formatter", [MessageFormatter(), EscapingFormatter("%(levelname)s %(message)s")])
def test_a_log_record_takes_one_line_whatever_names_it_holds_and_keeps_its_traceback(
    formatter: logging.Formatter, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("of this test")
    logger.addHandler(handler)
    logger.warning("%s cannot be read", "a\nforged \x1b[1m\udcff.png")
    try:
        raise ValueError("x")
    except ValueError:
        logger.exception("failed")
    first, second, *traceback = stream.getvalue().splitlines()
    assert first.endswith(r"a\nforged \x1b[1m\udcff.png cannot be read")
    assert second.endswith("failed")
    assert traceback[-1] == "ValueError: x"
